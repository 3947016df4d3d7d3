"""Is there a collapse to be found? One epoch with larger weights of the logit loss, and with a weak teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.dual_head_nets import SMALL, Job, kept, network
from edge.recipes.dhkd import Terms, train_dhkd
from edge.recipes.dual_head import Taught, both_logits, one_head, two_heads
from edge.train import Schedule
from quant.formats import Array

SEED = 0
#: Teacher, weight of the logit loss; 0 is cross-entropy alone.
CASES = (("knowing", 0.0), ("knowing", 1.0), ("knowing", 4.0), ("knowing", 16.0), ("knowing", 64.0), ("weak", 1.0))


def trials(work: Job, known: Mapping[str, Array], batch: int, rate: float) -> list[dict[str, Any]]:
    """Train one and two heads for one epoch in every case; accuracies are of held-out images, never test images.

    Args:
        work: where results are kept, and the images.
        known: each teacher's logits.
        batch: images a step.
        rate: first rate.
    """
    cases = [(teacher, alpha, heads) for teacher, alpha in CASES for heads in ((1, 2) if alpha else (1,))]
    return [_trial(work, known[case[0]], case, batch, rate) for case in cases]


def _trial(work: Job, known: Array, case: tuple[str, float, int], batch: int, rate: float) -> dict[str, Any]:
    (teacher, alpha, heads), data = case, work.dataset
    terms = Terms(alpha=alpha, teacher="binary" if alpha else "none")
    schedule = Schedule(epochs=1, batch=batch, rate=rate, seed=SEED)
    module = network(SMALL, data, SEED)
    dual = one_head(module, "fc") if heads == 1 else two_heads(module, "fc", seed=SEED)

    def learn() -> dict[str, Any]:
        train_dhkd(dual, Taught(data, work.pool, work.pool[:0], known), schedule, terms, show=False)
        first, _ = both_logits(dual, data, data.x_train[work.held])
        return {"held_accuracy": float((first.argmax(axis=1) == data.y_train[work.held]).mean())}

    name = f"trial-{teacher}-{alpha:g}-{heads}"
    record = kept(work, name, dual, asdict(schedule) | asdict(terms), learn)
    return {"teacher": teacher, "alpha": alpha, "heads": heads, "held_accuracy": record["held_accuracy"]}
