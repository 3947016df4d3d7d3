"""What a rule decides, in integers from output codes to decision, so that Python, C and a circuit decide alike.

With logits z = step * (u - zero), where u is the code in units of its format, the probability of class i is
E[u_max - u_i] / S, where E[d] = round(2^24 * exp(-d * step / temperature)) and S is the sum of all E. The table E is
made once, in float64 and rounded half to even; from there on everything is an integer. Where a format is so fine that
the table would be long, distances are first rounded to multiples of 2^k, the least k that keeps it short: an error of
at most 0.3 % in a probability.

    max_probability >= t    <=>    E[0] * 2^16 >= t16 * S              t16 = t * 2^16
    difference      >= t    <=>    (E[0] - E[d2]) * 2^16 >= t16 * S    d2: distance of the second largest
    max_logit       >= t    <=>    u_max >= limit                      limit: the least u that passes

Entropy needs logarithms and is computed in float64, in Python only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from export.errors import ExportError
from export.manifest import TensorSpec
from export.rule import STEPS, Rule
from quant.formats import Array, FloatArray, IntArray, find_format

ONE = 1 << 24
#: A longer table does not belong into a device's flash: distances are made coarser.
MOST_ENTRIES = 4096
#: With more classes sums could pass 63 bits.
MOST_CLASSES = 1 << 20


@dataclass(frozen=True, eq=False)
class Decider:
    """A rule made ready for a tensor.

    `table` is E, int64 [n], and 0 beyond its end; empty for `max_logit`. `shift` is k: a distance d has the entry
    (d + 2^k / 2) >> k. `limit` is what u_max is compared with by `max_logit`.
    """

    rule: Rule
    spec: TensorSpec
    table: IntArray
    shift: int
    limit: int


def decider(rule: Rule, spec: TensorSpec) -> Decider:
    """Make a rule ready for the logits of a part.

    Raises:
        ExportError: there are too many classes.
    """
    classes = math.prod(spec.shape[1:])
    if classes > MOST_CLASSES:
        raise ExportError(f"a rule compares at most {MOST_CLASSES} classes; the part has {classes} outputs.")
    if rule.score == "max_logit":
        return Decider(rule, spec, np.zeros(0, np.int64), 0, _limit(rule, spec))
    return Decider(rule, spec, *exponentials(spec, rule.temperature), 0)


def exponentials(spec: TensorSpec, temperature: float) -> tuple[IntArray, int]:
    """Return E as int64, up to where it is 0 or no two codes are further apart, and the shift of distances."""
    fmt, step = find_format(spec.format), _step(spec) / temperature
    apart = fmt.units_of_ordinal(fmt.max_ordinal) - fmt.units_of_ordinal(fmt.min_ordinal)
    reach = min(apart, math.ceil(math.log(2 * ONE) / step)) + 1
    shift = max(0, math.ceil(math.log2(reach / MOST_ENTRIES)))
    places = np.arange((reach >> shift) + 1 if shift else reach, dtype=np.float64) * 2.0**shift
    found: IntArray = np.rint(ONE * np.exp(-step * places)).astype(np.int64)
    return found, shift


def is_sure(ready: Decider, codes: Array) -> Array:
    """Decide for outputs of a part.

    Args:
        ready: the rule for this part.
        codes: [N, ...] codes of the output, all classes.

    Returns:
        bool [N]: whether the score is at least the threshold.
    """
    if ready.rule.score == "entropy":
        return np.asarray(scores(ready, codes) >= ready.rule.threshold)
    units = _units(ready.spec, codes)
    if ready.rule.score == "max_logit":
        return np.asarray(units.max(axis=1) >= ready.limit)
    part, total = _ratio(ready, units)
    return np.asarray(part * STEPS >= ready.rule.steps * total)


def scores(ready: Decider, codes: Array) -> FloatArray:
    """Return the scores that thresholds are chosen among, float64 [N]; what `is_sure` compares, up to its last step."""
    units = _units(ready.spec, codes)
    if ready.rule.score == "max_logit":
        zero = ready.spec.zero
        return np.asarray((units.max(axis=1) - zero) * _step(ready.spec), np.float64)
    if ready.rule.score == "entropy":
        return _certainty(_terms(ready, units))
    part, total = _ratio(ready, units)
    return np.asarray(part / total, np.float64)


def _ratio(ready: Decider, units: IntArray) -> tuple[IntArray, IntArray]:
    """Return the integers whose ratio is the score."""
    terms = np.sort(_terms(ready, units), axis=1)
    second = terms[:, -2] if ready.rule.score == "difference" and terms.shape[1] > 1 else 0
    return terms[:, -1] - second, terms.sum(axis=1)


def _terms(ready: Decider, units: IntArray) -> IntArray:
    table, half = ready.table, (1 << ready.shift) >> 1
    entry = (units.max(axis=1, keepdims=True) - units + half) >> ready.shift
    inside = entry < len(table)
    return np.asarray(np.where(inside, table[np.where(inside, entry, 0)], 0), np.int64)


def _certainty(terms: IntArray) -> FloatArray:
    """Return 1 - H / ln(classes)."""
    p = terms / terms.sum(axis=1, keepdims=True)
    logs = np.log(p, where=p > 0, out=np.zeros_like(p))
    classes = terms.shape[1]
    return np.asarray(1.0 + (p * logs).sum(axis=1) / math.log(classes) if classes > 1 else np.ones(len(p)))


def _units(spec: TensorSpec, codes: Array) -> IntArray:
    return find_format(spec.format).to_units(np.asarray(codes).reshape(len(codes), -1))


def _step(spec: TensorSpec) -> float:
    return spec.scale * find_format(spec.format).unit


def _limit(rule: Rule, spec: TensorSpec) -> int:
    """Return the least u whose score, in the float64 arithmetic of `scores`, is at least the threshold.

    Thresholds are chosen among scores, so one that is rounded must still let its own u pass. Limits beyond the format
    become the one just beyond it.
    """
    fmt, step = find_format(spec.format), _step(spec)
    near = math.ceil(Fraction(rule.threshold) / Fraction(step)) + spec.zero
    found = next(u for u in range(near - 2, near + 3) if (u - spec.zero) * step >= rule.threshold)
    return min(max(found, fmt.units_of_ordinal(fmt.min_ordinal)), fmt.max_units + 1)
