"""What runs in the interpreter that has hls4ml: `python hls4ml_worker.py JOB.json`. Imports nothing of this project.

The job names a QONNX model, inputs (.npy, real values, channels first), a project folder, the precision of every sum,
and where outputs go. The model is executed by qonnx, converted, compiled by g++ and run, and both outputs are written:
to compare them is the caller's business. A report in JSON says versions, seconds and the types of every layer.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def main(job_file: str) -> None:
    """Do one job."""
    job = json.loads(Path(job_file).read_text())
    x = np.load(job["inputs"]).astype(np.float32)
    started = time.perf_counter()
    model = prepared(job["model"], images=x.ndim == 4)
    executed = run_qonnx(model, channels_last(x)[job["executed"]])
    seconds = {"qonnx": time.perf_counter() - started}
    np.save(job["executed_outputs"], executed)
    started = time.perf_counter()
    made = converted(model, job)
    seconds["convert"] = time.perf_counter() - started
    started = time.perf_counter()
    made.compile()
    seconds["compile"] = time.perf_counter() - started
    started = time.perf_counter()
    np.save(job["outputs"], made.predict(np.ascontiguousarray(channels_last(x))))
    seconds["predict"] = time.perf_counter() - started
    names = ("hls4ml", "qonnx", "onnx", "numpy")
    report = {"versions": {name: version(name) for name in names}, "seconds": seconds, "layers": layers(made)}
    Path(job["report"]).write_text(json.dumps(report, indent=1))


def channels_last(x: Any) -> Any:
    """Return images [N, C, H, W] as [N, H, W, C]."""
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def prepared(path: str, *, images: bool) -> Any:
    """Return the model as hls4ml reads it: channels last, matrix products, unique names."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model

    model = cleanup_model(ModelWrapper(path))
    if images:
        model = model.transform(ConvertToChannelsLastAndClean(make_input_channels_last=True))
    return cleanup_model(model.transform(GemmToMatMul()))


def run_qonnx(model: Any, x: Any) -> Any:
    """Execute the model image by image; [N, ...]."""
    from qonnx.core.onnx_exec import execute_onnx

    source, sink = model.graph.input[0].name, model.graph.output[0].name
    return np.concatenate([execute_onnx(model, {source: image[None]})[sink] for image in x])


def converted(model: Any, job: dict[str, Any]) -> Any:
    """Return hls4ml's model, with the precisions of the job: of the input, and of each layer's sums in order."""
    import hls4ml

    config = hls4ml.utils.config_from_onnx_model(
        model, granularity="name", backend=job["backend"], default_precision=job["default_precision"]
    )
    config["Model"]["ReuseFactor"] = job["reuse"]
    config["LayerName"]["global_in"]["Precision"]["result"] = job["input_precision"]
    sums = [node.name for node in model.graph.node if node.op_type in ("Conv", "MatMul")]
    if len(sums) != len(job["sums"]):
        raise SystemExit(f"{len(sums)} layers with sums in the model, {len(job['sums'])} in the job")
    for name, precision in zip(sums, job["sums"], strict=True):
        config["LayerName"][name]["Precision"]["accum"] = precision
        config["LayerName"][name]["ReuseFactor"] = job["reuse"]
    keys = {key: job[key] for key in ("part", "clock_period") if job.get(key)}
    return hls4ml.converters.convert_from_onnx_model(
        model,
        hls_config=config,
        output_dir=job["project"],
        project_name=job["name"],
        backend=job["backend"],
        io_type=job["io_type"],
        **keys,
    )


def layers(made: Any) -> list[dict[str, Any]]:
    """Return name, class and types of every layer."""
    return [
        {
            "name": layer.name,
            "class": layer.class_name,
            "types": {
                key: str(getattr(value, "precision", value))
                for key, value in layer.attributes.items()
                if key.endswith("_t")
            },
        }
        for layer in made.get_layers()
    ]


if __name__ == "__main__":
    main(sys.argv[1])
