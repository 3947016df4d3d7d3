"""Choose rates, frequency, stages and regulariser for `benchmarks.biper` on training images only.

python -m benchmarks.biper_rates [--work FOLDER]

15,000 of the first 50,000 training images train for 8 epochs; the candidates that are left then train on all 50,000 for
12, the length that counts. The last 10,000 training images judge; no test image is looked at. Each trial is kept in
FOLDER, so a second call goes on behind it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.biper import BATCH, new_module
from benchmarks.results import environment, write_results
from edge.data import load
from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.recipes import cross_entropy
from edge.recipes.binary_layers import SIGN
from edge.recipes.biper import set_rule, stages, train_in_one_cycle, train_stage
from edge.train import WEIGHT_DECAY, Schedule, logits, train
from export.atomic import write_file

#: Training images and epochs of a short and of a full trial, and images that judge.
SHORT, FULL, JUDGES = (15_000, 8), (50_000, 12), 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """Plain sign with straight-through."""

    rate: float
    seed: int = 0
    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OneCycle:
    """BiPer, `first` epochs with sines and the others with signs under one cycle of the rate."""

    omega: float
    rate: float
    first: int
    decay: float = WEIGHT_DECAY
    seed: int = 0
    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoCycles:
    """BiPer as published: each stage, half of the epochs, has a cycle and a peak rate."""

    omega: float
    rates: tuple[float, float]
    tau: float = 0.0
    seed: int = 0
    full: bool = False


Trial = Sign | OneCycle | TwoCycles

TRIALS: tuple[Trial, ...] = (
    Sign(rate=0.4),
    Sign(rate=0.8),
    Sign(rate=1.6),
    TwoCycles(omega=20.0, rates=(0.2, 0.3)),
    TwoCycles(omega=10.0, rates=(0.4, 0.6)),
    TwoCycles(omega=10.0, rates=(0.8, 0.8)),
    TwoCycles(omega=10.0, rates=(0.4, 0.6), tau=-0.1),
    TwoCycles(omega=5.0, rates=(0.8, 0.8)),
    OneCycle(omega=20.0, rate=0.2, first=0),
    OneCycle(omega=10.0, rate=0.3, first=2),
    OneCycle(omega=10.0, rate=0.6, first=2),
    OneCycle(omega=10.0, rate=1.2, first=2),
    OneCycle(omega=10.0, rate=0.6, first=0),
    OneCycle(omega=10.0, rate=0.6, first=4),
    OneCycle(omega=10.0, rate=0.6, first=2, decay=0.0),
    # the best of each method again from other weights
    Sign(rate=0.8, seed=1),
    OneCycle(omega=10.0, rate=0.6, first=2, seed=1),
    OneCycle(omega=10.0, rate=0.6, first=0, seed=1),
    # as long as it counts
    Sign(rate=0.8, full=True),
    OneCycle(omega=10.0, rate=0.6, first=3, full=True),
    OneCycle(omega=10.0, rate=0.6, first=3, decay=0.0, full=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/biper-rates"))
    folder = parser.parse_args().work
    folder.mkdir(parents=True, exist_ok=True)
    dataset, rows = load("fashion-mnist"), []
    for trial in TRIALS:
        rows.append(_kept(folder, trial, _held_out(dataset, _size(trial)[0])))
        print(rows[-1], flush=True)
    write_results("biper_rates", {"environment": environment(), "results": rows}, _table(rows))


def _size(trial: Trial) -> tuple[int, int]:
    """Return the number of training images and of epochs."""
    return FULL if trial.full else SHORT


def _held_out(dataset: Dataset, images: int) -> Dataset:
    """Return training images only, the last of them as the ones that judge."""
    kept = np.random.default_rng(99).permutation(len(dataset.x_train) - JUDGES)[:images]
    return replace(
        dataset,
        x_train=dataset.x_train[kept],
        y_train=dataset.y_train[kept],
        x_test=dataset.x_train[-JUDGES:],
        y_test=dataset.y_train[-JUDGES:],
    )


def _kept(folder: Path, trial: Trial, dataset: Dataset) -> dict[str, Any]:
    """Return the row of a trial from the folder, or try and keep it."""
    shown = {"method": type(trial).__name__, **asdict(trial)}
    path = folder / ("-".join(str(value) for value in shown.values()).replace(" ", "") + ".json")
    if path.exists():
        return dict(json.loads(path.read_text()))
    row = shown | _tried(trial, dataset)
    write_file(path, json.dumps(row, indent=1).encode())
    return row


def _tried(trial: Trial, dataset: Dataset) -> dict[str, Any]:
    module = new_module(dataset, trial.seed, 20.0 if isinstance(trial, Sign) else trial.omega)
    try:
        if isinstance(trial, Sign):
            errors = _plain(trial, module, dataset)
        elif isinstance(trial, OneCycle):
            errors = _one_cycle(trial, module, dataset)
        else:
            errors = _two_cycles(trial, module, dataset)
    except EdgeError as error:  # the rate is too high
        return {"failed": str(error)}
    return {"errors": [round(value, 3) for value in errors], **_judged(module, dataset)}


def _schedule(trial: Trial, rate: float, parts: int = 1) -> Schedule:
    return Schedule(epochs=_size(trial)[1] // parts, batch=BATCH, rate=rate, seed=trial.seed)


def _plain(trial: Sign, module: Any, dataset: Dataset) -> tuple[float, ...]:
    set_rule(module, SIGN)
    train(module, dataset, cross_entropy.RECIPE, _schedule(trial, trial.rate), show=False)
    return ()


def _one_cycle(trial: OneCycle, module: Any, dataset: Dataset) -> tuple[float, ...]:
    """Train; return the quantisation errors at the start, after stage 1 and at the end."""
    schedule = _schedule(trial, trial.rate)
    _, errors = train_in_one_cycle(
        module, dataset, schedule, first_epochs=trial.first, tau=0.0, decay=trial.decay, show=False
    )
    return errors[0], errors[trial.first], errors[-1]


def _two_cycles(trial: TwoCycles, module: Any, dataset: Dataset) -> tuple[float, ...]:
    first = _schedule(trial, trial.rates[0], parts=2)
    one, two = stages(first, second_epochs=first.epochs, second_rate=trial.rates[1], tau=(trial.tau, trial.tau))
    _, before = train_stage(module, dataset, one, show=False)
    _, after = train_stage(module, dataset, two, show=False)
    return before[0], before[-1], after[-1]


def _judged(module: Any, dataset: Dataset) -> dict[str, float]:
    """Return accuracy and mean cross-entropy on the images that judge; the latter is the less noisy one."""
    guesses = torch.from_numpy(logits(module, dataset, dataset.x_test))
    labels = torch.from_numpy(dataset.y_test)
    right = int((guesses.argmax(1) == labels).sum())
    return {
        "accuracy": right / len(labels),
        "loss": round(float(torch.nn.functional.cross_entropy(guesses, labels)), 4),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Settings for the binary networks",
        "",
        f"Fashion-MNIST, training images only: some of the first {FULL[0]:,} train, the last {JUDGES:,} judge by",
        "accuracy (standard error about 0.3 points) and mean cross-entropy. Quantisation error: |sin - sign(sin)| at",
        "the start, after stage 1 and after stage 2, on average.",
        "",
        "| images, epochs | method | setting | seed | accuracy | cross-entropy | quantisation error |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        images, epochs = FULL if row["full"] else SHORT
        method = "sign" if row["method"] == "Sign" else "BiPer"
        got = f"{row['accuracy']:.2%} | {row['loss']:.4f}" if "accuracy" in row else "the loss overflows |"
        errors = ", ".join(str(error) for error in row.get("errors", ()))
        lines.append(f"| {images:,}, {epochs} | {method} | {_setting(row)} | {row['seed']} | {got} | {errors} |")
    return "\n".join([*lines, ""])


def _setting(row: dict[str, Any]) -> str:
    if row["method"] == "Sign":
        return f"rate {row['rate']}"
    if row["method"] == "OneCycle":
        decay = "" if row["decay"] == WEIGHT_DECAY else f", weight decay {row['decay']:g} of the binary weights"
        return f"omega {row['omega']:g}, one cycle, rate {row['rate']}, {row['first']} epochs with sines{decay}"
    tau = f", tau {row['tau']}" if row["tau"] else ""
    return f"omega {row['omega']:g}, two cycles, rates {row['rates'][0]} and {row['rates'][1]}{tau}"


if __name__ == "__main__":
    main()
