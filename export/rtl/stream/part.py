"""The files of one streaming core in a bundle, and what the manifest keeps of it."""

from __future__ import annotations

from export import strict_json
from export.rtl.stream.bench import bench_cpp, hdl_benches, makefile, vectors
from export.rtl.stream.build import Core
from export.rtl.stream.fulfil import folding_record
from export.rtl.stream.plan import Design
from export.rtl.stream.schedule import bottleneck
from export.rtl.stream.status import IDENTITY, header, registers
from export.rtl.stream.streams import streams
from export.rtl.stream.units import Layer, Unit
from export.target import Facts
from quant.formats import Array
from quant.steps import ConvStep

#: The record of the folding, from which the same core can be built again.
FOLDING = "folding.json"


def part_files(core: Core, inputs: Array, outputs: Array) -> dict[str, str]:
    """Return the files of a core with its test vectors, codes [N, ...], by name."""
    name, plan = core.name, core.plan
    return {
        **core.files(),
        f"{name}_tb.cpp": bench_cpp(name, plan, core.digest() if plan.status else ""),
        f"{name}_vectors.h": vectors(name, plan, inputs, outputs),
        **hdl_benches(name, plan, core.schedule.latency, inputs, outputs),
        "Makefile": makefile(name),
        FOLDING: strict_json.canonical(folding_record(core)).decode(),
        **({f"{name}_registers.h": header(name, plan, core.digest())} if plan.status else {}),
    }


def stream_facts(core: Core) -> Facts:
    """Return what the manifest keeps: clocks of a frame, between frames and by layer, and sizes in bits."""
    plan = core.plan
    convs = [unit for unit in plan.units if isinstance(unit, Layer) and isinstance(unit.step, ConvStep)]
    return {
        "architecture": "stream",
        "layout": "NHWC",
        "input_lanes": plan.input_lanes,
        "cycles": core.schedule.latency,
        "interval_cycles": core.schedule.interval,
        "bottleneck_cycles": bottleneck(plan),
        "macs_per_cycle": sum(unit.fold.pe * unit.fold.simd for unit in convs),
        "weight_bits": sum(_weight_bits(unit.step) for unit in convs),
        "outputs": _outputs(core),
        "layers": [_layer(plan, index, unit) for index, unit in enumerate(plan.units)],
        **({"status": _status(core)} if plan.status else {}),
    }


def _status(core: Core) -> dict[str, object]:
    """Return the registers of the core, and what tells it from other cores."""
    return {
        "identity": IDENTITY,
        "digest": core.digest(),
        "registers": {register.name: register.offset for register in registers(core.plan)},
    }


def _outputs(core: Core) -> list[dict[str, object]]:
    """Return the streams out of the core: port, tensor, what it carries, and the clocks to its last beat."""
    return [
        {
            "port": stream.port,
            "tensor": stream.tensor,
            "carries": "labels" if stream.labels else "codes",
            "lanes": stream.lanes,
            "beats": stream.beats,
            "beat_bits": stream.bits,
            "cycles": latency,
        }
        for stream, latency in zip(streams(core.plan), core.schedule.latencies, strict=True)
    ]


def _weight_bits(step: object) -> int:
    assert isinstance(step, ConvStep)
    return int(step.codes.size) * step.weight_format.bits


def _layer(plan: Design, index: int, unit: Unit) -> dict[str, object]:
    fold = {"pe": unit.fold.pe, "simd": unit.fold.simd, "style": unit.fold.style} if isinstance(unit, Layer) else {}
    queues = [1 << link.queue_bits for link in plan.inputs(index) if link.queue_bits]
    return {
        "step": unit.step.name,
        "kind": type(unit.step).__name__.removesuffix("Step"),
        "instance": f"unit{index}",
        "cycles": unit.cycles,
        "fold": fold,
        "queues": queues,
    }
