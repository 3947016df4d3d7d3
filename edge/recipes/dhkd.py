"""DHKD (dual-head knowledge distillation): the logit loss gets a head of its own, which is thrown away afterwards.

    L = gamma CE(first, y) + alpha BinaryKL-Norm(second, teacher)

Cross-entropy and a loss on single logits pull one classifier apart; two heads share the feature only. As an option the
teacher's gradient on the shared feature gives up what works against the labels (gradient alignment). Formulas from
penghui-yang/DHKD, written anew. SGD with momentum, the rate divided by 10 at 62.5, 75 and 87.5 % of the steps (there:
epochs 150, 180 and 210 of 240).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, logsigmoid

from edge.errors import EdgeError
from edge.recipes.dual_head import DualHead, Taught, divergence, endless, with_head
from edge.train import MOMENTUM, WEIGHT_DECAY, Schedule, progress_bar, repeatable
from quant.names import suggestion

LOSSES = ("none", "kl", "binary")
TEMPERATURE = 2.0
#: Where the rate falls, in shares of all steps, and by how much.
DROPS, DROP = (0.625, 0.75, 0.875), 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The loss: what the second head learns (one of LOSSES), the weights gamma and alpha, and whether to align.

    "kl" is the divergence of softmaxes (Hinton et al.), "binary" is BinaryKL-Norm.
    """

    teacher: str = "binary"
    gamma: float = 1.0
    alpha: float = 1.0
    temperature: float = TEMPERATURE
    align: bool = False


def binary_kl_norm(student: Any, teacher: Any, temperature: float = TEMPERATURE) -> Any:
    """Return T^2 / N sum of 0.5 ln(0.5 / d) + 0.5 ln(0.5 / (1 - d)), d = sigmoid((student - teacher) / T).

    It is 0 where the logits are equal and only there, and its gradient for a logit is T (d - 0.5) / N.

    Args:
        student: logits [N, classes].
        teacher: logits [N, classes].
        temperature: T.
    """
    gap = (student - teacher) / temperature
    # ln(0.5 / sigmoid(g)) = -ln 2 - logsigmoid(g), which does not overflow.
    each = -0.5 * (logsigmoid(gap) + logsigmoid(-gap)) - float(np.log(2))
    return temperature**2 * each.sum() / len(student)


def teacher_loss(student: Any, teacher: Any, terms: Terms) -> Any:
    """Return the second head's loss without its weight.

    Raises:
        EdgeError: no such loss.
    """
    if terms.teacher not in LOSSES:
        raise EdgeError(f"no loss '{terms.teacher}'.{suggestion(terms.teacher, LOSSES)} Allowed: {', '.join(LOSSES)}.")
    if terms.teacher == "none":
        return 0 * student.sum()
    loss = divergence if terms.teacher == "kl" else binary_kl_norm
    return loss(student, teacher, terms.temperature)


def aligned(teacher: Sequence[Any], labels: Sequence[Any]) -> tuple[Any, ...]:
    """Take out of the teacher's gradient its part against the labels' gradient.

    Both are one vector over all tensors. With t.l < 0 the result is t - (t.l / l.l) l, at right angles to l; else t.

    Args:
        teacher: gradients of the teacher's loss, a tensor per shared parameter.
        labels: gradients of the labels' loss, in the same order.
    """
    product = sum((t * own).sum() for t, own in zip(teacher, labels, strict=True))
    length = sum(own.square().sum() for own in labels)
    if product >= 0 or length == 0:
        return tuple(teacher)
    return tuple(t - product / length * own for t, own in zip(teacher, labels, strict=True))


def train_dhkd(dual: DualHead, images: Taught, schedule: Schedule, terms: Terms, show: bool = True) -> float:
    """Train on the labelled images, in place; `deployed` is what remains.

    With `dual_head.one_head` both losses fall on one classifier, the ablation.

    Args:
        dual: from `dual_head.two_heads` or `one_head`.
        images: `labelled` images train, `unlabelled` ones are not looked at.
        schedule: epochs, images a step, first rate, seed, threads.
        terms: the loss.
        show: whether to draw a progress bar.

    Returns:
        The share of steps in which the gradients were in conflict; 0 without alignment.

    Raises:
        EdgeError: too few images for one batch, the loss is no longer finite, or alignment with one head.
    """
    steps = schedule.epochs * (len(images.labelled) // schedule.batch)
    if steps < 1:
        raise EdgeError(f"{len(images.labelled)} images are no whole batch of {schedule.batch}; lower 'batch'.")
    if terms.align and dual.first is dual.second:
        raise EdgeError("gradients can be aligned with two heads only; use two_heads, or align=False.")
    optimiser = torch.optim.SGD(dual.parameters(), schedule.rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    drops = [round(share * steps) for share in DROPS]
    rates = torch.optim.lr_scheduler.MultiStepLR(optimiser, drops, DROP)
    conflicts, order = 0, endless(images.labelled, schedule.batch, schedule.seed)
    with repeatable(schedule), progress_bar(steps, show) as advance:
        dual.train()
        for _ in range(steps):
            both = _losses(dual, images, next(order), terms)
            if not torch.isfinite(sum(both)):
                raise EdgeError(f"the loss is {sum(both).item()}; lower 'rate' ({schedule.rate}) or 'alpha'.")
            optimiser.zero_grad()
            conflicts += _backward(dual, both, align=terms.align)
            optimiser.step()
            rates.step()
            advance(f"loss {sum(both).item():.3f}")
    dual.eval()
    return conflicts / steps


def deployed(dual: DualHead) -> nn.Module:
    """Return the network with the first head only: the classifier it was made of, trained."""
    return with_head(dual, dual.first)


def _losses(dual: DualHead, images: Taught, picked: Any, terms: Terms) -> tuple[Any, Any]:
    """Return the weighted losses of the labels and of the teacher."""
    data = images.dataset
    x = torch.from_numpy(data.preprocess.apply(data.x_train[picked]))
    first, second = dual(x)
    labels = cross_entropy(first, torch.from_numpy(data.y_train[picked]))
    wanted = torch.from_numpy(images.teacher[picked])
    return terms.gamma * labels, terms.alpha * teacher_loss(second, wanted, terms)


def _backward(dual: DualHead, both: tuple[Any, Any], *, align: bool) -> bool:
    """Leave the gradients in the parameters; returns whether alignment found the two losses in conflict."""
    if not align:
        (both[0] + both[1]).backward()
        return False
    shared = list(dual.body.parameters())
    labels = torch.autograd.grad(both[0], [*shared, *dual.first.parameters()], retain_graph=True)
    teacher = torch.autograd.grad(both[1], [*shared, *dual.second.parameters()])
    kept = aligned(teacher[: len(shared)], labels[: len(shared)])
    for parameter, own, other in zip(shared, labels, kept, strict=False):
        parameter.grad = own + other
    heads = zip(
        [*dual.first.parameters(), *dual.second.parameters()],
        labels[len(shared) :] + teacher[len(shared) :],
        strict=True,
    )
    for parameter, own in heads:
        parameter.grad = own
    return bool(shared) and kept[0] is not teacher[0]
