"""Losses for students with a bottleneck: naive, KD, HND, GHND, and what fine-tunes them afterwards.

    naive   cross-entropy of the student's logits; the tail is the teacher's, frozen
    kd      a * cross-entropy + (1 - a) * T^2 * KL(teacher / T || student / T)
    hnd     || D(E(x)) - t_l(x) ||^2, summed over elements and batch, at the replaced stage l only
    ghnd    the sum over j >= l of || s_j(x) - t_j(x) ||^2, at every later stage that gives an image, too; no labels

Head network distillation: Matsubara et al., arXiv 1910.00932 and 2007.15818 (GHND); BottleFit, arXiv 2201.02693.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edge.models.bottleneck import Bottleneck
from edge.recipes import cross_entropy
from edge.recipes.recipe import Recipe

#: Share of cross-entropy and temperature of knowledge distillation, as published with BottleFit's successor.
ALPHA, TEMPERATURE = 0.5, 1.0


def naive() -> Recipe:
    """Return plain cross-entropy: what a student learns without its teacher."""
    return Recipe("naive", "cross-entropy through the frozen tail", cross_entropy.RECIPE.loss)


def kd(teacher: nn.Module, alpha: float = ALPHA, temperature: float = TEMPERATURE) -> Recipe:
    """Return knowledge distillation from a teacher in evaluation mode, [N, C, H, W] to logits."""

    def loss(student: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = teacher(x)
        return distillation(student(x), wanted, y, alpha, temperature)

    return Recipe("kd", f"{alpha} cross-entropy, the rest distillation at temperature {temperature}", loss)


def distillation(
    logits: torch.Tensor, wanted: torch.Tensor, y: torch.Tensor, alpha: float, temperature: float
) -> torch.Tensor:
    """Return alpha * CE + (1 - alpha) * T^2 * KL of logits [N, classes] against a teacher's, mean over the batch."""
    soft = functional.kl_div(
        functional.log_softmax(logits / temperature, dim=1),
        functional.log_softmax(wanted / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return alpha * functional.cross_entropy(logits, y) + (1 - alpha) * temperature**2 * soft


def hnd(front: nn.Sequential) -> Recipe:
    """Return head network distillation; `front` is the teacher up to the replaced stage, in evaluation mode."""

    def loss(student: Bottleneck, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = front(x)
        return squared(student.decoder(student.encoder(x)), wanted)

    return Recipe("hnd", "summed squared error at the replaced stage", loss)


def ghnd(front: nn.Sequential, tail: nn.Sequential) -> Recipe:
    """Return generalised head network distillation: squared errors at the replaced and at every later image.

    Args:
        front: the teacher up to the replaced stage, in evaluation mode.
        tail: the teacher's later stages. The student's own tail, frozen, has the same.
    """

    def loss(student: Bottleneck, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = images(tail, front(x))
        made = images(student.tail, student.decoder(student.encoder(x)))
        return torch.stack([squared(mine, theirs) for mine, theirs in zip(made, wanted, strict=True)]).sum()

    return Recipe("ghnd", "summed squared errors at the replaced and every later stage", loss)


def images(tail: nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
    """Return x, [N, C, H, W], and what the following stages make of it, as long as it is an image."""
    found = [x]
    for stage in tail:
        x = stage(x)
        if x.ndim != 4:
            break
        found.append(x)
    return found


def squared(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Return the sum of squared differences over all elements and images."""
    return functional.mse_loss(mine, theirs, reduction="sum")
