"""Measures one model on a board that has Python with numpy and a runtime: self-test, warm-up, windows of queries.

One file that needs nothing of edgemill and runs on Python 3.8 and later. It writes the records of the static C runner:
one JSON object a line on stdout (see `devices/protocol.py`).
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    #: From one input to one output.
    Infer = Callable[[Any], Any]

PROTOCOL = 2


def now_ns() -> int:
    """Return nanoseconds of a clock that no time service slews."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


def number(path: str) -> float | None:
    """Return the number in a file; None where there is none: the gap is the record."""
    try:
        with open(path) as file:  # noqa: PTH123 - read many times a second
            value = float(file.read().strip())
    except (OSError, ValueError):
        return None
    return value if math.isfinite(value) else None


class Records:
    """Writes records with contiguous numbers to what stdout was: runtimes print to it as they like."""

    def __init__(self) -> None:
        self.stream = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.seq = 0

    def write(self, kind: str, /, **fields: object) -> None:
        """Write one record at once."""
        self.stream.write(json.dumps({"seq": self.seq, "type": kind, **fields}, allow_nan=False) + "\n")
        self.stream.flush()
        self.seq += 1


class Sensors:
    """Reads files with one number in a thread of its own at a fixed rate; readings are written between windows."""

    def __init__(self, pairs: list[str], period_s: float) -> None:
        self.pairs = [pair.split("=", 1) for pair in pairs]
        self.period_s = period_s
        self.found: dict[str, tuple[list[int], list[float]]] = {name: ([], []) for name, _ in self.pairs}
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._read_on, daemon=True)
        if self.pairs:
            self.thread.start()

    def _read_on(self) -> None:
        due = time.monotonic()
        while not self.stopped.is_set():
            self._read_all()
            due += self.period_s
            self.stopped.wait(max(0.0, due - time.monotonic()))

    def _read_all(self) -> None:
        """Read every file; all readings of a round get one time, so that a voltage and a current can be multiplied."""
        begin = now_ns()
        values = [number(path) for _, path in self.pairs]
        middle = begin + (now_ns() - begin) // 2
        with self.lock:
            for (name, _), value in zip(self.pairs, values):  # noqa: B905 - not in Python 3.8
                if value is not None:
                    self.found[name][0].append(middle)
                    self.found[name][1].append(value)

    def flush(self, records: Records) -> None:
        """Write what was read since the last call."""
        for name, _ in self.pairs:
            with self.lock:
                times, values = self.found[name]
                self.found[name] = ([], [])
            if times:
                records.write("sensor", name=name, t_ns=times, values=values)

    def stop(self) -> None:
        """End the thread."""
        self.stopped.set()
        if self.pairs:
            self.thread.join()


def open_onnxruntime(path: str) -> tuple[Infer, str]:
    """Return a function from one input to one output, and the runtime's version."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(
        path, options, providers=["CPUExecutionProvider"], disabled_optimizers=["DoubleQDQPairsRemover"]
    )
    name, wanted = session.get_inputs()[0].name, [session.get_outputs()[0].name]
    return (lambda image: session.run(wanted, {name: image})[0]), ort.__version__


def open_openvino(path: str) -> tuple[Infer, str]:
    """Return a function from one input to one output, and the runtime's version."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    core = openvino.Core()
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    return (lambda image: request.infer({0: image})[0]), openvino.__version__.split("-")[0]


def _interpreter(module: Any, path: str) -> Infer:
    made = module.Interpreter(model_path=path, num_threads=1)
    made.allocate_tensors()
    given, wanted = made.get_input_details()[0]["index"], made.get_output_details()[0]["index"]

    def infer(image: Any) -> Any:
        made.set_tensor(given, image)
        made.invoke()
        return made.get_tensor(wanted)

    return infer


def open_litert(path: str) -> tuple[Infer, str]:
    """Return a function from one input to one output, and the runtime's version."""
    import ai_edge_litert
    from ai_edge_litert import interpreter

    return _interpreter(interpreter, path), getattr(ai_edge_litert, "__version__", "unknown")


def open_tflite(path: str) -> tuple[Infer, str]:
    """Return a function from one input to one output, and the runtime's version."""
    import tflite_runtime
    from tflite_runtime import interpreter

    return _interpreter(interpreter, path), getattr(tflite_runtime, "__version__", "unknown")


RUNTIMES = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "litert": open_litert,
    "tflite-runtime": open_tflite,
}


def window(ask: Callable[[], object], length_ns: float, most: int) -> tuple[int, int, list[int]]:
    """Time single queries for `length_ns`, at least one; return begin, end and durations."""
    samples: list[int] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = end = now_ns()
        stop = start + length_ns
        while (end < stop and len(samples) < most) or not samples:
            begin = now_ns()
            ask()
            end = now_ns()
            samples.append(end - begin)
    finally:
        if collecting:
            gc.enable()
    return start, end, samples


def self_test(infer: Infer, inputs: Any, outputs: Any, step: float, records: Records) -> None:
    """Run every test vector; a value within a quarter of the output's step of the expected one has its code.

    `step` is 0 where outputs are the codes themselves.
    """
    import numpy as np

    equal = top1 = steps = 0
    for index in range(len(inputs)):
        made = np.asarray(infer(inputs[index : index + 1])).astype(np.float64).ravel()
        expected = outputs[index].astype(np.float64).ravel()
        near = np.abs(made - expected) <= step / 4 + 1e-6 * np.abs(expected)
        equal += int(made.shape == expected.shape and near.all())
        top1 += int(made.argmax() == expected.argmax())
        off = np.nan_to_num(np.abs(made - expected) / (step or 1.0), nan=1e9, posinf=1e9).max()
        steps = max(steps, 0 if near.all() else max(1, round(min(off, 1e9))))
    records.write("self_test", vectors=len(inputs), codes_equal=equal, top1_equal=top1, max_steps=steps)


def warm_up(infer: Callable[[], object], options: Any, open_ns: int, records: Records) -> float:
    """Run inferences for a while and write what they took; return their mean in nanoseconds."""
    first = window(infer, 0, 1)[2][0]
    total, runs = first, 1
    while total < options.warmup_ns:
        rest = window(infer, options.warmup_ns - total, options.most_queries)[2]
        total, runs = total + sum(rest), runs + len(rest)
    records.write("warm", side="a", open_ns=open_ns, first_ns=first, total_ns=total, runs=runs)
    return total / runs


def query_of(infer: Callable[[], object], samples: int) -> Callable[[], object]:
    """Return what runs a query of so many samples."""
    if samples == 1:
        return infer

    def ask() -> None:
        for _ in range(samples):
            infer()

    return ask


def measure(options: Any, infer: Callable[[], object], open_ns: int, records: Records) -> None:
    """Rest, warm up, run the windows."""
    sensors = Sensors(options.sensor, options.sensor_ns / 1e9)
    if options.idle_ns:
        records.write("mark", name="idle-begin", t_ns=now_ns())
        time.sleep(options.idle_ns / 1e9)
        records.write("mark", name="idle-end", t_ns=now_ns())
    mean_ns = warm_up(infer, options, open_ns, records)
    offline = options.query == 0
    query = max(1, round(options.window_ns / max(mean_ns, 1.0))) if offline else options.query
    ask, count, samples = query_of(infer, query), 0, 0
    while count < options.windows or samples < options.least_samples:
        t0, t1, found = window(ask, options.window_ns, 1 if offline else options.most_queries)
        about = {"i": count, "side": "a", "t0_ns": t0, "t1_ns": t1}
        records.write("window", samples_per_query=query, samples_ns=found, **about)
        count, samples = count + 1, samples + len(found) * query
        sensors.flush(records)
    sensors.stop()
    sensors.flush(records)
    records.write("end", windows=count)


def parsed(words: list[str]) -> Any:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(description="Measure one model; records go to stdout.")
    parser.add_argument("--runtime", required=True, choices=sorted(RUNTIMES))
    parser.add_argument("--model", required=True)
    parser.add_argument("--step", type=float, default=0.0)
    parser.add_argument("--vectors", default="vectors.npz")
    parser.add_argument("--sensor", action="append", default=[])
    numbers = {
        "windows": 10, "window-ns": 200000000, "warmup-ns": 300000000, "idle-ns": 0, "query": 1,
        "most-queries": 5000, "limit-s": 300, "sensor-ns": 10000000, "least-samples": 0,
    }  # fmt: skip
    for name, default in numbers.items():
        parser.add_argument("--" + name, type=int, default=default)
    return parser.parse_args(words)


def run(options: Any, records: Records) -> None:
    """Open the model, test it, measure it."""
    import numpy as np

    with np.load(options.vectors, allow_pickle=False) as vectors:
        inputs, outputs = vectors["inputs"], vectors["outputs"]
    begin = now_ns()
    infer, version = RUNTIMES[options.runtime](options.model)
    open_ns = now_ns() - begin
    versions = {
        "python": platform.python_version(), "numpy": np.__version__, options.runtime: version,
        "kernel": platform.release(), "machine": platform.machine(),
    }  # fmt: skip
    records.write("caps", runtime=options.runtime, versions=versions)
    self_test(infer, inputs, outputs, options.step, records)
    image = inputs[:1]
    measure(options, lambda: infer(image), open_ns, records)


def main() -> int:
    """Return the exit code."""
    options, records = parsed(sys.argv[1:]), Records()
    # Not handled by Python: a runtime that hangs in its own code is ended all the same.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(options.limit_s)
    records.write("hello", protocol=PROTOCOL, runner="python", pid=os.getpid())
    try:
        run(options, records)
    except (ImportError, LookupError, MemoryError, OSError, RuntimeError, ValueError) as error:
        records.write("error", kind=type(error).__name__, message=f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
