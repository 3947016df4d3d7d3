"""Train a student with a bottleneck in up to two stages: against its teacher, then (BottleFit) decoder and tail alone.

Stage 1 trains encoder and decoder; the tail is the teacher's, frozen with its running statistics. Stage 2 freezes the
encoder, so that devices need not be updated, and fine-tunes what the server has. Both use Adam under a cosine from the
schedule's rate to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.models.bottleneck import Bottleneck, freeze, stages_of
from edge.recipes import bottleneck
from edge.recipes.recipe import Recipe
from edge.train import Schedule, accuracy, batches, progress_bar, repeatable
from quant.names import suggestion

#: Adam's rate as published.
RATE = 1e-3
METHODS = ("naive", "kd", "hnd", "ghnd")
FINE_TUNING = ("ft", "kd")

#: Told the epochs done and the mean loss of the last one.
AfterEpoch = Callable[[int, float], None]


def train_bottleneck(
    student: Bottleneck,
    teacher: Any,
    replaced: str,
    dataset: Dataset,
    method: str,
    schedule: Schedule,
    show: bool = True,
    after_epoch: AfterEpoch | None = None,
) -> float:
    """Stage 1: train encoder and decoder in place; the tail stays as it is, bit for bit.

    Args:
        student: what `edge.models.bottleneck.build` made of this teacher and stage.
        teacher: trained; put into evaluation mode, not changed otherwise.
        replaced: the last stage of the teacher that the student replaces.
        dataset: raw images and labels.
        method: one of METHODS.
        schedule: epochs, batch, Adam's first rate, seed.
        show: whether to draw a progress bar.
        after_epoch: called with the number of epochs done and the mean loss of the last.

    Returns:
        Top-1 accuracy on the test images, 0 to 1.

    Raises:
        EdgeError: an unknown method or stage, too few images, or a loss that is no longer finite.
    """
    teacher.eval()
    recipe = _stage1(teacher, replaced, method)
    freeze(student, ("tail",))
    return _fit(student, dataset, recipe, schedule, show, after_epoch)


def fine_tune(
    student: Bottleneck,
    teacher: Any,
    dataset: Dataset,
    method: str,
    schedule: Schedule,
    show: bool = True,
    after_epoch: AfterEpoch | None = None,
) -> float:
    """Stage 2 (BottleFit): train decoder and tail in place; the encoder stays as it is, bit for bit.

    Args:
        student: trained by stage 1.
        teacher: for `kd`; put into evaluation mode.
        dataset: raw images and labels.
        method: `ft` (cross-entropy) or `kd`.
        schedule: epochs, batch, Adam's first rate, seed.
        show: whether to draw a progress bar.
        after_epoch: called with the number of epochs done and the mean loss of the last.

    Returns:
        Top-1 accuracy on the test images, 0 to 1.

    Raises:
        EdgeError: an unknown method, too few images, or a loss that is no longer finite.
    """
    _check(method, FINE_TUNING)
    recipe = bottleneck.naive() if method == "ft" else bottleneck.kd(teacher.eval())
    freeze(student, ("encoder",))
    return _fit(student, dataset, recipe, schedule, show, after_epoch)


def _stage1(teacher: Any, replaced: str, method: str) -> Recipe:
    _check(method, METHODS)
    front, tail = stages_of(teacher, replaced)
    front.eval()
    tail.eval()
    if method == "hnd":
        return bottleneck.hnd(front)
    if method == "ghnd":
        return bottleneck.ghnd(front, tail)
    return bottleneck.naive() if method == "naive" else bottleneck.kd(teacher)


def _check(method: str, known: tuple[str, ...]) -> None:
    if method not in known:
        raise EdgeError(
            f"no method '{method}' here.{suggestion(method, known)} Known are {', '.join(known)}; 'ft' is stage 2."
        )


def _fit(
    student: Bottleneck, dataset: Dataset, recipe: Recipe, schedule: Schedule, show: bool, after: AfterEpoch | None
) -> float:
    """Train the parameters that are not frozen."""
    steps = len(dataset.x_train) // schedule.batch
    if steps < 1 or schedule.epochs < 1:
        raise EdgeError(
            f"data '{dataset.name}' has {len(dataset.x_train)} training images, {schedule.epochs} epochs of batches of "
            f"{schedule.batch} need at least one whole batch and one epoch; lower 'batch'."
        )
    wanted = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(wanted, schedule.rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps * schedule.epochs)
    with repeatable(schedule), progress_bar(steps * schedule.epochs, show) as advance:
        student.train()
        for epoch in range(schedule.epochs):
            losses = []
            for x, y in batches(dataset, schedule, epoch):
                loss = recipe.loss(student, x, y)
                _check_finite(loss, recipe, epoch, schedule)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                cosine.step()
                losses.append(loss.item())
                advance(f"{recipe.name}, epoch {epoch + 1}/{schedule.epochs}, loss {losses[-1]:.3f}")
            if after is not None:
                after(epoch + 1, sum(losses) / len(losses))
        student.eval()
        return accuracy(student, dataset)


def _check_finite(loss: torch.Tensor, recipe: Recipe, epoch: int, schedule: Schedule) -> None:
    if not torch.isfinite(loss):
        raise EdgeError(
            f"{recipe.name}: the loss is {loss.item()} in epoch {epoch + 1}; lower 'rate' ({schedule.rate})."
        )
