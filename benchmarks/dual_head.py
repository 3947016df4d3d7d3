"""Two heads, one for labels and one for a teacher: DHO with 1 % labels, DHKD against one head, on Fashion-MNIST.

python -m benchmarks.dual_head [--work FOLDER] [--seeds 0 1 2]

Each finished training is kept in FOLDER, so a second call goes on behind it. Settings and mixes are chosen on held-out
training images (`dual_head_nets.HELD_OUT`).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dual_head_export import exported
from benchmarks.dual_head_nets import SMALL, STUDENT, Job, job, kept, network, parameters, teacher, teacher_file
from benchmarks.dual_head_table import table
from benchmarks.dual_head_trials import trials
from benchmarks.results import environment, write_results
from edge.data import load
from edge.recipes.dhkd import Terms, train_dhkd
from edge.recipes.dho import BOTH, LABELS_ONLY, Mixed, train_dho
from edge.recipes.dual_fold import RULES, Mix, choose_mix, combined
from edge.recipes.dual_head import DualHead, Taught, augmented, balanced, both_logits, one_head, two_heads
from edge.train import Schedule, logits
from quant.formats import Array

#: 1 % of the training images have labels. All held-out ones choose the mix, or as few as have labels.
LABELLED, FEW = 600, 600
DHO_EPOCHS, DHO_UNLABELLED, DHO_LABELLED = 3, 192, 64
DHKD_EPOCHS, DHKD_BATCH, DHKD_RATE = 3, 128, 0.05
#: Labelled images of each teacher; None for all of the pool.
TEACHERS = {"knowing": None, "weak": 2000}
#: Method: heads, weights of the losses, peak rate.
SEMI = {"labels only": (1, LABELS_ONLY, 1e-2), "one head": (1, BOTH, 1e-2), "DHO": (2, BOTH, 1e-2)}
SETTINGS = {
    "labelled": LABELLED,
    "few": FEW,
    "dho": {"epochs": DHO_EPOCHS, "unlabelled": DHO_UNLABELLED, "labelled": DHO_LABELLED},
    "dho_rates": {method: rate for method, (_, _, rate) in SEMI.items()},
    "dhkd": {"epochs": DHKD_EPOCHS, "batch": DHKD_BATCH, "rate": DHKD_RATE},
}
#: Variant: heads, loss terms.
FULL = {
    "CE": (1, Terms(teacher="none", alpha=0.0)),
    "CE + KD, one head": (1, Terms(teacher="kl")),
    "CE + BinaryKL-Norm, one head": (1, Terms()),
    "DHKD": (2, Terms()),
    "DHKD, aligned": (2, Terms(align=True)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/dual_head"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--teachers", choices=TEACHERS, nargs="+", default=list(TEACHERS), help="of DHO")
    parser.add_argument("--train-only", choices=("dho", "dhkd"), help="leave checkpoints of one recipe, no results")
    options = parser.parse_args()
    work = job(options.work, load("fashion-mnist"))
    taught = {name: _teacher(work, name) for name in TEACHERS}
    known = {name: entry.known for name, entry in taught.items()}
    pairs = ((name, method) for name in options.teachers for method in SEMI)
    cases = [(name, method) for name, method in pairs if name == "knowing" or method != "labels only"]
    semi = list(product(cases, options.seeds)) if options.train_only != "dhkd" else []
    full = list(product(FULL, options.seeds)) if options.train_only != "dho" else []
    for (name, method), seed in semi:
        _trained_semi(work, known[name], name, method, seed)
    for variant, seed in full:
        _trained_full(work, known["knowing"], variant, seed)
    if options.train_only != "dho":
        tried = trials(work, known, DHKD_BATCH, DHKD_RATE)
    if options.train_only:
        return
    record = {
        "environment": environment(),
        "settings": SETTINGS,
        "teachers": {name: entry.about for name, entry in taught.items()},
        "dho": [_semi(work, known[name], name, method, seed) for (name, method), seed in semi],
        "dhkd": [_full(work, known["knowing"], variant, seed) for variant, seed in full],
        "trials": tried,
    }
    write_results("dual_head", record, table(record))


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """What is to be said about a teacher, and its logits of all training images, asked for once."""

    about: dict[str, Any]
    known: Array


def _teacher(work: Job, name: str) -> Teacher:
    module, about = teacher(work, TEACHERS[name])
    path, weights = work.folder / f"known-{name}.npy", teacher_file(work, TEACHERS[name])
    if not path.exists() or path.stat().st_mtime < weights.stat().st_mtime:
        np.save(path, logits(module, work.dataset, work.dataset.x_train))
    known = np.load(path, allow_pickle=False)
    right = known.argmax(axis=1) == work.dataset.y_train
    shares = {"pool_accuracy": float(right[work.pool].mean()), "held_accuracy": float(right[work.held].mean())}
    return Teacher(about | shares | {"parameters": parameters(module)}, known)


def _trained_semi(
    work: Job, known: Array, teacher_name: str, method: str, seed: int
) -> tuple[DualHead, dict[str, Any]]:
    """Train with 1 % labels by one method; the labels differ by seed and are the same for every method."""
    data, (heads, weights, rate) = work.dataset, SEMI[method]
    labelled = balanced(data.y_train, work.pool, LABELLED, seed)
    images = Taught(data, labelled, np.setdiff1d(work.pool, labelled), known)
    schedule = Schedule(epochs=DHO_EPOCHS, batch=DHO_UNLABELLED, rate=rate, seed=seed)
    mixed = Mixed(labelled=DHO_LABELLED, weights=weights, augment=augmented)
    dual = _heads(network(STUDENT, data, seed), heads, seed)
    settings = asdict(schedule) | {"labelled": DHO_LABELLED, "weights": list(weights), "augment": True}
    name = f"dho-{teacher_name}-{method.replace(' ', '-')}-{seed}"
    return dual, kept(
        work, name, dual, settings, lambda: {"steps": train_dho(dual, images, schedule, mixed, show=False)}
    )


def _semi(work: Job, known: Array, teacher_name: str, method: str, seed: int) -> dict[str, Any]:
    """Test one method."""
    dual, record = _trained_semi(work, known, teacher_name, method, seed)
    row = {
        "teacher": teacher_name,
        "method": method,
        "seed": seed,
        "steps": record["steps"],
        "cpu_s": record["train_cpu_s"],
    }
    found = _answers(work, dual, seed)
    if method == "DHO" and teacher_name == "knowing":
        mixes = {rule: Mix(found[rule]["share"], found[rule]["beta"], rule) for rule in RULES}
        found["export"] = _exported(work, dual, mixes, seed)
    return row | found


def _exported(work: Job, dual: DualHead, mixes: dict[str, Mix], seed: int) -> dict[str, Any]:
    """Return what `exported` finds, or found in an earlier call about the same mixes."""
    path, asked = work.folder / f"export-{seed}.json", {rule: asdict(mix) for rule, mix in mixes.items()}
    if path.exists() and (record := json.loads(path.read_text()))["mixes"] == asked:
        return dict(record["found"])
    found = exported(work, dual, mixes, seed)
    path.write_text(json.dumps({"mixes": asked, "found": found}))
    return found


def _answers(work: Job, dual: DualHead, seed: int) -> dict[str, Any]:
    """Return test accuracies of each head, and of two heads by the mixes that held-out images choose."""
    data = work.dataset

    def right(values: Array) -> float:
        return float((values.argmax(axis=1) == data.y_test).mean())

    held, test = (both_logits(dual, data, x) for x in (data.x_train[work.held], data.x_test))
    row: dict[str, Any] = {"first": right(test[0]), "second": right(test[1])}
    if dual.first is dual.second:
        return row | {"accuracy": row["first"]}
    y = data.y_train[work.held]
    for rule in RULES:
        mix = choose_mix(*held, y, rule)
        row[rule] = {"share": mix.share, "beta": mix.beta, "accuracy": right(combined(*test, mix))}
    some = balanced(data.y_train, work.held, FEW, seed) - work.held[0]
    few = choose_mix(held[0][some], held[1][some], y[some])
    row["few"] = {"share": few.share, "beta": few.beta, "accuracy": right(combined(*test, few))}
    row["halves"] = right(combined(*test, Mix(0.5, 1.0)))
    return row | {"accuracy": row["arithmetic"]["accuracy"]}


def _trained_full(work: Job, known: Array, variant: str, seed: int) -> tuple[DualHead, dict[str, Any]]:
    """Train with all labels by one variant."""
    data, (heads, terms) = work.dataset, FULL[variant]
    images = Taught(data, work.pool, work.pool[:0], known)
    schedule = Schedule(epochs=DHKD_EPOCHS, batch=DHKD_BATCH, rate=DHKD_RATE, seed=seed)
    dual = _heads(network(SMALL, data, seed), heads, seed)
    name = "dhkd-" + "-".join(variant.replace(",", "").replace("+", "").split()) + f"-{seed}"
    settings = asdict(schedule) | asdict(terms)

    def learn() -> dict[str, Any]:
        return {"conflicts": train_dhkd(dual, images, schedule, terms, show=False)}

    return dual, kept(work, name, dual, settings, learn)


def _full(work: Job, known: Array, variant: str, seed: int) -> dict[str, Any]:
    """Test the first head of one variant."""
    data = work.dataset
    dual, record = _trained_full(work, known, variant, seed)
    first, second = both_logits(dual, data, data.x_test)
    return {
        "variant": variant,
        "seed": seed,
        "accuracy": float((first.argmax(axis=1) == data.y_test).mean()),
        "second": float((second.argmax(axis=1) == data.y_test).mean()),
        "logit_deviation": float(first.std()),
        "conflicts": record["conflicts"],
        "cpu_s": record["train_cpu_s"],
    }


def _heads(module: Any, heads: int, seed: int) -> DualHead:
    return one_head(module, "fc") if heads == 1 else two_heads(module, "fc", seed=seed)


if __name__ == "__main__":
    main()
