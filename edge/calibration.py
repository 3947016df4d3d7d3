"""Which images calibrate a quantisation: drawn from the training part by a seed, so that a run can be repeated."""

from __future__ import annotations

import numpy as np

from edge.dataset import Dataset
from edge.evaluate import inputs_of
from quant.formats import Array
from quant.graph import Graph


def calibration_inputs(graph: Graph, dataset: Dataset, count: int, seed: int) -> Array:
    """Return `count` training images, drawn without replacement by `seed`, as float32 inputs of the graph."""
    picked = np.random.default_rng(seed).permutation(len(dataset.x_train))[:count]
    return inputs_of(graph, dataset, dataset.x_train[picked])
