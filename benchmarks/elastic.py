"""One elastic network on Fashion-MNIST beside networks trained alone at 8, 4 and 3 bits, its predictor and its search.

python -m benchmarks.elastic --work FOLDER

Trains first (`benchmarks.elastic_nets`, an hour or two); stop and start it again whenever you like. Subnets are scored
for the predictor and the search on training images that no training has seen; the test images choose nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.elastic_nets import (
    ALONE,
    CALIBRATION,
    FLOAT,
    HELD_OUT,
    QUANTISED,
    data,
    float_net,
    names,
    quantised_net,
)
from benchmarks.elastic_table import markdown
from benchmarks.results import environment, write_results
from edge.dataset import Dataset
from edge.evaluate import quantised_labels
from edge.recipes.elastic_export import to_network
from edge.recipes.elastic_net import ElasticNet
from edge.recipes.elastic_train import mean_kurtosis, recalibrate, score
from export.atomic import write_text
from quant import elastic_file, graph_file
from quant.elastic import at
from quant.predictor import Predictor, fit, kendall_tau, one_hot
from quant.search import Genome, evolve
from quant.subnet import WIDTHS, Subnet, uniform

SAMPLES, SAMPLES_HELD_OUT = 400, 100
BUDGET_BITS = 4.0
SEARCHES = range(5)
POPULATION, GENERATIONS = 100, 100
#: Test images that the integer reference runs too.
REFERENCE_IMAGES = 1000
Scores = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    dataset, held_out = data()
    net = quantised_net(work, dataset, "supernet")
    scores = sampled_scores(work / "scores.json", net, held_out)
    predictor, tau = ranked(net, scores)
    found = searched(net, held_out, predictor)
    record = {
        "environment": environment(),
        "epochs": {"float": FLOAT.epochs, "quantised": QUANTISED.epochs},
        "images": {"train": len(dataset.x_train), "held_out": HELD_OUT, "test": len(dataset.x_test)},
        "widths": widths(work, dataset, net, held_out),
        "predictor": {"trained_on": SAMPLES - SAMPLES_HELD_OUT, "held_out": SAMPLES_HELD_OUT, "kendall_tau": tau},
        "search": mixed(net, dataset, found),
        "file": files(net, dataset, found["subnet"]),
    }
    write_results("elastic", record, markdown(record))


def accuracy(net: ElasticNet, dataset: Dataset, subnet: Subnet | None) -> float:
    """Measure a subnet on all images of the test part, with its own batch norm statistics."""
    if subnet is not None:
        recalibrate(net, dataset, subnet, dataset.x_train[:CALIBRATION])
    return score(net, dataset, subnet, dataset.x_test, dataset.y_test)


def widths(work: Path, dataset: Dataset, net: ElasticNet, held_out: Dataset) -> dict[str, object]:
    """Measure the elastic network at every width, the networks trained alone, and kurtosis."""
    plain = float_net(work, dataset)
    alone = {name: quantised_net(work, dataset, name) for name in names()[1:]}

    def measured(images: Dataset, chosen: tuple[int, ...]) -> dict[str, object]:
        return {
            "float": accuracy(plain, images, None),
            "elastic": {str(bits): accuracy(net, images, uniform(net.layers, bits)) for bits in chosen},
            "alone": {str(bits): accuracy(alone[f"qat{bits}"], images, uniform(net.layers, bits)) for bits in ALONE},
        }

    kurtosis = {name: mean_kurtosis(n) for name, n in (("float", plain), ("supernet", net), *alone.items())}
    return {**measured(dataset, WIDTHS), "held_out": measured(held_out, ALONE), "kurtosis": kurtosis}


def sampled(layers: int) -> list[Subnet]:
    """Draw subnets whose mean width is anything between 2 and 8 bits, each layer near it, with any symmetry."""
    rng, drawn = np.random.default_rng(7), []
    for _ in range(SAMPLES):
        bits = np.clip(np.rint(rng.normal(rng.uniform(2, 8), 1.5, 2 * layers)), WIDTHS[0], WIDTHS[-1])
        genes = tuple(int(b) for b in bits)
        drawn.append(Subnet(genes[:layers], genes[layers:], *(bool(flag) for flag in rng.integers(0, 2, 3))))
    return drawn


def sampled_scores(path: Path, net: ElasticNet, held_out: Dataset) -> Scores:
    """Measure the sampled subnets on held-out training images; goes on where it stopped."""
    known: Scores = json.loads(path.read_text()) if path.exists() else {}
    for index, subnet in enumerate(sampled(net.layers)):
        if str(subnet) not in known:
            known[str(subnet)] = accuracy(net, held_out, subnet)
            if index % 20 == 19 or index == SAMPLES - 1:
                write_text(path, json.dumps(known))
                print(index + 1, "subnets measured", flush=True)
    return known


def ranked(net: ElasticNet, scores: Scores) -> tuple[Predictor, float]:
    """Train the predictor on the first subnets; Kendall's tau on the others."""
    drawn = sampled(net.layers)
    features = np.stack([features_of(subnet) for subnet in drawn])
    measured = np.array([scores[str(subnet)] for subnet in drawn])
    kept = SAMPLES - SAMPLES_HELD_OUT
    predictor = fit(features[:kept], measured[:kept])
    return predictor, kendall_tau(predictor(features[kept:]), measured[kept:])


def features_of(subnet: Subnet) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the one-hot features of a subnet, float32 [F]."""
    bits = (*subnet.weight_bits, *subnet.activation_bits)
    flags = (int(subnet.per_channel), int(subnet.symmetric_weights), int(subnet.symmetric_activations))
    return one_hot([(*bits, *flags)], (WIDTHS,) * len(bits) + ((0, 1),) * 3)[0]


def mean_bits(net: ElasticNet, genome: Genome) -> tuple[float, float]:
    """Return the mean bits of weights and of activations, weighted by size, over the elastic layers."""
    weights = np.array([conv.conv.weight.numel() for conv in net.convs[1:]])
    sides, side = [], net.shape[1]
    for unit in net.units[:-1]:
        side = -(-side // unit.stride)
        sides.append(unit.channels * side * side)
    activations = np.array(sides)
    first, last = np.array(genome[: net.layers]), np.array(genome[net.layers :])
    return float((weights * first).sum() / weights.sum()), float((activations * last).sum() / activations.sum())


def searched(net: ElasticNet, held_out: Dataset, predictor: Predictor) -> dict[str, Subnet]:
    """Evolve mixed widths under the budget for weights and for activations; held-out images choose among the seeds."""
    space = (WIDTHS,) * (2 * net.layers)

    def score_of(genome: Genome) -> float:
        return float(predictor(features_of(subnet_of(net, genome))[None])[0])

    found = [
        evolve(
            space,
            score_of,
            lambda genome: max(mean_bits(net, genome)),
            BUDGET_BITS,
            population=POPULATION,
            generations=GENERATIONS,
            seed=seed,
            first=((int(BUDGET_BITS),) * (2 * net.layers),),
        ).genome
        for seed in SEARCHES
    ]
    best = max(dict.fromkeys(found), key=lambda genome: accuracy(net, held_out, subnet_of(net, genome)))
    return {"subnet": subnet_of(net, best)}


def subnet_of(net: ElasticNet, genome: Genome) -> Subnet:
    """Return the symmetric, per-channel subnet of a genome: widths of weights, then of activations."""
    return Subnet(tuple(genome[: net.layers]), tuple(genome[net.layers :]))


def mixed(net: ElasticNet, dataset: Dataset, found: dict[str, Subnet]) -> dict[str, object]:
    """Measure the mixed network and the uniform one on the test images."""
    subnet = found["subnet"]
    bits = mean_bits(net, (*subnet.weight_bits, *subnet.activation_bits))
    return {
        "subnet": str(subnet),
        "mean_weight_bits": bits[0],
        "mean_activation_bits": bits[1],
        "accuracy": accuracy(net, dataset, subnet),
        "uniform_accuracy": accuracy(net, dataset, uniform(net.layers, int(BUDGET_BITS))),
    }


def files(net: ElasticNet, dataset: Dataset, chosen: Subnet) -> dict[str, object]:
    """Compare one elastic file with a graph file for each of its subnets, and torch with the integer reference."""
    subnets = [*(uniform(net.layers, bits) for bits in WIDTHS), chosen]
    network = to_network(net, dataset, subnets, dataset.x_train[:CALIBRATION])
    images = dataset.x_test[:REFERENCE_IMAGES]
    x, y = dataset.preprocess.apply(images), dataset.y_test[:REFERENCE_IMAGES]
    rows = {}
    for subnet in subnets:
        recalibrate(net, dataset, subnet, dataset.x_train[:CALIBRATION])
        reference = float((quantised_labels(at(network, subnet), x) == y).mean())
        rows[str(subnet)] = {"reference": reference, "torch": score(net, dataset, subnet, images, y)}
    return {
        "subnets": len(subnets),
        "elastic_bytes": len(elastic_file.to_bytes(network)),
        "graphs_bytes": sum(len(graph_file.to_bytes(at(network, subnet))) for subnet in subnets),
        "reference_images": REFERENCE_IMAGES,
        "accuracy": rows,
    }


if __name__ == "__main__":
    main()
