"""Runs inside the emulated system, with nothing of edgemill: a model file, input arrays in, output arrays out.

    guest.py RUNTIME MODEL INPUTS.npy OUTPUTS.npz

RUNTIME is `litert`, `litert-ref`, `tflite-runtime`, `onnxruntime` or `openvino`. Every image is run alone, and between
two pairs of getppid calls, which do nothing and which the instruction counter takes as markers: first nothing at all,
then the inference. The first image is run once before, unmarked. `litert-ops` runs nothing and writes, as JSON, the
operators that LiteRT lists once its delegates have taken theirs: [name, inputs, outputs] each.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

#: Places an image, runs it, fetches the outputs.
Steps = tuple[Callable[[Any], None], Callable[[], Any], Callable[[], list[Any]]]


def tflite(runtime: str, model: str) -> Steps:
    """Open a `.tflite` file with one thread; the resolver is the default one, but for `litert-ref`."""
    if runtime.startswith("litert"):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    else:
        from tflite_runtime.interpreter import Interpreter, OpResolverType
    resolver = OpResolverType.BUILTIN_REF if runtime.endswith("-ref") else OpResolverType.AUTO
    made = Interpreter(model_path=model, num_threads=1, experimental_op_resolver_type=resolver)
    made.allocate_tensors()
    given = made.get_input_details()[0]["index"]
    outputs = [detail["index"] for detail in made.get_output_details()]
    return lambda x: made.set_tensor(given, x), made.invoke, lambda: [made.get_tensor(i) for i in outputs]


def operators(model: str) -> str:
    """Return LiteRT's list of operators; what a delegate took is still in it, and the delegate behind."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_path=model, num_threads=1)
    made.allocate_tensors()
    listed = made._get_ops_details()
    return json.dumps(
        [[op["op_name"], [int(i) for i in op["inputs"]], [int(i) for i in op["outputs"]]] for op in listed]
    )


def onnxruntime(model: str) -> Steps:
    """Open an ONNX file, set as on the host."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=["DoubleQDQPairsRemover"]
    )
    held: dict[str, Any] = {"name": session.get_inputs()[0].name}

    def place(x: Any) -> None:
        held["feed"] = {held["name"]: x}

    def infer() -> None:
        held["made"] = session.run(None, held["feed"])

    return place, infer, lambda: held["made"]


def openvino(model: str) -> Steps:
    """Open an IR, set as on the host."""
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    core = ov.Core()
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    held: dict[str, Any] = {}

    def place(x: Any) -> None:
        held["feed"] = {0: x}

    def infer() -> None:
        held["made"] = request.infer(held["feed"])

    return place, infer, lambda: [held["made"][i].copy() for i in range(len(held["made"]))]


def main(runtime: str, model: str, inputs: str, outputs: str) -> None:
    """Run every image and write the outputs, stacked, by number."""
    if runtime == "litert-ops":
        np.savez(outputs, **{"0": np.array(operators(model))})
        return
    openers: dict[str, Callable[[str], Steps]] = {"onnxruntime": onnxruntime, "openvino": openvino}
    place, infer, fetch = openers[runtime](model) if runtime in openers else tflite(runtime, model)
    images, rows = np.load(inputs), list[list[Any]]()
    place(images[:1])
    infer()
    for index in range(len(images)):
        place(images[index : index + 1])
        os.getppid()
        os.getppid()
        os.getppid()
        infer()
        os.getppid()
        rows.append([np.array(value) for value in fetch()])
    np.savez(outputs, **{str(i): np.stack(column) for i, column in enumerate(zip(*rows, strict=True))})


if __name__ == "__main__":
    main(*sys.argv[1:])
