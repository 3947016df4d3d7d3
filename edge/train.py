"""Train a torch module on a data set: SGD with Nesterov momentum under a one-cycle rate, repeatable on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.recipes.recipe import Recipe

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
#: Images evaluated at once.
EVAL_BATCH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast: epochs, images per step, peak learning rate of the cycle.

    `threads` is 1 because tiny networks get slower, and their sums another order, with more.
    """

    epochs: int
    batch: int
    rate: float
    seed: int = 0
    threads: int = 1


def train(
    module: Any,
    dataset: Dataset,
    recipe: Recipe,
    schedule: Schedule,
    show: bool = True,
    after_epoch: Callable[[int], None] | None = None,
    own_decay: tuple[Sequence[Any], float] = ((), WEIGHT_DECAY),
) -> float:
    """Train `module` in place. Nothing is written to disk.

    Args:
        module: a `torch.nn.Module` from float32 [N, C, H, W] to logits.
        dataset: raw images and labels; its pre-processing is applied to each batch.
        recipe: the loss.
        schedule: epochs, batch, peak rate, seed, threads.
        show: whether to draw a progress bar on standard error.
        after_epoch: called with the number of epochs done, for what a recipe wants to log.
        own_decay: those of the module's parameters that have another weight decay than WEIGHT_DECAY, and which.

    Returns:
        Top-1 accuracy on the test images, 0 to 1.

    Raises:
        EdgeError: too few images for one batch, or the loss is no longer finite.
    """
    import torch

    steps = len(dataset.x_train) // schedule.batch
    if steps < 1 or schedule.epochs < 1:
        raise EdgeError(
            f"data '{dataset.name}' has {len(dataset.x_train)} training images, {schedule.epochs} epochs of batches of "
            f"{schedule.batch} need at least one whole batch and one epoch; lower 'batch'."
        )
    optimiser = torch.optim.SGD(
        _groups(module, *own_decay), schedule.rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, schedule.rate, total_steps=steps * schedule.epochs)
    with repeatable(schedule), progress_bar(steps * schedule.epochs, show) as advance:
        module.train()
        for epoch in range(schedule.epochs):
            for x, y in batches(dataset, schedule, epoch):
                loss = recipe.loss(module, x, y)
                if not torch.isfinite(loss):
                    raise EdgeError(f"the loss is {loss.item()} in epoch {epoch + 1}; lower 'rate' ({schedule.rate}).")
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                cycle.step()
                advance(f"epoch {epoch + 1}/{schedule.epochs}, loss {loss.item():.3f}")
            if after_epoch is not None:
                after_epoch(epoch + 1)
        module.eval()
        return accuracy(module, dataset)


def _groups(module: Any, apart: Sequence[Any], decay: float) -> list[dict[str, Any]]:
    """Return the module's parameters as the optimiser wants them, those with a decay of their own apart."""
    found = {id(parameter) for parameter in apart}
    groups = [{"params": [parameter for parameter in module.parameters() if id(parameter) not in found]}]
    return [*groups, {"params": list(apart), "weight_decay": decay}] if found else groups


def logits(module: Any, dataset: Dataset, images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Return the module's logits [N, classes] for raw images, in evaluation mode, without gradients."""
    import torch

    training, outputs = module.training, []
    module.eval()
    with torch.inference_mode():
        for start in range(0, len(images), EVAL_BATCH):
            x = torch.from_numpy(dataset.preprocess.apply(images[start : start + EVAL_BATCH]))
            outputs.append(module(x).numpy())
    module.train(training)
    return np.concatenate(outputs)


def accuracy(module: Any, dataset: Dataset) -> float:
    """Return top-1 accuracy on the test images, 0 to 1."""
    guesses = logits(module, dataset, dataset.x_test).argmax(axis=1)
    return float((guesses == dataset.y_test).mean())


def batches(dataset: Dataset, schedule: Schedule, epoch: int) -> Iterator[tuple[Any, Any]]:
    """Yield whole batches in an order that depends on seed and epoch alone; too small a rest would upset batch norm."""
    import torch

    order = np.random.default_rng((schedule.seed, epoch)).permutation(len(dataset.x_train))
    for start in range(0, len(order) - schedule.batch + 1, schedule.batch):
        picked = order[start : start + schedule.batch]
        x = dataset.preprocess.apply(dataset.x_train[picked])
        yield torch.from_numpy(x), torch.from_numpy(dataset.y_train[picked])


@contextmanager
def repeatable(schedule: Schedule) -> Iterator[None]:
    """Fix seed, threads and algorithms inside the block; give torch its settings back afterwards."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)
        torch.set_num_threads(schedule.threads)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
            torch.set_num_threads(threads)


@contextmanager
def progress_bar(total: int, show: bool) -> Iterator[Any]:
    """Draw a progress bar; yields a function that takes one step and shows a text."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not show, transient=True) as progress:
        task = progress.add_task("training", total=total)

        def advance(text: str) -> None:
            progress.update(task, advance=1, description=text)

        yield advance
