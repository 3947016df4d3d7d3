"""Train the pools of small networks on Fashion-MNIST, and single networks of a wanted cost; each is kept as a file.

python -m benchmarks.cascade_train [--work FOLDER] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.cascade_nets import EQUALS, POOL, Net, built
from benchmarks.kept import kept
from edge.data import load
from edge.dataset import Dataset, with_held_out
from edge.train import Schedule, train

#: Training images that no network is trained on: pairs, temperatures and thresholds are chosen on them.
HELD_OUT = 5000
#: The peak rate is the better of 0.1 and 0.3 after 2 epochs on 10,000 training images, judged on the held-out ones.
EPOCHS, BATCH, RATE = 6, 128, 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/cascade"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    validation = with_held_out(load("fashion-mnist"), HELD_OUT)[1]
    for seed in options.seeds:
        for net in (*POOL, *EQUALS):
            trained(options.work, net, validation, seed)


def trained(work: Path, net: Net, validation: Dataset, seed: int, width: int | None = None) -> Any:
    """Return a trained network; the kept figure is its accuracy on the held-out images."""
    width = net.width if width is None else width
    module, schedule = built(net, seed, width), Schedule(epochs=EPOCHS, batch=BATCH, rate=RATE, seed=seed)
    settings = {**asdict(schedule), "width": width, "recipe": net.recipe.name, "held_out": len(validation.x_test)}
    path = work / f"{net.name}-{width}-{seed}.npz"
    kept(path, module, settings, lambda: {"held_out_accuracy": train(module, validation, net.recipe, schedule, False)})
    return module


if __name__ == "__main__":
    main()
