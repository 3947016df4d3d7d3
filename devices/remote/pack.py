"""What goes to a remote board for one part: the runner, the model, test vectors, and the command that runs them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices.errors import DeviceError
from devices.inventory import RemoteBoard
from devices.part_files import load_graph, load_vectors
from devices.plan import Plan
from devices.remote.archive import Archive, File, pack
from devices.remote.build import Runners
from devices.scenario import find_scenario
from devices.timing import MAX_SAMPLES
from export.c99.layout import to_c
from export.tflite_layout import to_file
from quant.formats import Array
from quant.graph import Graph
from quant.reference import dequantise

#: At most so many test vectors run on a board before the measurement.
MAX_VECTORS = 16
#: Sensors are read so often, in seconds.
SENSOR_PERIOD_S = 0.01
PYTHON_RUNNER = Path(__file__).resolve().parent.parent / "runners" / "python" / "runner.py"


@dataclass(frozen=True, eq=False)
class Packed:
    """An archive, and the command line that runs in its folder."""

    archive: Archive
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Channel:
    """One file that the runner reads: a name of ours, and the path on the board."""

    name: str
    path: str


def packed(
    plan: Plan,
    remote: RemoteBoard,
    channels: tuple[Channel, ...] = (),
    idle_s: float = 0.0,
    runners: Runners | None = None,
) -> Packed:
    """Pack a plan for a board.

    Args:
        plan: what to run.
        remote: where; says which runner.
        channels: files that the runner reads all the while.
        idle_s: how long the board rests before the warm-up, for net energy.
        runners: what was compiled before.

    Raises:
        DeviceError: the plan asks for what a remote runner does not do, the part lacks files, or does not compile.
    """
    if plan.loadgen or plan.versus is not None:
        what = "LoadGen puts no queries" if plan.loadgen else "two bundles do not take turns"
        raise DeviceError(f"{remote.name}: {what} on a remote board; measure there without, or on a local board.")
    graph = load_graph(plan.folder)
    inputs, outputs = (codes[:MAX_VECTORS] for codes in load_vectors(plan.folder, graph))
    options = (*_options(plan), *_sensing(channels, idle_s))
    if remote.kind.runner == "c":
        return _c_job(plan, remote, runners or Runners(), graph, inputs, outputs, options)
    return _python_job(plan, remote, graph, inputs, outputs, options)


def _options(plan: Plan) -> tuple[str, ...]:
    """Return the options that both runners take."""
    scenario = find_scenario(plan.scenario)
    numbers = {
        "windows": plan.windows,
        "window-ns": round(plan.window_s * 1e9),
        "warmup-ns": round(plan.warmup_s * 1e9),
        "query": scenario.samples_per_query or 0,
        "most-queries": MAX_SAMPLES,
        "limit-s": max(1, round(plan.limit_s)),
        "least-samples": scenario.min_samples if plan.complete else 0,
    }
    return tuple(word for name, value in numbers.items() for word in (f"--{name}", str(value)))


def _sensing(channels: tuple[Channel, ...], idle_s: float) -> tuple[str, ...]:
    if not channels:
        return ()
    words = [word for channel in channels for word in ("--sensor", f"{channel.name}={channel.path}")]
    return (*words, "--sensor-ns", str(round(SENSOR_PERIOD_S * 1e9)), "--idle-ns", str(round(idle_s * 1e9)))


def _c_job(
    plan: Plan,
    remote: RemoteBoard,
    runners: Runners,
    graph: Graph,
    inputs: Array,
    outputs: Array,
    options: tuple[str, ...],
) -> Packed:
    if remote.triple is None:
        raise DeviceError(f"{remote.name}: the C runner needs a triple.")
    runner = runners.build(plan.folder, plan.files, graph.quant(graph.output).format, remote.triple, remote.cpu)
    vectors = c_order(graph, graph.input, inputs).tobytes() + c_order(graph, graph.output, outputs).tobytes()
    files = (File("runner", runner, program=True), File("vectors.bin", vectors))
    return Packed(pack(files), ("./runner", "--vectors", "vectors.bin", *options))


def c_order(graph: Graph, tensor: str, codes: Array) -> Array:
    """Return codes of the input or the output as they lie in the generated C's memory, little endian."""
    return to_c(codes).astype(graph.quant(tensor).format.dtype.newbyteorder("<"))


def _python_job(
    plan: Plan, remote: RemoteBoard, graph: Graph, inputs: Array, outputs: Array, options: tuple[str, ...]
) -> Packed:
    runtime = remote.kind.runtime
    model, files = _model(plan, runtime)
    given, wanted = graph.quant(graph.input), graph.quant(graph.output)
    if runtime in ("onnxruntime", "openvino"):
        pair = dequantise(given, inputs), dequantise(wanted, outputs)
        step = wanted.scale[0] * wanted.format.unit
    else:
        pair, step = (to_file(inputs, given.format), to_file(outputs, wanted.format)), 0.0
    vectors = io.BytesIO()
    np.savez(vectors, inputs=pair[0], outputs=pair[1])
    files += (File("vectors.npz", vectors.getvalue()), File("runner.py", PYTHON_RUNNER.read_bytes()))
    words = (remote.python, "-B", "runner.py", "--runtime", runtime, "--model", model, "--step", f"{step:.9g}")
    return Packed(pack(files), (*words, *options))


def _model(plan: Plan, runtime: str) -> tuple[str, tuple[File, ...]]:
    """Return the name of the model's file and the files it is made of."""
    endings = {"onnxruntime": (".onnx",), "openvino": (".xml", ".bin"), "litert": (".tflite",)}
    names = [f"{plan.files}{ending}" for ending in endings.get(runtime, (".tflite",))]
    lost = [name for name in names if not (plan.folder / name).is_file()]
    if lost:
        raise DeviceError(f"{plan.folder} holds no {lost[0]}, which {runtime} runs; export the part again.")
    return names[0], tuple(File(name, (plan.folder / name).read_bytes()) for name in names)
