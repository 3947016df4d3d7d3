"""A memory of past inputs in front of a cascade, on Fashion-MNIST's test images, each of them twice, in any order.

python -m benchmarks.memory [--work FOLDER] [--seeds 0 1 2]

Needs the bundles that `benchmarks.cascade` leaves in FOLDER. The networks are the C of the cascade and of a ResNet-8,
compiled for this machine and called from Python, one image at a time from raw bytes to a label: what a program on
embedded Linux does. The memory is edgemill's, in Python, and its hash is part of the time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kept import kept_row
from benchmarks.memory_nets import RESNET, opened, resnet8
from benchmarks.memory_table import PLAIN, table
from benchmarks.results import environment, write_results
from edge.data import load
from edge.dataset import Dataset
from edge.evaluate import bundle_labels
from edge.gates.memory import DIGITS, HASHES, Memory, exact, replay
from export.bundle_read import Bundle, read_bundle
from quant.formats import Array

#: Test images that are timed per network, each twice; all of them are replayed for the rates.
TIMED = {"cascade": 2000, "resnet8": 500}
LIMIT = 10_000
#: Bounds that are tried with the exact hash, to see what a smaller memory loses.
LIMITS = (1000, 2500, 5000, 10_000)
WARM_UP = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/cascade"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    full = load("fashion-mnist")
    settings = {"timed": TIMED, "limit": LIMIT, "limits": list(LIMITS), "resnet8": RESNET, "digits": DIGITS}
    large = resnet8(options.work, full)
    rows = []
    for seed in options.seeds:
        bundle = read_bundle(options.work / f"bundle-{seed}")
        wanted = {**settings, "bundle": bundle.digest, "large": large.digest}
        place = options.work / f"memory-{seed}.json"
        rows.append(kept_row(place, wanted, partial(run_seed, (bundle, large), full, seed)))
    write_results(
        "memory", {"environment": environment(), "settings": settings, "results": rows}, table(rows, settings)
    )


def run_seed(bundles: tuple[Bundle, Bundle], full: Dataset, seed: int) -> dict[str, Any]:
    """Return everything about one seed; rates are those of the first bundle's answers."""
    counts = (len(full.x_test), TIMED["resnet8"])
    images = [full.preprocess.apply(full.x_test[:count]) for count in counts]
    labels = [bundle_labels(bundle, None, x) for bundle, x in zip(bundles, images, strict=True)]
    order = stream(len(full.x_test), seed)
    times = {}
    for name, bundle, answers in zip(TIMED, bundles, labels, strict=True):
        with tempfile.TemporaryDirectory() as home:
            times[name] = timed(opened(bundle, Path(home)), full, stream(TIMED[name], seed), answers)
    return {
        "seed": seed,
        "accuracy_without": float((labels[0] == full.y_test).mean()),
        "rates": {name: _rates(Memory(found, LIMIT), full, order, labels[0]) for name, found in HASHES},
        "bounds": {str(limit): _rates(Memory(exact, limit), full, order, labels[0])["hit_rate"] for limit in LIMITS},
        "hash_s": {name: _hash_s(found, full) for name, found in HASHES},
        "macs": {name: _macs(bundle) for name, bundle in zip(TIMED, bundles, strict=True)},
        "times": times,
    }


def _macs(bundle: Bundle) -> list[int]:
    return [part.record.macs for part in bundle.parts]


def stream(count: int, seed: int) -> Array:
    """Return every index twice, shuffled."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(count), 2))


def _rates(memory: Memory, full: Dataset, order: Array, labels: Array) -> dict[str, float]:
    images = [full.x_test[i] for i in order]
    found, answers = replay(memory, images, lambda at: int(labels[order[at]]))
    accuracy = float((np.array(answers) == full.y_test[order]).mean())
    return {**asdict(found), "accuracy": accuracy, "other_label": float((np.array(answers) != labels[order]).mean())}


def timed(network: Callable[[Array], int], full: Dataset, order: Array, labels: Array) -> dict[str, Any]:
    """Run a stream without and with each memory, every input through all of them before the next, in turns."""
    ways: list[tuple[str, Callable[[Array], int]]] = [(PLAIN, network)]
    ways += [(name, partial(_asked, Memory(found, LIMIT), network)) for name, found in HASHES]
    for index in order[:WARM_UP]:
        network(full.x_test[index])
    wall, cpu, wrong = dict.fromkeys(dict(ways), 0.0), dict.fromkeys(dict(ways), 0.0), 0
    for at, index in enumerate(order):
        image = full.x_test[index]
        for turn in range(len(ways)):
            name, way = ways[(at + turn) % len(ways)]
            begin, begin_cpu = time.perf_counter(), time.thread_time()
            label = way(image)
            cpu[name] += time.thread_time() - begin_cpu
            wall[name] += time.perf_counter() - begin
            wrong += name == PLAIN and label != labels[index]
    return {"inputs": len(order), "wall_s": wall, "cpu_s": cpu, "c_answers_that_differ": int(wrong)}


def _asked(memory: Memory, network: Callable[[Array], int], image: Array) -> int:
    return memory.ask(image, network)


def _hash_s(hashed: Callable[[Array], object], full: Dataset) -> float:
    begin = time.thread_time()
    for image in full.x_test[:500]:
        hashed(image)
    return (time.thread_time() - begin) / 500


if __name__ == "__main__":
    main()
