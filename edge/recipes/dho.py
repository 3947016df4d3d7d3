"""DHO (dual-head optimisation): few labels, many images without, and a teacher that knows more than the labels.

One head learns the labels, the other one the teacher, on one feature:

    L = w_ce CE(h_ce(x_l), y) + w_kd [KL(h_kd(x_l), t) + KL(h_kd(x_u), t)],    w_ce = w_kd = 0.5,

with temperature 2 and its square before KL (from erjui/DHO, written anew). AdamW at 1e-3 after a linear warm-up over
the first tenth of the steps; the half cosine down to 0 behind it is this project's choice. Both heads answer together
(`dual_fold.py`). The teacher is any torch module: it is asked once per image (`taught`), never in a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from edge.dataset import Dataset, Labels
from edge.errors import EdgeError
from edge.recipes.dual_head import DualHead, Taught, divergence, endless
from edge.train import Schedule, logits, progress_bar, repeatable

TEMPERATURE = 2.0
WARM_UP = 0.1
#: Weights of the labels' and of the teacher's loss.
BOTH, LABELS_ONLY = (0.5, 0.5), (1.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """What a step is made of: images with labels beside the schedule's batch without, weights, augmentation.

    `augment` maps float32 [N, C, H, W] to the same, by torch's random state; None for none.
    """

    labelled: int = 64
    weights: tuple[float, float] = BOTH
    temperature: float = TEMPERATURE
    augment: Callable[[Any], Any] | None = None


def taught(dataset: Dataset, labelled: Labels, unlabelled: Labels, teacher: Any) -> Taught:
    """Ask a teacher once about every training image.

    Args:
        dataset: raw images and labels.
        labelled: indices of the training images whose labels may be used.
        unlabelled: indices of those that have none.
        teacher: a `torch.nn.Module` from [N, C, H, W] float32 to logits.

    Raises:
        EdgeError: an image is in both parts, or the teacher knows another number of classes.
    """
    common = np.intersect1d(labelled, unlabelled)
    if len(common):
        raise EdgeError(f"training image {common[0]} is labelled and unlabelled; it must be in one part only.")
    known = logits(teacher, dataset, dataset.x_train)
    if known.ndim != 2 or known.shape[1] != len(dataset.labels):
        raise EdgeError(f"the teacher gives {list(known.shape[1:])} logits, the data has {len(dataset.labels)} labels.")
    return Taught(dataset, labelled, unlabelled, known)


def dho_loss(
    outputs: tuple[Any, Any], y: Any, teacher: Any, weights: tuple[float, float], temperature: float = TEMPERATURE
) -> Any:
    """Return the loss of one step, a scalar with gradients.

    Args:
        outputs: logits of the label head and of the teacher's head, [L + U, classes]; the first L rows have labels.
        y: int64 [L].
        teacher: the teacher's logits, [L + U, classes].
        weights: of the labels' and of the teacher's loss.
        temperature: divides logits inside the divergence, whose factor is its square.
    """
    (first, second), count = outputs, len(y)
    loss = weights[0] * cross_entropy(first[:count], y)
    for part in (slice(None, count), slice(count, None)):
        if weights[1] and len(second[part]):
            loss = loss + weights[1] * divergence(second[part], teacher[part], temperature)
    return loss


def train_dho(dual: DualHead, images: Taught, schedule: Schedule, mixed: Mixed, show: bool = True) -> int:
    """Train both heads and the body, in place.

    With `dual_head.one_head` this is plain semi-supervised distillation on one head; with LABELS_ONLY it is training
    on the labelled images alone, for as many steps and in the same order.

    Args:
        dual: from `dual_head.two_heads` or `one_head`.
        images: which images have labels, and the teacher's logits.
        schedule: epochs over the unlabelled images, how many of them a step takes, peak rate, seed, threads.
        mixed: labelled images a step, weights, temperature, augmentation.
        show: whether to draw a progress bar.

    Returns:
        The number of steps.

    Raises:
        EdgeError: not enough images for one batch, or the loss is no longer finite.
    """
    steps = schedule.epochs * (len(images.unlabelled) // schedule.batch)
    if steps < 1 or not len(images.labelled):
        raise EdgeError(
            f"{len(images.labelled)} labelled and {len(images.unlabelled)} unlabelled images, {schedule.epochs} epochs "
            f"of batches of {schedule.batch}: at least one labelled image and one whole batch of others are needed."
        )
    optimiser = torch.optim.AdamW(dual.parameters(), schedule.rate)
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_share(step, steps))
    with repeatable(schedule), progress_bar(steps, show) as advance:
        dual.train()
        for _, (x, y, teacher) in zip(range(steps), _batches(images, schedule, mixed), strict=False):
            loss = dho_loss(dual(x), y, teacher, mixed.weights, mixed.temperature)
            if not torch.isfinite(loss):
                raise EdgeError(f"the loss is {loss.item()}; lower 'rate' ({schedule.rate}).")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rates.step()
            advance(f"loss {loss.item():.3f}")
    dual.eval()
    return steps


def rate_share(step: int, steps: int) -> float:
    """Return the share of the peak rate in a step: linear up over WARM_UP of the steps, half a cosine down to 0."""
    rising = max(1, round(WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _batches(images: Taught, schedule: Schedule, mixed: Mixed) -> Iterator[tuple[Any, Any, Any]]:
    """Yield inputs, labels of the first rows and the teacher's logits; labelled images come in one order always."""
    data, alone = images.dataset, mixed.weights[1] == 0
    others = endless(images.unlabelled, schedule.batch, schedule.seed)
    for own in endless(images.labelled, mixed.labelled, schedule.seed):
        picked = own if alone else np.concatenate([own, next(others)])
        x = torch.from_numpy(data.preprocess.apply(data.x_train[picked]))
        x = x if mixed.augment is None else mixed.augment(x)
        yield x, torch.from_numpy(data.y_train[own]), torch.from_numpy(images.teacher[picked])
