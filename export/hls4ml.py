"""An hls4ml project (Vitis, Vivado or Quartus HLS) of a quantised graph, given out only after its C simulation agrees.

The graph goes to hls4ml as QONNX with the exact precision of every sum; g++ compiles the HLS code with hls4ml's own
fixed-point headers. Two gates stand before the folder appears:

* every simulated output equals what qonnx makes of the same file, code by code;
* against the reference, whose sums round otherwise where no Relu follows, outputs are at most one code off; where such
  sums lie inside the network (before a residual sum), their steps may add up, and the report says how far.

No vendor tool is run here.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export import hls4ml_worker
from export.atomic import new_folder, write_text
from export.errors import ExportError
from export.hls4ml_graph import fixed, for_hls4ml, has_depthwise, rounding_biases, rounds_inside, sum_precisions
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower
from quant.reference import dequantise, fast_dot, quantise_input, run

#: Backends, and how data enters: hls4ml's Quartus backend compiles in parallel only.
BACKENDS = {"Vitis": ("io_stream", "io_parallel"), "Vivado": ("io_stream", "io_parallel"), "Quartus": ("io_parallel",)}
NAME = "network"
#: Random inputs beside the given ones, and how many inputs qonnx executes (slow, image by image).
RANDOM, EXECUTED = 48, 64
LIMIT_S = 3600


@dataclass(frozen=True, slots=True)
class Setting:
    """What kind of project. `python` is an interpreter that has hls4ml; None: this one.

    `reuse` is hls4ml's reuse factor: how many products share a multiplier.
    """

    backend: str = "Vitis"
    io_type: str = "io_stream"
    reuse: int = 1
    part: str | None = None
    clock_period_ns: float | None = None
    python: str | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """How the C simulation agreed: with qonnx on `executed` inputs in every code, with the reference on `inputs`.

    `steps` is the largest difference to the reference in output codes, `differ` the share of codes that differ, and
    `labels` the share of equal labels.
    """

    inputs: int
    executed: int
    steps: int
    differ: float
    labels: float


def missing(python: str | None = None) -> str | None:
    """Return None when an interpreter has hls4ml and a compiler answers, else what is missing and how to get it."""
    if shutil.which("g++") is None:
        return "g++ is not installed; on Debian: apt-get install g++"
    if python is None:
        absent = [name for name in ("hls4ml", "qonnx") if importlib.util.find_spec(name) is None]
        cure = 'install it: pip install "edgemill[hls4ml]", or name an interpreter that has it'
        return f"{absent[0]} is not installed; {cure}" if absent else None
    try:
        done = subprocess.run([python, "-c", "import hls4ml, qonnx"], capture_output=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{python} does not run: {error}"
    return f"{python} cannot import hls4ml and qonnx; install them there" if done.returncode else None


def write_project(graph: Graph, inputs: Array, path: Path, setting: Setting, *, overwrite: bool = False) -> Gate:
    """Write a folder with the project (`hls/`), the QONNX file, vectors and a report of the gates.

    Args:
        graph: quantised, scales of powers of two, no zero points.
        inputs: input codes to simulate beside random ones, [N, ...]; N may be 0.
        path: the folder to make; it appears whole, or not at all.
        setting: backend and its options.
        overwrite: replace an existing folder.

    Raises:
        ExportError: hls4ml computes something in the graph wrongly or not at all, is not installed or fails, or a gate
            is not passed.
    """
    ready = for_hls4ml(graph)
    _check(setting, ready)
    codes = _inputs(graph, inputs)
    with new_folder(path, overwrite=overwrite) as folder, tempfile.TemporaryDirectory(prefix="edgemill-") as work:
        outputs, executed, report = _simulated(ready, codes, setting, folder, Path(work))
        gate = _gate(graph, codes, outputs, executed, inside=rounds_inside(ready))
        for library in (folder / "hls" / "firmware").glob("*.so"):
            library.unlink()
        record = {
            "setting": {**asdict(setting), "python": None},
            "gate": asdict(gate),
            "vendor tools": "not run",
            **report,
        }
        write_text(folder / "report.json", json.dumps(record, indent=1) + "\n")
        wanted = run(lower(graph), codes, fast_dot)[graph.output]
        np.savez(folder / "vectors.npz", inputs=codes, outputs=wanted, simulated=outputs)
    return gate


def _check(setting: Setting, graph: Graph) -> None:
    if setting.io_type not in BACKENDS.get(setting.backend, ()):
        known = "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in BACKENDS.items())
        raise ExportError(f"hls4ml: {setting.backend} with {setting.io_type} is not supported. Supported are {known}.")
    depthwise = has_depthwise(graph)
    if setting.backend == "Quartus" and depthwise is not None:
        raise ExportError(
            f"hls4ml: node '{depthwise.name}': its Quartus backend computes depthwise convolutions wrongly (a mean "
            "becomes one, too). Use Vitis or Vivado."
        )
    why = missing(setting.python)
    if why is not None:
        raise ExportError(f"hls4ml: {why}.")


def no_codes(graph: Graph) -> Array:
    """Return no input codes at all, in the input's shape: random inputs are simulated only."""
    return np.empty((0, *graph.shape(graph.input)[1:]), np.int8)


def _inputs(graph: Graph, inputs: Array) -> Array:
    """Return the given input codes and random ones, each with its own level."""
    fmt, shape = graph.quant(graph.input).format, graph.shape(graph.input)
    if inputs.shape[1:] != shape[1:]:
        raise ExportError(f"hls4ml: inputs have shape {inputs.shape}; the graph takes [N, {str(shape[1:])[1:-1]}].")
    rng, low, high = np.random.default_rng(0), fmt.min_ordinal, fmt.max_ordinal
    level = rng.uniform(low, high, (RANDOM, *(1 for _ in shape[1:])))
    noise = rng.uniform(low, high, (RANDOM, *shape[1:])) * rng.uniform(0, 1, level.shape)
    random = np.clip(np.rint(level + noise), low, high).astype(fmt.dtype)
    return np.concatenate([inputs.astype(fmt.dtype), random])


def _simulated(
    graph: Graph, codes: Array, setting: Setting, folder: Path, work: Path
) -> tuple[Array, int, dict[str, Any]]:
    """Run the worker; returns the codes of the C simulation, on how many inputs qonnx agreed, and the report."""
    from export.qonnx import qonnx_model

    (folder / f"{NAME}.onnx").write_bytes(qonnx_model(graph, rounding_biases).SerializeToString(deterministic=True))
    np.save(work / "inputs.npy", dequantise(graph.quant(graph.input), codes))
    # Given inputs come first, random ones last: some of both.
    executed = np.unique(np.linspace(0, len(codes) - 1, EXECUTED).astype(int))
    # Run from a folder of its own: beside it in this package lies a module called qonnx.
    shutil.copyfile(hls4ml_worker.__file__, work / "worker.py")
    (work / "job.json").write_text(json.dumps(_job(graph, setting, folder, work) | {"executed": executed.tolist()}))
    _run([setting.python or sys.executable, str(work / "worker.py"), str(work / "job.json")], folder)
    shape, quant = graph.shape(graph.output)[1:], graph.quant(graph.output)
    simulated, wanted = (
        quantise_input(quant, _channels_first(np.load(work / name), shape)) for name in ("outputs.npy", "executed.npy")
    )
    gap = np.abs(simulated[executed].astype(np.int64) - wanted)
    if gap.any():
        raise ExportError(
            f"hls4ml: the C simulation differs from the network in {(gap > 0).mean():.1%} of the output codes, by up "
            f"to {gap.max()}; nothing is given out. Try another --io-type or backend."
        )
    report: dict[str, Any] = json.loads((work / "report.json").read_text())
    return simulated, len(executed), report


def _channels_first(values: Array, shape: tuple[int, ...]) -> Array:
    if len(shape) != 3:
        return values.reshape(-1, *shape)
    channels, height, width = shape
    return values.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)


def _job(graph: Graph, setting: Setting, folder: Path, work: Path) -> dict[str, Any]:
    quant = graph.quant(graph.input)
    sums = tuple(sum_precisions(graph))
    return {
        "name": NAME,
        "model": str(folder / f"{NAME}.onnx"),
        "inputs": str(work / "inputs.npy"),
        "executed_outputs": str(work / "executed.npy"),
        "outputs": str(work / "outputs.npy"),
        "report": str(work / "report.json"),
        # Relative: the project's own files must not name a place of this machine.
        "project": "hls",
        "backend": setting.backend,
        "io_type": setting.io_type,
        "reuse": setting.reuse,
        "part": setting.part,
        "clock_period": setting.clock_period_ns,
        "default_precision": "fixed<48,24>",
        "input_precision": fixed(quant.format.bits, quant.scale[0]),
        "sums": sums,
    }


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"hls4ml: {error}.") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ExportError(f"hls4ml: conversion or compilation failed: {' '.join(lines[-3:])[-800:]}")


def _gate(graph: Graph, codes: Array, outputs: Array, executed: int, *, inside: bool) -> Gate:
    """Compare the simulated codes with the reference's."""
    fmt = graph.quant(graph.output).format
    wanted = run(lower(graph), codes, fast_dot)[graph.output]
    gap = np.abs(fmt.to_ordinals(outputs) - fmt.to_ordinals(wanted))
    labels = [made.reshape(len(codes), -1).argmax(axis=1) for made in (outputs, wanted)]
    if len(set(labels[1].tolist())) < 2:
        raise ExportError("hls4ml: the network gives one label for every input, which proves nothing; give others.")
    if gap.max() > 1 and not inside:
        raise ExportError(
            f"hls4ml: a simulated output is {gap.max()} codes off the reference, where rounding once instead of twice "
            "makes 1 at most; nothing is given out."
        )
    return Gate(len(codes), executed, int(gap.max()), float((gap > 0).mean()), float((labels[0] == labels[1]).mean()))
