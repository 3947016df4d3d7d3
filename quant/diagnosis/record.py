"""The result of a diagnosis, and its JSON form (documented in docs/measuring.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from quant.diagnosis.damage import Effect, Error
from quant.diagnosis.facts import Facts
from quant.diagnosis.finding import Finding

#: Version of the JSON form.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Score:
    """How well a quantised network does: logits against float ones, and accuracy on labelled test data if given."""

    sqnr_db: float
    agreement: float
    kl: float
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A cure that was tried, as `scheme` and `passes`. `score` is None when it was refused, for a reason.

    `rewritten`: the float graph was changed too, so that scheme and passes alone do not do it.
    """

    cure: str
    cause: str
    layers: tuple[str, ...]
    price: str
    scheme: str
    passes: str
    rewritten: bool
    score: Score | None
    gain_db: float | None
    helped: bool
    refused: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """One layer with its causes."""

    facts: Facts
    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was found.

    `rows` are sorted by damage; `unmatched` are float layers without a counterpart, `equalised` those whose output
    channels were scaled before quantisation.
    """

    network: str
    scheme: str
    images: int
    score: Score
    healthy: bool
    rows: tuple[Row, ...]
    trials: tuple[Trial, ...]
    unmatched: tuple[str, ...]
    equalised: tuple[str, ...]
    float_accuracy: float | None
    test_images: int
    summary: str

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every cause found, the worst layer first."""
        return tuple(finding for row in self.rows for finding in row.findings)


def score_of(total: Effect, accuracy: float | None) -> Score:
    """Return the score of a network from what changed at its logits."""
    return Score(total.error.sqnr_db, total.agreement, total.kl_mean, accuracy)


def to_json(diagnosis: Diagnosis) -> dict[str, object]:
    """Return plain values for JSON; an SQNR without any error is null."""
    return {
        "schema": SCHEMA,
        "network": diagnosis.network,
        "scheme": diagnosis.scheme,
        "images": diagnosis.images,
        "healthy": diagnosis.healthy,
        "summary": diagnosis.summary,
        "score": _plain(asdict(diagnosis.score)),
        "float_accuracy": diagnosis.float_accuracy,
        "test_images": diagnosis.test_images,
        "layers": [_row(row) for row in diagnosis.rows],
        "cures": [_plain(asdict(trial)) for trial in diagnosis.trials],
        "unmatched": list(diagnosis.unmatched),
        "equalised": list(diagnosis.equalised),
    }


def _row(row: Row) -> dict[str, object]:
    facts, damage = row.facts, row.facts.damage
    return {
        "layer": facts.name,
        "kind": facts.kind,
        "weights": facts.weights.quant.format.name if facts.weights else None,
        "output": facts.format.name if facts.format else None,
        "share": facts.share,
        "share_weights": facts.weights_share,
        "share_output": facts.activation_share,
        "sqnr_accumulated_db": _finite(damage.accumulated),
        "sqnr_local_db": _finite(damage.local),
        "only_weights": _effect(damage.weights),
        "only_output": _effect(damage.activation),
        "causes": [_plain(asdict(finding)) for finding in row.findings],
    }


def _effect(effect: Effect | None) -> dict[str, object] | None:
    if effect is None:
        return None
    return {"sqnr_db": _finite(effect.error), "agreement": effect.agreement, "kl": effect.kl_mean}


def _finite(error: Error) -> float | None:
    value = error.sqnr_db
    return value if math.isfinite(value) else None


def _plain(value: object) -> object:
    """Return JSON's values: lists for tuples, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
