"""Choose peak rates and regulariser for `benchmarks.biper` on training images only: 12,000 train, 5,000 others judge.

python -m benchmarks.biper_rates
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from benchmarks.biper import BATCH, new_module
from benchmarks.results import environment, write_results
from edge.data import load
from edge.dataset import Dataset
from edge.recipes import cross_entropy
from edge.recipes.binary_layers import SIGN
from edge.recipes.biper import set_rule, stages, train_stage
from edge.train import Schedule, train

EPOCHS = 8
TRAINED, JUDGES = 12_000, 5_000
SIGN_RATES = (0.2, 0.4, 0.8, 1.6)
FIRST_RATES = (0.05, 0.1, 0.2)
SECOND_RATES = (0.1, 0.3)
TAUS = (0.04, -0.1)
SEED = 0


def main() -> None:
    dataset = _held_out(load("fashion-mnist"))
    rows = []
    for row in chain(_sign(dataset), _biper(dataset)):
        print(row, flush=True)
        rows.append(row)
    write_results("biper_rates", {"environment": environment(), "results": rows}, _table(rows))


def _held_out(dataset: Dataset) -> Dataset:
    """Return training images only, some of them as the ones that judge."""
    order = np.random.default_rng(99).permutation(len(dataset.x_train))
    kept, judges = order[:TRAINED], order[-JUDGES:]
    return replace(
        dataset,
        x_train=dataset.x_train[kept],
        y_train=dataset.y_train[kept],
        x_test=dataset.x_train[judges],
        y_test=dataset.y_train[judges],
    )


def _schedule(epochs: int, rate: float) -> Schedule:
    return Schedule(epochs=epochs, batch=BATCH, rate=rate, seed=SEED)


def _sign(dataset: Dataset) -> Iterator[dict[str, Any]]:
    for rate in SIGN_RATES:
        module = new_module(dataset, SEED)
        set_rule(module, SIGN)
        accuracy = train(module, dataset, cross_entropy.RECIPE, _schedule(EPOCHS, rate), show=False)
        yield {"method": "sign", "rate": rate, "accuracy": accuracy}


def _biper(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Try every pair of rates without regulariser (pairs share their first stage), then the regulariser on the best."""
    found = []
    for first in FIRST_RATES:
        found += _pairs(dataset, first, SECOND_RATES, 0.0)
        yield from found[-len(SECOND_RATES) :]
    best = max(found, key=lambda row: float(row["accuracy"]))
    for tau in TAUS:
        yield from _pairs(dataset, best["rate"], (best["second_rate"],), tau)


def _pairs(dataset: Dataset, rate: float, second_rates: tuple[float, ...], tau: float) -> list[dict[str, Any]]:
    rows, trained = [], None
    for second_rate in second_rates:
        one, two = stages(
            _schedule(EPOCHS // 2, rate), second_epochs=EPOCHS // 2, second_rate=second_rate, tau=(tau, tau)
        )
        if trained is None:
            trained = new_module(dataset, SEED)
            _, before = train_stage(trained, dataset, one, show=False)
        accuracy, after = train_stage(copy.deepcopy(trained), dataset, two, show=False)
        errors = [round(error, 4) for error in (before[0], before[-1], after[-1])]
        row = {"method": "biper", "rate": rate, "second_rate": second_rate, "tau": tau}
        rows.append({**row, "accuracy": accuracy, "quantisation_errors": errors})
    return rows


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Rates for the binary networks",
        "",
        f"Fashion-MNIST, training images only: {TRAINED:,} train for {EPOCHS} epochs in total (BiPer: half in each",
        f"stage), {JUDGES:,} others judge (standard error about 0.5 points); one seed. The error is mean",
        "|sin - sign(sin)| at the start, after stage 1 and after stage 2.",
        "",
        "| method | peak rate | of stage 2 | tau | accuracy | quantisation error |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        errors = ", ".join(str(error) for error in row.get("quantisation_errors", ()))
        lines.append(
            f"| {row['method']} | {row['rate']} | {row.get('second_rate', '')} | {row.get('tau', '')} | "
            f"{row['accuracy']:.2%} | {errors} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
