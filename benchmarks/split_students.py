"""Teachers and students of `benchmarks.split_recipes`: trained once, kept as files.

python -m benchmarks.split_students --work FOLDER [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.kept import kept as kept_file
from edge.data import load
from edge.dataset import Dataset
from edge.models import bottleneck
from edge.models.bottleneck import Bottleneck
from edge.models.models import build, find_model
from edge.recipes import cross_entropy
from edge.recipes.bottleneck_train import METHODS, fine_tune, train_bottleneck
from edge.train import Schedule, train

TEACHER, REPLACED, BATCH, TEACHER_RATE = "staged", "layer2", 128, 0.1
TEACHER_EPOCHS = 3
#: Adam's rate in both stages. 1e-3 (as published, for far more epochs) and 4e-3 were tried on 10,000 training images,
#: two epochs each and one to fine-tune, judged on the last 5,000 training images: 4e-3 was better by every method.
RATE = 4e-3
#: Every student sees the training images EPOCHS times, half of them by GHND where it has two stages. LONGER ones show
#: whether the order of the methods is one of too short a training.
EPOCHS, LONGER = 2, 4
CHANNELS, COMPARED = (1, 3, 6, 12), 3
#: Students of two stages: GHND, then decoder and tail by this method.
FINE = {"ghnd-ft": "ft", "ghnd-kd": "kd"}
LONGER_METHODS = ("hnd", "naive", "ghnd-ft", "ghnd")


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Where checkpoints go, the data, and the seed."""

    folder: Path
    dataset: Dataset
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Student:
    """A trained student: its method, channels, epochs, float test accuracy (0 to 1) and what training said."""

    method: str
    channels: int
    epochs: int
    module: Bottleneck
    record: dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/split_recipes"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    for job in jobs(options.work, options.seeds):
        teacher = teacher_of(job)[0]
        for student in chain(students(job, teacher), longer(job, teacher)):
            print(job.seed, student.epochs, student.method, student.channels, student.record, flush=True)


def jobs(work: Path, seeds: list[int]) -> list[Job]:
    """Return one job for every seed."""
    import torch

    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    dataset = load("fashion-mnist")
    return [Job(work, dataset, seed) for seed in seeds]


def teacher_of(job: Job) -> tuple[Any, dict[str, Any]]:
    """Train the teacher, or load it."""
    dataset = job.dataset
    module = build(find_model(TEACHER), dataset.preprocess.shape, len(dataset.labels), seed=job.seed)
    schedule = Schedule(epochs=TEACHER_EPOCHS, batch=BATCH, rate=TEACHER_RATE, seed=job.seed)

    def work() -> dict[str, Any]:
        return {"accuracy": train(module, dataset, cross_entropy.RECIPE, schedule, show=False)}

    return module, kept(job, "teacher", module, asdict(schedule), work)


def students(job: Job, teacher: Any) -> Iterator[Student]:
    """Train or load all students of one teacher: every method at COMPARED channels, GHND-FT at the others."""
    for method in METHODS:
        yield one_stage(job, teacher, method, COMPARED, EPOCHS)
    for method in FINE:
        yield two_stages(job, teacher, method, COMPARED, EPOCHS)
    for channels in CHANNELS:
        if channels != COMPARED:
            yield two_stages(job, teacher, "ghnd-ft", channels, EPOCHS)


def longer(job: Job, teacher: Any) -> Iterator[Student]:
    """Train or load the students that show what more epochs change."""
    for method in LONGER_METHODS:
        train_by = two_stages if method in FINE else one_stage
        yield train_by(job, teacher, method, COMPARED, LONGER)


def one_stage(job: Job, teacher: Any, method: str, channels: int, epochs: int) -> Student:
    """Train encoder and decoder by one method."""
    module = new_student(job, teacher, channels)
    schedule = Schedule(epochs=epochs, batch=BATCH, rate=RATE, seed=job.seed)
    losses: list[float] = []

    def work() -> dict[str, Any]:
        found = train_bottleneck(
            module, teacher, REPLACED, job.dataset, method, schedule, False, lambda _, loss: losses.append(loss)
        )
        return {"accuracy": found, "losses": losses}

    name = f"{method}-c{channels}-e{epochs}"
    return Student(method, channels, epochs, module, kept(job, name, module, asdict(schedule), work))


def two_stages(job: Job, teacher: Any, method: str, channels: int, epochs: int) -> Student:
    """Train by GHND for half of the epochs, then fine-tune decoder and tail for the rest."""
    first = one_stage(job, teacher, "ghnd", channels, epochs // 2)
    module = first.module
    schedule = Schedule(epochs=epochs - epochs // 2, batch=BATCH, rate=RATE, seed=job.seed + 100)

    def work() -> dict[str, Any]:
        return {"accuracy": fine_tune(module, teacher, job.dataset, FINE[method], schedule, False)}

    record = kept(job, f"{method}-c{channels}-e{epochs}", module, asdict(schedule), work)
    return Student(method, channels, epochs, module, record | {"first_stage_accuracy": first.record["accuracy"]})


def new_student(job: Job, teacher: Any, channels: int) -> Bottleneck:
    """Build the untrained student; methods start from the same weights."""
    return bottleneck.build(teacher, REPLACED, job.dataset.preprocess.shape, channels, seed=job.seed)


def kept(
    job: Job, name: str, module: Any, settings: dict[str, Any], work: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Fill `module` from the checkpoint of this name and these settings, or do the work and keep it."""
    return kept_file(job.folder / f"{name}-{job.seed}.npz", module, settings, work)


if __name__ == "__main__":
    main()
