"""A network with two early exits, from training to C: half of the digits leave at the first, a third at the second.

    python examples/digits_exits.py FOLDER

trains on scikit-learn's digits, quantises to 8 bits, chooses thresholds on images that trained nothing, and writes
FOLDER/bundle: C99 whose `exits_invoke` says which exit answered. It takes about ten seconds on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from edge.data import load
from edge.dataset import with_held_out
from edge.exits_bundle import ExitJob, Wish, write_exits
from edge.models import exit_net
from edge.onnx_file import to_onnx
from edge.quantizing import How
from edge.recipes.exits import train_exits
from edge.train import Schedule
from export.targets import find_target
from quant.onnx_import import load_onnx
from quant.scheme import parse_scheme

SHARES = (0.5, 0.3, 0.2)
#: Training images that only choose thresholds.
VALIDATION = 300


def main(folder: Path, epochs: int = 10) -> None:
    """Train, quantise and write the bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    data = load("digits")
    torch.manual_seed(0)
    net = exit_net.build(data.preprocess.shape, len(data.labels), 8)
    training, _ = with_held_out(data, VALIDATION)
    accuracy = train_exits(net, training, Schedule(epochs=epochs, batch=32, rate=0.1), show=False)
    print(f"last exit, float: {accuracy:.2%} of the test images right")

    to_onnx(exit_net.Joined(net), data.preprocess.shape, folder / "exits.onnx")
    how = How(parse_scheme("w8a8"), preset="default", count=256)
    job = ExitJob(how=how, wish=Wish(shares=SHARES), score="max_probability", validation=VALIDATION, name="exits")
    made = write_exits(
        folder / "bundle", load_onnx(folder / "exits.onnx"), data, job, find_target("arm-m"), overwrite=True
    )
    shares = ", ".join(f"{share:.1%}" for share in made.validation.shares)
    print(f"{folder / 'bundle'}: on validation images {shares} leave, {made.validation.accuracy:.2%} right")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "exits"))
