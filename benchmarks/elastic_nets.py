"""The networks of the elastic benchmark, trained once and kept in a work folder: float, supernet, and one per width.

python -m benchmarks.elastic_nets --work FOLDER

Each is written when it is done, and checkpointed after every epoch: stop it whenever you like and start it again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from edge.data import load
from edge.dataset import Dataset
from edge.recipes.elastic_net import ElasticNet
from edge.recipes.elastic_train import Step, elastic_step, plain_step, train_elastic
from edge.recipes.recipes import find_recipe
from edge.train import Schedule, train
from edge.weights import load_weights, save_weights
from quant.subnet import uniform

#: Training images kept out of every training: they score subnets for the predictor and the search.
HELD_OUT = 5000
FLOAT = Schedule(epochs=8, batch=256, rate=0.1)
QUANTISED = Schedule(epochs=8, batch=256, rate=1e-3)
#: Widths that are also trained on their own.
ALONE = (8, 4, 3)
CALIBRATION = 2560


def data() -> tuple[Dataset, Dataset]:
    """Return Fashion-MNIST without the held-out images, and with them in place of the test images."""
    full = load("fashion-mnist")
    kept = replace(full, x_train=full.x_train[:-HELD_OUT], y_train=full.y_train[:-HELD_OUT])
    return kept, replace(kept, x_test=full.x_train[-HELD_OUT:], y_test=full.y_train[-HELD_OUT:])


def fresh() -> ElasticNet:
    """Return the untrained network, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ElasticNet((1, 28, 28), 10)


def float_net(work: Path, dataset: Dataset) -> ElasticNet:
    """Return the float network all others start from, with first scales."""
    net, path = fresh(), work / "float.npz"
    if not path.exists():
        train(net, dataset, find_recipe("cross-entropy"), FLOAT, show=False)
        net.initialise(torch.from_numpy(dataset.preprocess.apply(dataset.x_train[:512])))
        save_weights(net, path)
    load_weights(net, path)
    return net.eval()


def quantised_net(work: Path, dataset: Dataset, name: str) -> ElasticNet:
    """Return `supernet`, or the network trained alone at one width (`qat4`)."""
    net, path = float_net(work, dataset), work / f"{name}.npz"
    if not path.exists():
        step: Step = elastic_step if name == "supernet" else plain_step(uniform(net.layers, int(name[3:])))
        train_elastic(net, dataset, QUANTISED, step, checkpoint=work / f"{name}.checkpoint.npz", show=False)
        save_weights(net, path)
    load_weights(net, path)
    return net.eval()


def names() -> tuple[str, ...]:
    """Return every quantised network of the benchmark."""
    return ("supernet", *(f"qat{bits}" for bits in ALONE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", choices=names())
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    dataset, _ = data()
    for name in (arguments.only,) if arguments.only else names():
        quantised_net(arguments.work, dataset, name)
        print(name, "trained", flush=True)


if __name__ == "__main__":
    main()
