"""Train a filter: a small judge on the early feature map of a network that stays as it is.

After Neural Compression and Filtering (arXiv 2007.15818): cross-entropy on interesting or not, the network frozen, and
of all epochs the one with the largest area under the ROC curve on held-out images. A threshold for a wanted recall
comes after quantisation, in `edge.gates.filter_bundle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.gates.filter import roc_auc
from edge.recipes.recipe import Recipe
from edge.train import Schedule, logits, train


@dataclass(frozen=True, slots=True)
class Trained:
    """Area under the ROC curve on the held-out images after each epoch, and the epoch (from 0) that was kept."""

    areas: tuple[float, ...]
    kept: int


class Watched(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A judge behind a stem that is never trained: it stays in evaluation mode, so that its statistics do not drift."""

    def __init__(self, stem: nn.Module, judge: nn.Module):
        super().__init__()
        self.stem, self.judge = stem, judge

    def train(self, mode: bool = True) -> Watched:
        """Set the judge's mode; the stem's is evaluation."""
        super().train(mode)
        self.stem.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, H, W] to logits [N, 1]."""
        with torch.no_grad():
            features = self.stem(x)
        return self.judge(features)


def train_filter(
    stem: Any, judge: Any, held_out: Dataset, interesting: Sequence[int], schedule: Schedule, show: bool = True
) -> Trained:
    """Train `judge` in place; `stem` is not changed.

    Args:
        stem: from images to the feature map, such as the first layers of a trained network.
        judge: from the feature map to logits [N, 1]; `edge.models.judge` builds one.
        held_out: training images, and held-out ones as its test images (`edge.dataset.with_held_out`): they choose the
            epoch.
        interesting: classes that are not to be missed.
        schedule: epochs, batch, peak rate, seed.
        show: whether to draw a progress bar.

    Raises:
        EdgeError: no class or every class is interesting, too few images, or a loss that is no longer finite.
    """
    classes = set(range(len(held_out.labels)))
    if not set(interesting) < classes or not interesting:
        raise EdgeError(
            f"the interesting classes {sorted(interesting)} must be some, but not all, of 0 to {len(classes) - 1}."
        )
    watched, areas, states = Watched(stem, judge), [], []
    truth = np.isin(held_out.y_test, list(interesting))

    def after_epoch(_: int) -> None:
        areas.append(roc_auc(logits(watched, held_out, held_out.x_test)[:, 0], truth))
        states.append({name: value.clone() for name, value in judge.state_dict().items()})

    # What `train` returns is the accuracy of a classifier, which a judge is not.
    train(watched, held_out, recipe(interesting), schedule, show, after_epoch)
    best = int(np.argmax(areas))
    judge.load_state_dict(states[best])
    judge.eval()
    return Trained(tuple(areas), best)


def recipe(interesting: Sequence[int]) -> Recipe:
    """Return the loss: cross-entropy of interesting or not, from class labels."""
    wanted = torch.tensor(sorted(interesting))

    def loss(module: Any, x: Any, y: Any) -> Any:
        return binary_cross_entropy_with_logits(module(x)[:, 0], torch.isin(y, wanted).float())

    return Recipe("filter", "cross-entropy of interesting classes against the others", loss)
