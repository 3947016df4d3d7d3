"""Graphs written for the target host: as one part of a bundle on disk, or only as files in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from export.bundle import write_bundle
from export.bundle_read import BundlePart
from export.host import TARGET
from export.preprocess import Preprocess
from export.target import Source
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower
from quant.reference import quantise_input, run
from tests.bundles import toy_spec
from tests.toys_fitted import real_inputs


def fitted_codes(graph: Graph, count: int, seed: int = 1) -> Array:
    """Input codes of `fitted_graph` whose outputs vary."""
    return quantise_input(graph.quant(graph.input), real_inputs(graph, count, seed).astype(np.float32))


def source(graph: Graph, codes: Array) -> Source:
    """A part called `model` with the reference's outputs."""
    return Source("model", graph, codes, run(lower(graph), codes)[graph.output])


def host_part(folder: Path, graph: Graph, codes: Array) -> BundlePart:
    """Write a bundle of one part for the target host and read it back."""
    channels, height, width = graph.shape(graph.input)[1:]
    preprocess = Preprocess(channels, height, width, 1 / 255, (0.5,) * channels, (0.25,) * channels)
    labels = tuple(f"class {index}" for index in range(graph.shape(graph.output)[1]))
    spec = replace(toy_spec(), preprocess=preprocess, labels=labels, parts=(source(graph, codes),))
    return write_bundle(folder / "bundle", spec, TARGET).parts[0]
