"""Train the network with exits on Fashion-MNIST; finished trainings are kept and not repeated.

    python -m benchmarks.exits_train [--work FOLDER] [--seeds 0 1 2] [--epochs 8]

The last 5,000 training images train nothing: settings, temperatures and thresholds are chosen on them.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.kept import kept
from edge.data import load
from edge.dataset import Dataset, with_held_out
from edge.models import exit_net
from edge.recipes.exits import ExitLoss, train_exits
from edge.train import Schedule

WIDTH, BATCH, RATE, EPOCHS, VALIDATION = 16, 128, 0.2, 8, 5000
SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/exits"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    dataset = load("fashion-mnist")
    for seed in options.seeds:
        _, record = trained(options.work, dataset, seed, options.epochs)
        print(record, flush=True)


def new_module(seed: int) -> Any:
    """Build the untrained network; its weights depend on the seed alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = exit_net.build((1, 28, 28), 10, WIDTH)
    return module.to(memory_format=torch.channels_last)


def trained(work: Path, dataset: Dataset, seed: int, epochs: int) -> tuple[Any, dict[str, Any]]:
    """Train on all but the last training images, or load what an earlier call trained; no test image is looked at."""
    module, schedule = new_module(seed), Schedule(epochs=epochs, batch=BATCH, rate=RATE, seed=seed)
    settings = asdict(schedule) | asdict(ExitLoss()) | {"width": WIDTH, "validation": VALIDATION}

    def learn() -> dict[str, Any]:
        held = with_held_out(dataset, VALIDATION)[1]
        return {"validation_accuracy": train_exits(module, held, schedule, show=False)}

    return module, kept(work / f"exits-{seed}.npz", module, settings, learn)


if __name__ == "__main__":
    main()
