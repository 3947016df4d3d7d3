"""A cascade of two complementary small networks against each of them and against one network of the same average cost.

python -m benchmarks.cascade [--work FOLDER] [--seeds 0 1 2]

All of Fashion-MNIST's test images. Pairs, order, temperatures and thresholds are chosen on 5,000 held-out training
images after quantisation. Each finished training is kept in FOLDER, so a second call goes on behind it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.cascade_nets import EQUALS, POOL, Net
from benchmarks.cascade_pair import (
    CALIBRATION,
    MOST_SHARE,
    PRESET,
    SCHEME,
    SCORE,
    Pool,
    calibration,
    complements,
    measured,
    most_accurate_pair,
    ordered,
    pairs,
    pool,
    single,
)
from benchmarks.cascade_table import table
from benchmarks.cascade_train import BATCH, EPOCHS, HELD_OUT, RATE
from benchmarks.kept import kept_row
from benchmarks.results import environment, write_results
from edge.data import load
from edge.dataset import Dataset, with_held_out
from edge.gates.cascade_bundle import Wish, cascade_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/cascade"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    full = load("fashion-mnist")
    validation = with_held_out(full, HELD_OUT)[1]
    settings: dict[str, Any] = {
        "networks": {"epochs": EPOCHS, "batch": BATCH, "rate": RATE, "held_out": HELD_OUT},
        "quantisation": {"scheme": SCHEME, "preset": PRESET, "calibration": CALIBRATION},
        "cascade": {"score": SCORE, "most_share": MOST_SHARE},
        "pool": {net.name: net.summary for net in POOL},
    }
    kinds = (("row", run_seed), ("accurate", run_accurate), ("share", partial(run_accurate, by_share=True)))
    rows, accurate, shared = (
        [
            kept_row(options.work / f"{name}-{seed}.json", settings, partial(run, options.work, validation, full, seed))
            for seed in options.seeds
        ]
        for name, run in kinds
    )
    alike = {**settings, "pool": {net.name: net.summary for net in EQUALS}}
    equals = [
        kept_row(options.work / f"equals-{seed}.json", alike, partial(run_equals, options.work, validation, full, seed))
        for seed in options.seeds
    ]
    record = {"environment": environment(), "settings": settings, "results": rows, "accurate_pairs": accurate}
    results = {**record, "by_share": shared, "equals": equals, "equals_pool": alike["pool"]}
    write_results("cascade", results, table(rows, accurate, shared, equals))


def run_equals(work: Path, validation: Dataset, full: Dataset, seed: int) -> dict[str, Any]:
    """Return the figures of one seed for the pool of equally good networks."""
    return run_seed(work, validation, full, seed, EQUALS, "equals-")


def run_seed(
    work: Path, validation: Dataset, full: Dataset, seed: int, nets: Sequence[Net] = POOL, mark: str = ""
) -> dict[str, Any]:
    """Return everything about one seed; `mark` goes into the names of its bundles."""
    found = pool(work, validation, full, seed, nets)
    chosen = pairs(found)
    record = {"seed": seed, "pool": _singles(found, validation), "complementarity": complements(found)}
    pair = chosen["paper"]
    first, second, cascade = ordered(found, pair, validation, post_check=True)
    checked = measured(cascade, full, work / f"bundle-{mark}{seed}")
    plain_first, plain_second, plain = ordered(found, pair, validation, post_check=False)
    better = max(pair, key=lambda name: found.held_out[name].member.right.mean())
    net = next(net for net in nets if net.name == better)
    return record | {
        "pair": [first, second],
        "pair_by_code": list(chosen["code"]),
        "post_check": checked,
        "without_post_check": {
            "pair": [plain_first, plain_second],
            **measured(plain, full, work / f"bundle-plain-{mark}{seed}"),
        },
        "best_single": max(float(found.test[name].member.right.mean()) for name in pair),
        "equal_macs": single(work, net, checked["macs"], validation, full, seed),
    }


def run_accurate(work: Path, validation: Dataset, full: Dataset, seed: int, by_share: bool = False) -> dict[str, Any]:
    """Return the figures of the pair whose cascade is the most accurate on the held-out images.

    With `by_share` thresholds ask the second network for MOST_SHARE of the held-out images.
    """
    found = pool(work, validation, full, seed, POOL)
    wish = Wish(score=SCORE, most_share=MOST_SHARE, by_share=by_share)
    first, second = most_accurate_pair(found, wish)
    cascade = cascade_spec(found.graphs[first], found.graphs[second], validation, wish)
    checked = measured(cascade, full, work / f"bundle-{'share' if by_share else 'accurate'}-{seed}")
    net = max((first, second), key=lambda name: found.held_out[name].member.right.mean())
    return {
        "seed": seed,
        "pair": [first, second],
        "post_check": checked,
        "best_single": max(float(found.test[name].member.right.mean()) for name in (first, second)),
        "held_out_single": max(float(found.held_out[name].member.right.mean()) for name in (first, second)),
        "equal_macs": single(
            work, next(one for one in POOL if one.name == net), checked["macs"], validation, full, seed
        ),
    }


def _singles(found: Pool, validation: Dataset) -> dict[str, Any]:
    return {
        name: {
            "macs": found.test[name].member.macs,
            "float_accuracy": found.float_accuracy[name],
            "accuracy": float(found.test[name].member.right.mean()),
            "held_out_accuracy": float(found.held_out[name].member.right.mean()),
            **calibration(graph, found.held_out[name], validation.y_test),
        }
        for name, graph in found.graphs.items()
    }


if __name__ == "__main__":
    main()
