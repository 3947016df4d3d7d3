"""BiPer (CVPR 2024): binary weights trained through a periodic function, in two stages.

Stage 1 trains with the weights sin(omega w), stage 2 goes on from there with their sign. Both minimise

    cross-entropy + tau * mean over layers of mean(sin^2(omega w)),      sin^2 = 0.5 - 0.5 cos(2 omega w).

A positive tau pulls the sines towards 0 and so *raises* the error of taking their sign; a negative one pulls them
towards -1 and +1. Its sign and size are hyper-parameters: watch the quantisation error.

As published, each stage has a cycle of the learning rate of its own (`stages`, `train_stage`), over hundreds of epochs.
With a dozen epochs, annealing twice wastes most of them; `train_in_one_cycle` runs both stages under one cycle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.recipes.binary_layers import RULES, SINE, SINE_SIGN, binary_layers, signs_of
from edge.recipes.recipe import Recipe
from edge.train import WEIGHT_DECAY, Schedule, train


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what binary layers make of their weights, the weight of the regulariser, and how long and fast."""

    rule: str
    tau: float
    schedule: Schedule


def stages(first: Schedule, *, second_epochs: int, second_rate: float, tau: tuple[float, float]) -> tuple[Stage, Stage]:
    """Return BiPer's two stages: `first`, then the same with other epochs, peak rate and seed."""
    second = replace(first, epochs=second_epochs, rate=second_rate, seed=first.seed + 1)
    return Stage(SINE, tau[0], first), Stage(SINE_SIGN, tau[1], second)


def recipe(tau: float) -> Recipe:
    """Return the loss of both stages with this weight of the regulariser."""

    def loss(module: Any, x: Any, y: Any) -> Any:
        return cross_entropy(module(x), y) + tau * spread(module)

    return Recipe("biper", f"cross-entropy plus {tau} times the mean squared sine of the binary weights", loss)


def spread(module: Any) -> torch.Tensor:
    """Return the mean over layers of mean(sin^2(omega w)), a scalar that carries gradients."""
    layers = [layer for _, layer in binary_layers(module)]
    return torch.stack([layer.sines().square().mean() for layer in layers]).mean()


def quantisation_error(module: Any) -> float:
    """Return the mean over layers of mean |sin(omega w) - sign(sin(omega w))|: 0 when stage 2 changes nothing."""
    with torch.inference_mode():
        sines = [layer.sines() for _, layer in binary_layers(module)]
        return float(torch.stack([(s - signs_of(s)).abs().mean() for s in sines]).mean())


def train_stage(module: Any, dataset: Dataset, stage: Stage, show: bool = True) -> tuple[float, list[float]]:
    """Train the binary layers of `module` by one stage, in place.

    Args:
        module: a `torch.nn.Module` with `BinaryConv2d` layers.
        dataset: raw images and labels.
        stage: rule, regulariser, schedule.
        show: whether to draw a progress bar.

    Returns:
        Top-1 accuracy on the test images under the stage's rule, and the quantisation error before the first epoch and
        after each.

    Raises:
        EdgeError: no binary layers, an unknown rule, too few images, or a loss that is no longer finite.
    """
    set_rule(module, stage.rule)
    errors = [quantisation_error(module)]
    accuracy = train(
        module,
        dataset,
        recipe(stage.tau),
        stage.schedule,
        show,
        after_epoch=lambda _: errors.append(quantisation_error(module)),
    )
    return accuracy, errors


def train_in_one_cycle(
    module: Any,
    dataset: Dataset,
    schedule: Schedule,
    *,
    first_epochs: int,
    tau: float,
    decay: float = WEIGHT_DECAY,
    show: bool = True,
) -> tuple[float, list[float]]:
    """Train both stages by one schedule, in place: `first_epochs` with sines, the others with their signs.

    Momentum and the cycle of the rate go on across the change, so the weights are annealed once, as signs.

    Args:
        module: a `torch.nn.Module` with `BinaryConv2d` layers.
        dataset: raw images and labels.
        schedule: of both stages together.
        first_epochs: epochs of stage 1, fewer than the schedule has; 0 starts with signs.
        tau: weight of the regulariser in both stages.
        decay: weight decay of the latent weights. Decay draws them to 0, where they can change sign; without it more
            and more of them stop at the tops of the sine, where the gradient is 0.
        show: whether to draw a progress bar.

    Returns:
        Top-1 accuracy on the test images with signs, and the quantisation error before the first epoch and after each.

    Raises:
        EdgeError: no epochs for a stage, no binary layers, too few images, or a loss that is no longer finite.
    """
    if not 0 <= first_epochs < schedule.epochs:
        raise EdgeError(
            f"stage 1 cannot take {first_epochs} of {schedule.epochs} epochs; 'first_epochs' is 0 to "
            f"{schedule.epochs - 1}, so that stage 2 has some."
        )
    set_rule(module, SINE if first_epochs else SINE_SIGN)
    errors = [quantisation_error(module)]

    def after_epoch(done: int) -> None:
        errors.append(quantisation_error(module))
        if done == first_epochs:
            set_rule(module, SINE_SIGN)

    latents = tuple(layer.weight for _, layer in binary_layers(module))
    return train(module, dataset, recipe(tau), schedule, show, after_epoch, (latents, decay)), errors


def set_rule(module: Any, rule: str) -> None:
    """Tell every binary layer what to make of its weights.

    Raises:
        EdgeError: the rule is unknown, or the module has no binary layers.
    """
    layers = [layer for _, layer in binary_layers(module)]
    if rule not in RULES:
        raise EdgeError(f"no rule '{rule}' for binary weights; allowed are {', '.join(RULES)}.")
    if not layers:
        raise EdgeError(
            "the model has no binary layers (BinaryConv2d); use edge.models.binary_resnet, or another recipe."
        )
    for layer in layers:
        layer.rule = rule
