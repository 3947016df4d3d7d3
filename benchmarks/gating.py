"""Channel gating on all of Fashion-MNIST: MACs promised and achieved, points lost, time saved.

python -m benchmarks.gating --work FOLDER

FOLDER holds the trainings of `benchmarks.gating_nets`; what is not there is left out and named. r is chosen on
held-out training images.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import gating_nets as nets
from benchmarks.gating_table import markdown
from benchmarks.gating_time import quantised, timed
from benchmarks.results import environment, write_results
from edge.dataset import Dataset
from edge.recipes import gating
from edge.recipes.gating_net import UNITS, GatedNet
from edge.recipes.gating_targets import achieved, estimated
from export.atomic import write_file

#: Share of the multiply-accumulates that must be saved, and points of accuracy that this may cost.
SAVING, POINTS = 0.25, 1.0
Row = dict[str, Any]
Make = Callable[[nets.Job, float], GatedNet]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    torch.set_num_threads(1)
    held, whole = nets.data()
    jobs = [nets.Job(work, held, seed) for seed in nets.SEEDS]
    record = {"environment": environment(), "settings": _settings(held), **_compared(jobs, whole)}
    net = nets.gated(jobs[0], record["chosen_r"])
    record |= {"time": timed(net, whole), "quantised": quantised(net, whole, work / "c")}
    write_results("gating", record, markdown(record))


def _settings(held: Dataset) -> Row:
    return {
        "units": [[unit.channels, unit.stride, unit.gated] for unit in UNITS],
        "dense_epochs": nets.DENSE.epochs,
        "rounds": len(nets.ROUNDS),
        "train": len(held.x_train),
        "held_out": nets.HELD_OUT,
        "middle": nets.MIDDLE,
        "goals": {"saving": SAVING, "points": POINTS},
    }


def _compared(jobs: Sequence[nets.Job], whole: Dataset) -> Row:
    """Return the rows of every network, and the r that is chosen."""
    found = {share: _rows(jobs, whole, "gated", share, nets.gated) for share in nets.SHARES}
    found = {share: rows for share, rows in found.items() if len(rows) == len(jobs)}
    chosen = _chosen(found)
    return {
        "plain": [_plain(job, whole) for job in jobs],
        "gated": {str(share): rows for share, rows in found.items()},
        "untrained": [share for share in nets.SHARES if share not in found],
        "chosen_r": chosen,
        "at_zero": [_at_zero(job, whole, chosen) for job in jobs],
        "joint": _rows(jobs, whole, "joint", nets.MIDDLE, nets.joint),
        "constant": _rows(jobs, whole, "constant", nets.MIDDLE, nets.constant),
        "fitted": {str(share): _rows(jobs, whole, "fitted", share, nets.fitted) for share in nets.KNOB},
    }


def _plain(job: nets.Job, whole: Dataset) -> Row:
    """Return the accuracy of the dense network, before and after the fine-tunes that the gated ones had."""
    row: Row = {"seed": job.seed, "dense": _accuracy(nets.dense(job), whole)}
    if (job.folder / f"tuned-{job.seed}.json").exists():
        row["tuned"] = _accuracy(nets.tuned(job), whole)
    return row


def _accuracy(net: GatedNet, whole: Dataset) -> float:
    net.masked = False
    labels = gating.behaviour(net, whole, whole.x_test, 1.0).labels
    return float((labels == whole.y_test).mean())


def _rows(jobs: Sequence[nets.Job], whole: Dataset, name: str, share: float, make: Make) -> list[Row]:
    """Return the rows of the seeds for which this is trained; a row once measured is read from its file."""
    rows = []
    for job in jobs:
        weights = job.folder / f"{name}-{share}-{job.seed}.npz"
        if not weights.exists():
            continue
        digest, done = hashlib.sha256(weights.read_bytes()).hexdigest(), weights.with_suffix(".row.json")
        if not done.exists() or json.loads(done.read_text())["weights"] != digest:
            rates = nets.rates(job, nets.dense(job), share)
            row = {"weights": digest, **_measured(job, whole, share, make(job, share), rates)}
            write_file(done, json.dumps(row).encode())
        rows.append(json.loads(done.read_text()))
        print(name, share, job.seed, rows[-1]["accuracy"], flush=True)
    return rows


def _at_zero(job: nets.Job, whole: Dataset, share: float) -> Row:
    """Return the row of a gated network whose masks are logit > 0, as if the share kept had not been matched."""
    net, rates = nets.gated(job, share), nets.rates(job, nets.dense(job), share)
    for unit in net.gated():
        unit.offset.zero_()
    return _measured(job, whole, share, net, rates)


def _measured(job: nets.Job, whole: Dataset, share: float, net: GatedNet, rates: Sequence[Any]) -> Row:
    """Compare the promise of the dense network with what a gated one does on the test images."""
    promise, found = estimated(net, rates), gating.behaviour(net, whole, whole.x_test, share)
    spent = achieved(net, found.masks)
    held = gating.behaviour(net, job.dataset, job.dataset.x_test, share)
    often = [np.broadcast_to(rate > 0.5, mask.shape) for rate, mask in zip(rates, found.masks, strict=True)]
    same = sum(int((mask == target).sum()) for mask, target in zip(often, found.targets, strict=True))
    return {
        "seed": job.seed,
        "accuracy": float((found.labels == whole.y_test).mean()),
        "held_out_accuracy": float((held.labels == job.dataset.y_test).mean()),
        "held_out_saving": achieved(net, held.masks).saving,
        "dense_macs": promise.dense,
        "estimated_macs": promise.layers,
        "estimated_predictor_macs": promise.predictors,
        "achieved_macs": spent.layers,
        "achieved_predictor_macs": spent.predictors,
        "relative_error": promise.layers / spent.layers - 1,
        "saving": spent.saving,
        "saving_without_predictors": 1 - spent.layers / spent.dense,
        "mask_accuracy": found.mask_accuracy,
        "mask_accuracy_of_constant_masks": same / sum(mask.size for mask in found.masks),
        "kept": [float(mask.mean()) for mask in found.masks],
        "targets": [float(target.mean()) for target in found.targets],
        "distinct_masks": [len(np.unique(mask, axis=0)) for mask in found.masks],
        "distinct_labels": len(np.unique(found.labels)),
    }


def _chosen(found: dict[float, list[Row]]) -> float:
    """Return the r with the best held-out accuracy among those that save enough there (of all, if none does)."""
    mean = {
        share: {key: np.mean([row[key] for row in rows]) for key in ("held_out_accuracy", "held_out_saving")}
        for share, rows in found.items()
    }
    enough = [share for share in found if mean[share]["held_out_saving"] >= SAVING] or list(found)
    return max(enough, key=lambda share: mean[share]["held_out_accuracy"])


if __name__ == "__main__":
    main()
