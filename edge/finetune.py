"""Finetune a quantised graph on images: quantisation-aware training from the result of post-training quantisation.

A tenth of the training images is held out. After every epoch the loss on it decides whether the epoch is the best so
far, and the start counts too: by that measure the result is never worse than the graph that was given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.dataset import Dataset, Labels
from edge.errors import EdgeError
from edge.finetune_loss import EVAL_BATCH, HELD_OUT, LEAST_IMAGES, LOSSES, Images, divide, loss_of
from edge.finetune_state import Progress, load_progress, save_progress
from edge.quantizing import check_suffix
from edge.train import Schedule, progress_bar, repeatable
from export.host import TARGET as HOST
from export.target import check_capability
from quant.errors import QuantError
from quant.graph import Graph

OPTIMISERS = ("adam", "sgd")
MOMENTUM = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuning:
    """What is trained and towards what.

    `loss`: `distil` is the Kullback-Leibler divergence from the float graph's softmax and needs no labels, `labels` is
    cross-entropy, `both` their mean. `optimiser`: weights and biases count in steps of their grids, so the rate of
    `adam` is about the share of a step that one update moves; `sgd` has Nesterov momentum of 0.9.
    """

    loss: str = "distil"
    optimiser: str = "adam"
    learn_scales: bool = False


@dataclass(frozen=True, eq=False)
class Finetuned:
    """The best graph, its epoch (0 is the start), and the held-out loss at the start and after each epoch."""

    graph: Graph
    best: int
    losses: tuple[float, ...]


@dataclass(eq=False)
class _Run:
    """Everything that changes while a graph is finetuned."""

    module: Any
    optimiser: Any
    images: Images
    schedule: Schedule
    how: Finetuning
    progress: Progress = field(default_factory=Progress)

    @property
    def batch(self) -> int:
        return min(self.schedule.batch, len(self.images.train))

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return len(self.images.train) // self.batch


def finetune(
    float_graph: Graph,
    quantised: Graph,
    dataset: Dataset,
    schedule: Schedule,
    how: Finetuning | None = None,
    checkpoint: Path | None = None,
    show: bool = True,
) -> Finetuned:
    """Train a quantised graph on the training images; the learning rate falls from its peak to 0 along a cosine.

    Args:
        float_graph: what the graph was quantised from; the teacher of `distil`.
        quantised: from `quant.ptq.quantise` or one of its methods.
        dataset: raw images and labels; its pre-processing is applied to each batch.
        schedule: epochs, batch, peak rate, seed, threads.
        how: loss, optimiser, whether scales are trained.
        checkpoint: `.npz` written after every epoch. Where it exists already, training goes on from it, and ends with
            the very same graph as without the interruption.
        show: whether to draw a progress bar on standard error.

    Raises:
        EdgeError: too few images, an unknown loss or optimiser, a checkpoint of another training, or the loss is no
            longer finite.
        QuantError: the graphs cannot be trained, or the integer reference cannot execute the quantised one.
    """
    from quant.program import lower
    from quant.qat import build, to_graph

    how = how or Finetuning()
    _check(how, schedule, dataset)
    lower(quantised)
    with repeatable(schedule):
        module = build(quantised, float_graph, learn_scales=how.learn_scales)
        images = divide(float_graph, dataset, schedule.seed, teacher=how.loss != "labels")
        run = _Run(module, _optimiser(module, schedule, how), images, schedule, how)
        key = _key(float_graph, quantised, dataset, schedule, how)
        if checkpoint is not None and checkpoint.exists():
            run.progress = load_progress(checkpoint, key, module, run.optimiser)
        else:
            _judge(run)
        _train(run, checkpoint, key, show)
        module.load_state_dict(run.progress.best_state)
        return Finetuned(to_graph(module), run.progress.best, tuple(run.progress.losses))


def check_places(output: Path, checkpoint: Path | None) -> None:
    """Refuse, before any work, files that could not be written when it is done."""
    check_suffix(output)
    if checkpoint is not None and checkpoint.suffix != ".npz":
        raise EdgeError(f"{checkpoint}: the checkpoint is an .npz file; name it so.")
    for path in (output, *([] if checkpoint is None else [checkpoint])):
        if not path.absolute().parent.is_dir():
            raise EdgeError(f"there is no folder {path.parent} for {path.name}; make it first.")


def check_output(quantised: Graph, output: Path) -> None:
    """Refuse, before any work, a format that the output file cannot express."""
    if not quantised.is_quantised:
        raise EdgeError(f"graph '{quantised.name}' is a float graph; --start takes a quantised one.")
    if output.suffix == ".onnx":
        check_capability(HOST, quantised)


def _check(how: Finetuning, schedule: Schedule, dataset: Dataset) -> None:
    for value, known, name in ((how.loss, LOSSES, "loss"), (how.optimiser, OPTIMISERS, "optimiser")):
        if value not in known:
            raise EdgeError(f"there is no {name} '{value}'; known are {', '.join(known)}.")
    if len(dataset.x_train) < LEAST_IMAGES:
        raise EdgeError(
            f"data '{dataset.name}' has {len(dataset.x_train)} training images; finetuning needs {LEAST_IMAGES} at "
            f"least, as one in {HELD_OUT} chooses the epoch."
        )
    if schedule.epochs < 1 or schedule.batch < 1 or not (math.isfinite(schedule.rate) and schedule.rate > 0):
        raise EdgeError("finetuning needs at least one epoch, one image a batch and a learning rate above 0.")


def _optimiser(module: Any, schedule: Schedule, how: Finetuning) -> Any:
    import torch

    if how.optimiser == "sgd":
        return torch.optim.SGD(module.parameters(), schedule.rate, momentum=MOMENTUM, nesterov=True)
    return torch.optim.Adam(module.parameters(), schedule.rate)


def _key(float_graph: Graph, quantised: Graph, dataset: Dataset, schedule: Schedule, how: Finetuning) -> str:
    """Return a digest of everything the result depends on."""
    from hashlib import sha256

    from quant.graph_file import to_bytes

    digest = sha256(repr((schedule, how, dataset.preprocess, dataset.x_train.shape)).encode())
    for data in (to_bytes(float_graph), to_bytes(quantised), dataset.x_train.tobytes(), dataset.y_train.tobytes()):
        digest.update(data)
    return digest.hexdigest()


def _train(run: _Run, checkpoint: Path | None, key: str, show: bool) -> None:
    total = run.steps * run.schedule.epochs
    done = run.progress.epochs_done
    with progress_bar(total - done * run.steps, show) as advance:
        for epoch in range(done, run.schedule.epochs):
            for step, picked in enumerate(batches(run, epoch)):
                rate = 0.5 * run.schedule.rate * (1 + math.cos(math.pi * (epoch * run.steps + step) / total))
                loss = _step(run, picked, rate, epoch)
                advance(f"epoch {epoch + 1}/{run.schedule.epochs}, loss {loss:.4f}")
            _judge(run)
            if checkpoint is not None:
                save_progress(checkpoint, key, run.module, run.optimiser, run.progress)


def batches(run: _Run, epoch: int) -> Iterator[Labels]:
    """Yield image indices of whole batches, in an order that depends on seed and epoch alone."""
    order = np.random.default_rng((run.schedule.seed, 1 + epoch)).permutation(run.images.train)
    for index in range(run.steps):
        yield order[index * run.batch : (index + 1) * run.batch]


def _step(run: _Run, picked: Labels, rate: float, epoch: int) -> float:
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    loss = loss_of(run.module, run.images, run.how.loss, picked)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise EdgeError(f"the loss is {value} in epoch {epoch + 1}; lower the learning rate ({run.schedule.rate}).")
    run.optimiser.zero_grad()
    loss.backward()
    run.optimiser.step()
    return value


def _judge(run: _Run) -> None:
    """Measure the held-out loss; keep the state when it is the best so far and its accumulators fit."""
    import torch

    held, total = run.images.held, 0.0
    with torch.no_grad():
        for start in range(0, len(held), EVAL_BATCH):
            part = held[start : start + EVAL_BATCH]
            total += float(loss_of(run.module, run.images, run.how.loss, part)) * len(part)
    loss = total / len(held)
    progress = run.progress
    first = not progress.losses
    if first or (loss < min(progress.losses[progress.best], math.inf) and _fits(run.module)):
        progress.best = len(progress.losses)
        progress.best_state = {name: value.clone() for name, value in run.module.state_dict().items()}
    progress.losses.append(loss)


def _fits(module: Any) -> bool:
    """Whether the integer reference can execute what the module is now."""
    from quant.program import lower
    from quant.qat import to_graph

    try:
        lower(to_graph(module))
    except QuantError:
        return False
    return True
