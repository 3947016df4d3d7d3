"""Train Dynamic Perceiver's attention branch (float, one seed) on the images that the network with exits trains on.

    python -m benchmarks.exits_attention_train [--work FOLDER] [--epochs 8]

The same features, loss, batches and epochs; AdamW as in the paper, since attention does not train well with SGD.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exits_attention import AttentionNet, exit_macs
from benchmarks.exits_train import BATCH, EPOCHS, VALIDATION, WIDTH
from edge.data import load
from edge.dataset import Dataset, with_held_out
from edge.recipes.exits import ExitLoss, exit_loss
from edge.train import Schedule, batches, repeatable
from export.atomic import write_file
from quant.formats import Array

SEED, RATE, DECAY = 0, 2e-3, 0.05
RESULT = "attention.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/exits"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    row = _trained(load("fashion-mnist"), options.epochs)
    write_file(options.work / RESULT, json.dumps(row, indent=1).encode())
    print(row)


def attention_row(work: Path) -> dict[str, Any] | None:
    """Return what a training found, None where there was none."""
    path = work / RESULT
    return dict(json.loads(path.read_text())) if path.exists() else None


def _trained(dataset: Dataset, epochs: int) -> dict[str, Any]:
    import torch

    training, held = with_held_out(dataset, VALIDATION)
    x, y = held.x_test, held.y_test
    schedule = Schedule(epochs=epochs, batch=BATCH, rate=RATE, seed=SEED)
    steps, start = len(training.x_train) // BATCH * epochs, time.process_time()
    with repeatable(schedule):
        net = AttentionNet(len(dataset.labels), WIDTH)
        optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        for epoch in range(epochs):
            for images, labels in batches(training, schedule, epoch):
                loss = exit_loss(net.logits(images), labels, ExitLoss())
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                cycle.step()
            print(f"epoch {epoch + 1}: {_accuracies(net, training, x, y)}", flush=True)
    return {
        "settings": asdict(schedule) | {"decay": DECAY},
        "train_cpu_s": time.process_time() - start,
        "macs": list(exit_macs(net)),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "validation": _accuracies(net, dataset, x, y),
        "test": _accuracies(net, dataset, dataset.x_test, dataset.y_test),
    }


def _accuracies(net: AttentionNet, dataset: Dataset, images: Array, labels: Array) -> list[float]:
    """Return the accuracy of every exit."""
    import torch

    net.eval()
    right = []
    with torch.inference_mode():
        for start in range(0, len(images), 500):
            x = torch.from_numpy(dataset.preprocess.apply(images[start : start + 500]))
            truth = labels[start : start + 500]
            right.append([(one.numpy().argmax(axis=1) == truth).mean() for one in net.logits(x)])
    net.train()
    return [float(value) for value in np.mean(right, axis=0)]


if __name__ == "__main__":
    main()
