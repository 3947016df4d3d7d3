"""Bundles for target arm-m and their C built as a shared library, for tests of what surrounds generated C."""

from __future__ import annotations

import importlib.util
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from export.arm_m import TARGET
from export.bundle import BundleSpec, write_bundle
from export.bundle_read import Bundle
from export.preprocess import Preprocess
from export.target import Source
from quant.formats import INT8, Array, Format
from quant.program import lower
from quant.reference import quantise_input, run
from tests.toys_fitted import fitted_graph

STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
CHECKED = ("-g", "-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
#: Values over the whole range of the toy's input, other ones in each channel.
RGB = Preprocess(3, 6, 6, 1 / 255, (0.5, 0.45, 0.4), (0.2, 0.25, 0.3))


def images(count: int, shape: tuple[int, int, int] = (6, 6, 3), seed: int = 0) -> Array:
    """Raw images, uint8 [count, height, width, channels], smooth and each of its own colour."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(0, 255, (count, 1, 1, shape[2]))
    return np.clip(middle + rng.normal(0, 40, (count, *shape)), 0, 255).astype(np.uint8)


def spec(name: str = "toy", preprocess: Preprocess = RGB, act: Format = INT8, seed: int = 2) -> BundleSpec:
    """A toy network with its test vectors made from raw images."""
    graph = fitted_graph(act, act if act.is_minifloat else INT8, seed)
    raw = images(8).view(preprocess.raw).transpose(0, 3, 1, 2)
    codes = quantise_input(graph.quant(graph.input), preprocess.apply(raw))
    part = Source("model", graph, codes, run(lower(graph), codes)[graph.output])
    labels = ('zero "0"', "eins\\n", "два", "4??/", "%s")
    return BundleSpec(name, "w8a8", preprocess, labels, (part,), "softmax")


def bundle(folder: Path, made: BundleSpec, **resize: str) -> Bundle:
    """Write a bundle for arm-m, with another `resize` when one is given."""
    if resize:
        made = replace(made, preprocess=replace(made.preprocess, resize=resize["resize"]))
    return write_bundle(folder, made, TARGET)


def library(folder: Path, stem: str) -> ModuleType:
    """Build a part's C as a shared library beside it and import its Python file."""
    sources = sorted(path.name for path in folder.glob(f"{stem}*.c") if not path.name.endswith("_test.c"))
    command = ["cc", *STRICT, "-O2", "-shared", "-fPIC", *sources, "-o", f"lib{stem}.so"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    place = importlib.util.spec_from_file_location(f"{stem}_python", folder / f"{stem}_python.py")
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def reference(made: Bundle, raw: Array) -> Array:
    """Output codes of the integer reference for raw images [N, height, width, channels], [N, labels]."""
    graph = made.parts[0].graph
    codes = quantise_input(graph.quant(graph.input), made.manifest.preprocess.apply(raw.transpose(0, 3, 1, 2)))
    return run(lower(graph), codes)[graph.output].reshape(len(raw), -1)
