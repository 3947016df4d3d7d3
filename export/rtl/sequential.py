"""The files of the core with one multiply-accumulate for the whole network, and what the manifest keeps of it."""

from __future__ import annotations

from export.rtl.bench import bench_cpp, makefile, vectors
from export.rtl.cycles import cycles
from export.rtl.emit import memories, verilog
from export.rtl.layout import Layout, acc_bits, tensor_words
from export.target import Facts
from quant.formats import Array
from quant.program import ConvStep


def part_files(name: str, plan: Layout, inputs: Array, outputs: Array) -> dict[str, str]:
    """Return the files of a core with its test vectors, codes [N, ...], by name."""
    return {
        f"{name}.v": verilog(name, plan),
        **memories(name, plan),
        f"{name}_tb.cpp": bench_cpp(name, plan),
        f"{name}_vectors.h": vectors(name, plan, inputs, outputs),
        "Makefile": makefile(name),
    }


def sequential_facts(plan: Layout) -> Facts:
    """Return what the manifest keeps: sizes in bits, cycles of one frame (exact, without waits), tensors in memory."""
    program, widths = plan.program, plan.widths
    tensors = [
        {
            "name": name,
            "format": program.quant(name).format.name,
            "shape": list(tensor.shape[1:]),
            "address": plan.arena.offsets[name],
            "words": tensor_words(plan, name),
        }
        for name, tensor in program.tensors.items()
    ]
    return {
        "architecture": "sequential",
        "layout": "NCHW",
        "cycles": cycles(plan),
        "macs_per_cycle": 1,
        "weight_bits": sum(s.codes.size * s.weight_format.bits for s in program.steps if isinstance(s, ConvStep)),
        "activation_bits": plan.arena.words * widths.code,
        "table_bits": len(plan.table) * (widths.accumulator + widths.exponent + widths.mantissa),
        "accumulator_bits": widths.accumulator,
        "acc_bits": acc_bits(plan),
        "tensors": tensors,
    }
