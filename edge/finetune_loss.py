"""What a finetuned graph is trained towards: the float graph's outputs, the labels, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.dataset import Dataset, Labels
from edge.evaluate import check_classes, inputs_of
from quant.formats import Array
from quant.graph import Graph

LOSSES = ("distil", "labels", "both")
#: One training image in so many chooses the epoch, and how few images can be divided so.
HELD_OUT, LEAST_IMAGES = 10, 20
#: Images evaluated at once.
EVAL_BATCH = 128


@dataclass(frozen=True, eq=False)
class Images:
    """Indices of the training images that train and of those held out.

    `teacher` holds the float graph's logits of all of them, [N, classes]; None where the loss does not ask for them.
    """

    dataset: Dataset
    train: Labels
    held: Labels
    teacher: Array | None


def divide(float_graph: Graph, dataset: Dataset, seed: int, *, teacher: bool) -> Images:
    """Hold out one training image in HELD_OUT, drawn by `seed`, and run the float graph where it teaches.

    Raises:
        EdgeError: the images or their classes are not those of the graph.
    """
    from quant.ptq import prepare
    from quant.simulate import simulate

    graph, count = prepare(float_graph), len(dataset.x_train)
    check_classes(graph, dataset)
    order = np.random.default_rng((seed, 0)).permutation(count)
    parts = []
    for start in range(0, count if teacher else 0, EVAL_BATCH):
        parts.append(simulate(graph, inputs_of(graph, dataset, dataset.x_train[start : start + EVAL_BATCH])))
    logits = np.concatenate(parts).reshape(count, -1) if teacher else None
    return Images(dataset, np.sort(order[count // HELD_OUT :]), np.sort(order[: count // HELD_OUT]), logits)


def loss_of(module: Any, images: Images, loss: str, picked: Labels) -> Any:
    """Return the mean loss of a `quant.qat.QatModule` over the training images `picked`, as a torch scalar.

    Args:
        module: what is trained.
        images: from `divide`.
        loss: one of LOSSES.
        picked: indices of training images.
    """
    import torch
    from torch.nn.functional import cross_entropy

    data = images.dataset
    x = torch.from_numpy(inputs_of(module.source, data, data.x_train[picked]))
    logits = module(x).flatten(1)
    parts = []
    if images.teacher is not None:
        parts.append(_divergence(logits, torch.from_numpy(images.teacher[picked])))
    if loss != "distil":
        parts.append(cross_entropy(logits, torch.from_numpy(data.y_train[picked])))
    return sum(parts) / len(parts)


def _divergence(logits: Any, teacher: Any) -> Any:
    """Return the Kullback-Leibler divergence of the softmax from the teacher's, in nats, mean over images."""
    from torch.nn.functional import kl_div, log_softmax

    return kl_div(log_softmax(logits, 1), log_softmax(teacher, 1), reduction="batchmean", log_target=True)
