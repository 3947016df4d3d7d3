"""The trainings behind `benchmarks.gating`: dense, gated for every r, joint, and constant masks, for three seeds.

python -m benchmarks.gating_nets --work FOLDER

The last 5,000 training images are held out, here and in `benchmarks.gating`, to choose r. Every finished training is
kept in FOLDER as it ends; the ones that matter most come first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.kept import kept as kept_file
from edge.data import load
from edge.dataset import Dataset
from edge.recipes import gating
from edge.recipes.gating_net import GatedNet
from edge.train import Schedule

HELD_OUT = 5_000
SEEDS = (0, 1, 2)
#: Shares r of the heatmap mass.
SHARES = (0.94, 0.96, 0.98)
#: Shares at which only the predictors are trained: what the knob does, without fine-tunes.
KNOB = (0.9, 0.96)
#: The r of the joint training and of the constant masks.
MIDDLE = 0.96
DENSE = Schedule(epochs=3, batch=128, rate=0.1)
ROUNDS = (Schedule(epochs=1, batch=128, rate=0.03), Schedule(epochs=1, batch=128, rate=0.015))
JOINT = replace(DENSE, epochs=DENSE.epochs + sum(schedule.epochs for schedule in ROUNDS))
FIT = gating.Fit()


@dataclass(frozen=True, slots=True)
class Job:
    """Where trainings are kept, the data with the held-out images in the place of the test images, and a seed."""

    folder: Path
    dataset: Dataset
    seed: int


def data() -> tuple[Dataset, Dataset]:
    """Return Fashion-MNIST without the held-out images, which stand in for the test images; and as it is."""
    whole = load("fashion-mnist")
    x, y = whole.x_train, whole.y_train
    held = replace(whole, x_train=x[:-HELD_OUT], y_train=y[:-HELD_OUT], x_test=x[-HELD_OUT:], y_test=y[-HELD_OUT:])
    return held, whole


def dense(job: Job) -> GatedNet:
    """Return the dense network of a seed."""
    net = _new(job)
    schedule = replace(DENSE, seed=job.seed)
    kept(job, "dense", net, asdict(schedule), lambda: gating.fine_tune(net, job.dataset, schedule, show=False))
    return net


def tuned(job: Job) -> GatedNet:
    """Return the dense network after the fine-tunes that the gated ones have."""
    net = dense(job)
    kept(job, "tuned", net, {"rounds": _rounds(job)}, lambda: _tune(job, net))
    return net


def gated(job: Job, share: float) -> GatedNet:
    """Return the network gated with this r, by the decoupled training."""
    net = dense(job)
    fit = replace(FIT, seed=job.seed)
    settings = {"r": share, "rounds": _rounds(job), "fit": asdict(fit)}
    kept(job, f"gated-{share}", net, settings, lambda: _gate(job, net, share, fit))
    net.masked = True
    return net


def fitted(job: Job, share: float) -> GatedNet:
    """Return the dense network with predictors for this r, and no fine-tune."""
    net = dense(job)
    fit = replace(FIT, seed=job.seed)
    kept(job, f"fitted-{share}", net, {"r": share, "fit": asdict(fit)}, lambda: _fit(job, net, share, fit))
    net.masked = True
    return net


def joint(job: Job, share: float) -> GatedNet:
    """Return the network whose backbone and predictors were trained together from the start."""
    net, schedule = _new(job), replace(JOINT, seed=job.seed)
    settings = {"r": share, **asdict(schedule)}
    kept(job, f"joint-{share}", net, settings, lambda: gating.train_joint(net, job.dataset, share, schedule, False))
    net.masked = True
    return net


def constant(job: Job, share: float) -> GatedNet:
    """Return the network pruned to as many channels as gating keeps on average, the same for all images."""
    net = dense(job)
    gating.set_constant(net, rates(job, net, share))
    kept(job, f"constant-{share}", net, {"r": share, "rounds": _rounds(job)}, lambda: _tune(job, net))
    return net


def rates(job: Job, net: GatedNet, share: float) -> tuple[Any, ...]:
    """Return what the estimate is made of, from training images."""
    return gating.rates(net, job.dataset, job.dataset.x_train[: FIT.images], share)


def _new(job: Job) -> GatedNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        return GatedNet(job.dataset.preprocess.shape, len(job.dataset.labels))


def _rounds(job: Job) -> list[dict[str, Any]]:
    return [asdict(replace(schedule, seed=100 + job.seed)) for schedule in ROUNDS]


def _tune(job: Job, net: GatedNet) -> None:
    for schedule in ROUNDS:
        gating.fine_tune(net, job.dataset, replace(schedule, seed=100 + job.seed), show=False)


def _fit(job: Job, net: GatedNet, share: float, fit: gating.Fit) -> None:
    keeping = [float(rate.mean()) for rate in rates(job, net, share)]
    gating.fit_predictors(net, job.dataset, share, fit, keeping)


def _gate(job: Job, net: GatedNet, share: float, fit: gating.Fit) -> None:
    rounds = [replace(schedule, seed=100 + job.seed) for schedule in ROUNDS]
    gating.train_decoupled(net, job.dataset, share, rounds, fit, show=False)


def kept(job: Job, name: str, net: GatedNet, settings: dict[str, Any], work: Callable[[], object]) -> None:
    """Fill `net` from the file of this name and these settings, or do the work and keep it."""

    def figures() -> dict[str, Any]:
        work()
        net.masked = net.masked or name.startswith("gated")
        guesses = gating.behaviour(net, job.dataset, job.dataset.x_test, 1.0).labels
        return {"held_out_accuracy": float(np.mean(guesses == job.dataset.y_test))}

    kept_file(job.folder / f"{name}-{job.seed}.npz", net, settings, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    folder = parser.parse_args().work
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    jobs = [Job(folder, data()[0], seed) for seed in SEEDS]
    for job in jobs:
        gated(job, MIDDLE)
        tuned(job)
    for share in SHARES:
        for job in jobs:
            gated(job, share)
    for share in KNOB:
        for job in jobs:
            fitted(job, share)
    for job in jobs:
        joint(job, MIDDLE)
    for job in jobs:
        constant(job, MIDDLE)


if __name__ == "__main__":
    main()
