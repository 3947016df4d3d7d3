"""A network with two linear heads on one feature, and what training it with a teacher needs.

Labels and teacher each get a head of their own, so that their gradients do not collide in one classifier. What the two
are for is in `dho.py` (both answer) and `dhkd.py` (the second one is thrown away).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import kl_div, log_softmax

from edge.dataset import Dataset, Labels
from edge.errors import EdgeError
from edge.train import logits
from quant.formats import Array
from quant.names import suggestion

#: Pixels that `augmented` moves an image by, at most.
SHIFT = 2


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """Training images by number: those whose labels may be used, those without, and a teacher's logits of all.

    `labelled` and `unlabelled` are int64 indices into `dataset.x_train`, `teacher` is float32 [N, classes] for all of
    `x_train` in its order. Labels of other images than `labelled` are never read.
    """

    dataset: Dataset
    labelled: Labels
    unlabelled: Labels
    teacher: Array


class DualHead(nn.Module):  # type: ignore[misc]  # torch has no types here
    """`body` from images to features [N, F], and two heads on them: `first` learns labels, `second` a teacher.

    `path` is where the body's own last layer was; there stands an identity now.
    """

    def __init__(self, body: nn.Module, path: str, first: nn.Module, second: nn.Module):
        super().__init__()
        self.body, self.path, self.first, self.second = body, path, first, second

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of both heads, [N, classes] each."""
        feature = self.body(x)
        return self.first(feature), self.second(feature)


def two_heads(module: Any, path: str, *, seed: int, hidden: int | None = None) -> DualHead:
    """Take the last layer of a classifier as first head and put a new second one beside it.

    Args:
        module: a `torch.nn.Module` from [N, C, H, W] to logits; copied, not changed.
        path: dotted path of its last layer, a `torch.nn.Linear` on the feature.
        seed: of the second head's initial weights.
        hidden: None for a linear second head, else the width of its one hidden layer (F to hidden, dropout 0.1, batch
            norm, ReLU, classes). Only a linear one can be folded.

    Raises:
        EdgeError: there is no such layer, or it is not linear.
    """
    body, first = _parted(module, path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width, classes = first.in_features, first.out_features
        second = nn.Linear(width, classes) if hidden is None else _perceptron(width, hidden, classes)
    return DualHead(body, path, first, second)


def one_head(module: Any, path: str) -> DualHead:
    """Return the same with one layer as both heads: what two heads are compared with.

    Raises:
        EdgeError: as `two_heads`.
    """
    body, first = _parted(module, path)
    return DualHead(body, path, first, first)


def with_head(dual: DualHead, head: nn.Module) -> nn.Module:
    """Return a classifier with this last layer, at the place of the original one; shares nothing with `dual`."""
    module = copy.deepcopy(dual.body)
    module.set_submodule(dual.path, copy.deepcopy(head))
    return module.train(dual.training)


def _parted(module: Any, path: str) -> tuple[Any, nn.Linear]:
    body = copy.deepcopy(module)
    named = dict(body.named_modules())
    layer = named.get(path) if path else None
    if not isinstance(layer, nn.Linear):
        what = f"is {type(layer).__name__}." if layer is not None else f"does not exist.{suggestion(path, named)}"
        raise EdgeError(f"the model's layer '{path}' {what} A head is the dotted path of its last torch.nn.Linear.")
    body.set_submodule(path, nn.Identity())
    return body, layer


def _perceptron(width: int, hidden: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(width, hidden), nn.Dropout(0.1), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )


def both_logits(dual: DualHead, dataset: Dataset, images: Array) -> tuple[Array, Array]:
    """Return the logits of both heads for raw images, float32 [N, classes] each, in evaluation mode."""
    joined = logits(_Joined(dual).train(dual.training), dataset, images)
    first, second = np.split(joined, 2, axis=1)
    return first, second


class _Joined(nn.Module):  # type: ignore[misc]  # torch has no types here
    def __init__(self, dual: DualHead):
        super().__init__()
        self.dual = dual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.dual(x), 1)


def divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return T^2 KL(softmax(teacher / T) || softmax(student / T)) in nats, mean over images (Hinton et al. 2015)."""
    log, wanted = log_softmax(student / temperature, 1), log_softmax(teacher / temperature, 1)
    return temperature**2 * kl_div(log, wanted, reduction="batchmean", log_target=True)


def balanced(y: Labels, among: Labels, count: int, seed: int) -> Labels:
    """Draw `count` of the images `among`, as many of each class, by `seed`; ascending.

    Args:
        y: labels of all training images.
        among: indices to draw from.
        count: a multiple of the number of classes in `among`.
        seed: same seed, same images.

    Raises:
        EdgeError: it is no multiple, or a class has too few images.
    """
    rng, classes = np.random.default_rng((seed, count)), np.unique(y[among])
    members = [among[y[among] == label] for label in classes]
    least, each = min(map(len, members)), count // len(classes)
    if count % len(classes) or not 0 < each <= least:
        raise EdgeError(
            f"{count} images cannot be drawn with the same number of each of {len(classes)} classes; 'count' is a "
            f"multiple of {len(classes)} from {len(classes)} to {least * len(classes)}."
        )
    return np.sort(np.concatenate([rng.permutation(own)[:each] for own in members]))


def endless(indices: Labels, batch: int, seed: int) -> Iterator[Labels]:
    """Yield batches of `indices` for ever: every pass in another order, and no image twice in a pass."""
    rng, left = np.random.default_rng((seed, batch)), indices[:0]
    while True:
        while len(left) < batch:
            left = np.concatenate([left, rng.permutation(indices)])
        yield left[:batch]
        left = left[batch:]


def augmented(x: torch.Tensor) -> torch.Tensor:
    """Mirror each image of [N, C, H, W] with even odds and move it by up to SHIFT pixels, by torch's random state.

    What comes in from outside is the nearest pixel of the border.
    """
    count, height, width = len(x), x.shape[2], x.shape[3]
    flips = torch.rand(count) < 0.5
    x = torch.where(flips[:, None, None, None], x.flip(3), x)
    moves = torch.randint(-SHIFT, SHIFT + 1, (2, count, 1))
    rows = (torch.arange(height) + moves[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + moves[1]).clamp(0, width - 1)
    images = torch.arange(count)[:, None, None]
    return x.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
