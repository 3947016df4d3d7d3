"""A tiny float classifier of digits and configurations that use it, for tests of commands and pipelines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from devices.run_record import RunRecord
from edge.config import Config
from edge.data import load
from export.bundle_read import read_bundle
from quant import operators as ops
from quant.formats import Array
from quant.graph import Graph, Node, Tensor, check
from tests.house import ROOT

INF = float("inf")
CONFIG = """
[run]
name = "tiny"
[data]
source = "digits"
[model]
{model}
[quant]
schemes = {schemes}
calibration = 32
[export]
targets = {targets}
split_targets = {split_targets}
vectors = 8
[profile]
boards = {boards}
windows = 2
window_s = 0.01
warmup_s = 0.0
images = 1
"""
TRAINED = 'name = "dscnn"\nwidth = 8\nblocks = 2\n[train]\nepochs = 2'


def features(x: Array, kernel: Array) -> Array:
    """Return what the network's convolution (3x3, stride 2, pads 1, relu) makes of [N, 1, 8, 8], flattened."""
    padded = np.pad(x[:, 0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    made = np.einsum("nhwkl,okl->nohw", windows, kernel[:, 0])
    result: Array = np.maximum(made, 0).reshape(len(x), -1)
    return result


def float_graph(seed: int = 0) -> Graph:
    """Random convolution, relu, reshape, and a linear layer fitted to the digits: right for most of them."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    digits = load("digits")
    x = digits.preprocess.apply(digits.x_train)
    kernel = np.random.default_rng(seed).normal(0, 0.3, (8, 1, 3, 3)).astype(np.float32)
    seen = features(x, kernel)
    wanted = np.eye(10, dtype=np.float64)[digits.y_train] - 0.1
    fitted = np.linalg.solve(seen.T @ seen + 10 * np.eye(seen.shape[1]), seen.T @ wanted).T
    shapes = {"x": (1, 1, 8, 8), "a": (1, 8, 4, 4), "f": (1, 128), "y": (1, 10)}
    weights = {
        "conv_w": kernel,
        "conv_b": np.zeros(8, np.float32),
        "fc_w": fitted.astype(np.float32),
        "fc_b": np.zeros(10, np.float32),
    }
    nodes = (
        Node("conv", ops.Conv(strides=(2, 2), pads=(1, 1, 1, 1)), ("x", "conv_w", "conv_b"), "a", (0.0, INF)),
        Node("flat", ops.Reshape(shape=(1, 128)), ("a",), "f"),
        Node("fc", ops.Gemm(), ("f", "fc_w", "fc_b"), "y"),
    )
    tensors = {name: Tensor(shape) for name, shape in shapes.items()}
    tensors |= {name: Tensor(weight.shape) for name, weight in weights.items()}
    return check(Graph("tiny", "x", "y", nodes, tensors, weights))


def write_onnx(path: Path, seed: int = 0) -> Path:
    """Write the network as a float ONNX file."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from quant.onnx_write import to_float_onnx

    model = to_float_onnx(float_graph(seed))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 10]))
    onnx.save(model, str(path))
    return path


def write_config(
    folder: Path,
    *,
    model: str = TRAINED,
    schemes: tuple[str, ...] = ("w8a8",),
    targets: tuple[str, ...] = ("host", "arm-m"),
    split_targets: tuple[str, ...] = (),
    boards: tuple[str, ...] = ("null",),
) -> Path:
    """Write a configuration that takes seconds."""
    path = folder / "tiny.toml"
    lists = {"schemes": schemes, "targets": targets, "split_targets": split_targets, "boards": boards}
    path.write_text(CONFIG.format(model=model, **{key: str(list(names)) for key, names in lists.items()}))
    return path


def command(*words: object) -> list[str]:
    """The command line as a process of its own would get it."""
    return [sys.executable, "-m", "edge.cli", *map(str, words)]


def surroundings() -> dict[str, str]:
    """The environment in which that process finds the project, from whatever folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def execute(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        command(*words), cwd=cwd, env=surroundings(), capture_output=True, text=True, timeout=300, check=False
    )


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, and every folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"/"
        for path in sorted(folder.rglob("*"))
    }


#: The stages of a run of `write_config`'s defaults.
RUN_STAGES = (
    "model",
    "quantise-w8a8",
    "bundle-host-w8a8",
    "profile-null-host-w8a8",
    "bundle-arm-m-w8a8",
    "profile-null-arm-m-w8a8",
)


def needs_training() -> None:
    """Skip a module of tests where a run cannot be trained, quantised and reported."""
    for package in ("torch", "onnx", "onnxruntime", "sklearn", "jinja2"):
        pytest.importorskip(package, reason=f"{package} is not installed")


def run(config: Config, folder: Path) -> tuple[RunRecord, list[str]]:
    """Run the pipeline; also returns what it said."""
    from edge.pipeline import run_pipeline

    said: list[str] = []
    return run_pipeline(config, folder, said.append, show=False), said


def computed(said: list[str]) -> list[str]:
    """Return the stages that were computed and not kept."""
    assert all(line.endswith((" ...", ": unchanged, kept")) for line in said)
    return [line.removesuffix(" ...") for line in said if line.endswith(" ...")]


def contents(folder: Path) -> dict[str, object]:
    """Return what in a run folder does not depend on time: files, and what every bundle is by its digest."""
    files = ("model.onnx", "weights.npz", "w8a8.graph")
    return {
        **{name: (folder / name).read_bytes() for name in files},
        **{path.name: read_bundle(path).digest for path in sorted((folder / "bundles").iterdir())},
    }
