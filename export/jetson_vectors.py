"""Test vectors of the Jetson self-test: inputs as raw float32 files, outputs as ONNX Runtime computes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import export.jetson_selftest
from export.atomic import write_file, write_text
from export.errors import ExportError
from export.jetson_profiles import Profile
from export.jetson_script import transfer_flags
from export.runtimes.ort import open_ort
from export.target import Source
from quant.formats import Array
from quant.reference import dequantise

#: The self-test runs trtexec once for each vector.
VECTORS = 8
#: Part of the outputs' range that an engine may differ by. Chosen, not measured: no board has run this.
TOLERANCE = 0.05


def write_selftest(profile: Profile, source: Source, onnx_file: Path, folder: Path) -> None:
    """Write `selftest.py`, `selftest.json` and `selftest_N.bin`.

    The expected outputs are those of the ONNX file itself in ONNX Runtime on the CPU, so that the test judges the
    engine and not the quantisation.

    Raises:
        ExportError: ONNX Runtime refuses the file, a value is beyond float16, there are no vectors, or the folder
            cannot be written.
    """
    graph = source.graph
    if not len(source.inputs):
        raise ExportError(f"part '{source.name}' has no test vectors, so its self-test would prove nothing; give some.")
    real = dequantise(graph.quant(graph.input), source.inputs[:VECTORS]).astype("<f4")
    session = open_ort(onnx_file, as_written=profile.precision == "fp8")
    outputs = [session.run([graph.output], {graph.input: real[i : i + 1]})[0].reshape(-1) for i in range(len(real))]
    if profile.precision == "fp16":
        _check_range(profile, onnx_file, graph.input, real)
    vectors = []
    for index, (x, y) in enumerate(zip(real, outputs, strict=True)):
        name = f"selftest_{index}.bin"
        write_file(folder / name, np.ascontiguousarray(x).tobytes())
        vectors.append({"file": name, "expected": [float(v) for v in y]})
    plan = {
        "name": source.name,
        "input": graph.input,
        "output": graph.output,
        "precision": profile.precision,
        "tensorrt": profile.tensorrt,
        "run_flags": list(transfer_flags(profile)),
        "tolerance": TOLERANCE * float(np.ptp(np.stack(outputs))),
        "vectors": vectors,
    }
    write_text(folder / "selftest.json", json.dumps(plan, indent=1, sort_keys=True) + "\n")
    script = Path(export.jetson_selftest.__file__)
    write_file(folder / "selftest.py", script.read_bytes())


def _check_range(profile: Profile, onnx_file: Path, name: str, real: Array) -> None:
    """Refuse a file whose tensors leave float16 on the test vectors.

    ONNX Runtime computes float16 in float32 on a CPU, so only tensors that are outputs show it: all become outputs.
    """
    import onnx

    model = onnx.load(onnx_file)
    tensors = [output for node in model.graph.node for output in node.output]
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in tensors if tensor not in known)
    session = open_ort(bytes(model.SerializeToString()))
    for image in real:
        for tensor, values in zip(tensors, session.run(tensors, {name: image[None]}), strict=True):
            if not np.isfinite(values.astype(np.float16)).all():
                raise ExportError(
                    f"{profile.target}: tensor '{tensor}' of {onnx_file.name} goes beyond float16 on a test vector. "
                    "Rescale the network, or export to a board that executes int8."
                )
