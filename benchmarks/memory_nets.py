"""The networks that a memory stands before: a bundle's C as a function of an image, and a ResNet-8."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.cascade_pair import quantised
from benchmarks.kept import kept
from edge.dataset import Dataset
from edge.exporting import whole
from edge.models import models
from edge.recipes import cross_entropy
from edge.train import Schedule, train
from export.bundle import BundleSpec, write_bundle
from export.bundle_read import Bundle
from export.runtimes.c_host import compiled
from export.runtimes.c_joint import joint_files, prepare
from export.targets import find_target
from quant.formats import Array
from quant.reference import quantise_input

#: How the larger network is trained.
RESNET = {"images": 10_000, "epochs": 1}


def resnet8(work: Path, full: Dataset) -> Bundle:
    """Return a bundle of a ResNet-8 that was trained just enough to answer; it is here for what it costs."""
    module = models.build(models.find_model("resnet8"), full.preprocess.shape, len(full.labels), seed=0)
    count = RESNET["images"]
    few = replace(full, x_train=full.x_train[:count], y_train=full.y_train[:count])
    schedule = Schedule(epochs=RESNET["epochs"], batch=128, rate=0.1)

    def work_on() -> dict[str, float]:
        return {"accuracy": train(module, few, cross_entropy.RECIPE, schedule, False)}

    kept(work / "resnet8.npz", module, RESNET, work_on)
    graph = quantised(module, "resnet8", few, 0)
    parts = whole(graph, few.preprocess.apply(few.x_train[:64]))
    spec = BundleSpec("resnet8", "w8a8", few.preprocess, few.labels, parts)
    return write_bundle(work / "resnet8", spec, find_target("arm-m"), overwrite=True)


def opened(bundle: Bundle, home: Path) -> Callable[[Array], int]:
    """Compile a bundle's C as a library; return a function from a raw image to its label."""
    library, stem, source = _library(bundle, home)
    found = re.search(r"_ARENA_BYTES (\d+)", (source / f"{stem}.h").read_text())
    assert found is not None
    size = int(found[1])
    memory = np.zeros(size + 16, np.uint8)
    arena, network = memory[-memory.ctypes.data % 16 :][:size], (ctypes.c_void_p * 1)()
    init, invoke = library[f"{stem}_init"], library[f"{stem}_invoke"]
    init.argtypes, invoke.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t), (ctypes.c_void_p,) * 3
    invoke.restype = None
    assert init(network, arena.ctypes.data, size) == 0
    preprocess, first, last = bundle.manifest.preprocess, bundle.parts[0].graph, bundle.parts[-1].graph
    quant, joint = first.quant(first.input), bundle.manifest.is_dynamic
    # A joint answer begins with part and label, int32 each; a plain network leaves its codes.
    codes_type = last.quant(last.output).format.dtype
    output = np.zeros(4, np.int32) if joint else np.zeros(len(bundle.manifest.labels), codes_type)

    def label(arena: Array, image: Array) -> int:
        codes = np.ascontiguousarray(quantise_input(quant, preprocess.apply(image[None])))
        invoke(network, codes.ctypes.data, output.ctypes.data)
        return int(output[1] if joint else output.argmax())

    return partial(label, arena)  # the arena must live as long as the function does


def _library(bundle: Bundle, home: Path) -> tuple[ctypes.CDLL, str, Path]:
    """Compile; return the library, what its names begin with, and where its header lies."""
    if not bundle.manifest.is_dynamic:
        part = bundle.parts[0]
        made = compiled(part.folder, part.stem, home, "library", "-shared", "-fPIC")
        return ctypes.CDLL(str(made)), part.stem, part.folder
    files, source = joint_files(bundle), home / "source"
    source.mkdir()
    prepare(files, source)
    flags = ("-shared", "-fPIC", *(f"-I{place}" for place in files.places), *map(str, files.parts))
    return ctypes.CDLL(str(compiled(source, files.stem, home, "library", *flags))), files.stem, source
