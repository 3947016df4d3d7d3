"""The networks of `dual_head.py`, its images, and what of a training is kept between calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kept import kept as kept_file
from edge.dataset import Dataset, Labels
from edge.models.layers import GlobalMean

#: Channels and strides of 3x3 convolutions; mean and a linear layer follow.
TEACHER = ((16, 32, 48, 64), (2, 1, 2, 1))
STUDENT = ((16, 32, 64), (2, 2, 2))
SMALL = ((8, 16, 32), (2, 2, 2))
#: The last training images choose settings and mixes; nothing trains on them.
HELD_OUT = 5000
TEACHER_EPOCHS, TEACHER_BATCH, TEACHER_RATE, TEACHER_SEED = 8, 256, 0.2, 100
Widths = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Where checkpoints go and what the images are; `pool` trains, `held` chooses: indices of training images."""

    folder: Path
    dataset: Dataset
    pool: Labels
    held: Labels


def job(folder: Path, dataset: Dataset) -> Job:
    """Divide the training images."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(dataset.x_train)
    return Job(folder, dataset, np.arange(count - HELD_OUT), np.arange(count - HELD_OUT, count))


def network(widths: Widths, dataset: Dataset, seed: int) -> Any:
    """Build an untrained network, whose weights depend on the seed alone."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers, wide = [], dataset.preprocess.shape[0]
        for out, stride in zip(*widths, strict=True):
            layers.append(nn.Sequential(nn.Conv2d(wide, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()))
            wide = out
        fc = nn.Linear(wide, len(dataset.labels))
        module = nn.Sequential(OrderedDict(units=nn.Sequential(*layers), mean=GlobalMean(), fc=fc))
    return module.to(memory_format=torch.channels_last)


def parameters(module: Any) -> int:
    """Count the weights of a module."""
    return sum(value.numel() for value in module.parameters())


def teacher(work: Job, count: int | None = None) -> tuple[Any, dict[str, Any]]:
    """Return the teacher, trained with labels on the pool or on `count` images of it drawn with equal classes."""
    from edge.recipes import cross_entropy
    from edge.recipes.dual_head import balanced
    from edge.train import Schedule, train

    data, module = work.dataset, network(TEACHER, work.dataset, TEACHER_SEED)
    picked = work.pool if count is None else balanced(data.y_train, work.pool, count, TEACHER_SEED)
    epochs = TEACHER_EPOCHS if count is None else 5 * TEACHER_EPOCHS
    schedule = Schedule(epochs=epochs, batch=TEACHER_BATCH, rate=TEACHER_RATE, seed=TEACHER_SEED)
    part = replace(data, x_train=data.x_train[picked], y_train=data.y_train[picked])
    settings = {"images": len(picked), "epochs": epochs, "rate": TEACHER_RATE, "batch": TEACHER_BATCH}

    def learn() -> dict[str, Any]:
        return {"test_accuracy": train(module, part, cross_entropy.RECIPE, schedule, show=False)}

    return module, kept(work, teacher_file(work, count).stem, module, settings, learn)


def teacher_file(work: Job, count: int | None) -> Path:
    """Return where the weights of a teacher are kept."""
    return work.folder / ("teacher.npz" if count is None else f"teacher-{count}.npz")


def kept(
    work: Job, name: str, module: Any, settings: dict[str, Any], learn: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Fill `module` from the checkpoint of this name and these settings, or train it and keep it."""
    return kept_file(work.folder / f"{name}.npz", module, settings, learn)
