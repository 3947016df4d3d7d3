"""Rules decide as softmax does, in integers, and thresholds beyond every score mean always and never."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.decide import MOST_ENTRIES, ONE, decider, exponentials, is_sure, scores
from export.errors import ExportError
from export.manifest import TensorSpec
from export.rule import ACTIONS, SCORES, STEPS, Rule, from_record, rule, to_record
from quant.formats import find_format

INT8 = TensorSpec((1, 10), "int8", 0.07, 3)
SPECS = (
    INT8,
    TensorSpec((1, 4), "uint8", 0.2, 0),
    TensorSpec((1, 10), "int4", 0.9, -1),
    TensorSpec((1, 5), "e3m2", 0.8, 0),
)


def draw_codes(spec, n, seed=0):
    fmt = find_format(spec.format)
    ordinals = np.random.default_rng(seed).integers(fmt.min_ordinal, fmt.max_ordinal + 1, (n, *spec.shape[1:]))
    return fmt.from_ordinals(ordinals)


def in_float(spec, codes, score, temperature):
    """The scores by the book, in float64."""
    fmt = find_format(spec.format)
    logits = (fmt.to_units(codes) - spec.zero) * fmt.unit * spec.scale
    if score == "max_logit":
        return logits.max(axis=1)
    z = logits / temperature
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    if score == "entropy":
        return 1 + (p * np.log(np.maximum(p, 1e-300))).sum(axis=1) / math.log(p.shape[1])
    ordered = np.sort(p, axis=1)
    return ordered[:, -1] - (ordered[:, -2] if score == "difference" else 0)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.format)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_scores_are_those_of_softmax(spec, score, temperature):
    codes = draw_codes(spec, 300)
    found = scores(decider(rule(score, 0.5, temperature=temperature), spec), codes)
    np.testing.assert_allclose(found, in_float(spec, codes, score, temperature), atol=1e-5, rtol=1e-6)
    assert found.std() > 0


@given(st.sampled_from(SPECS), st.sampled_from(SCORES), st.floats(0.0, 1.0), st.floats(0.3, 4.0), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_decisions_follow_the_scores(spec, score, share, temperature, seed):
    codes = draw_codes(spec, 40, seed)
    levels = scores(decider(rule(score, 0.5, temperature=temperature), spec), codes)
    threshold = float(levels.min() + share * (levels.max() - levels.min()))
    ready = decider(rule(score, threshold, temperature=temperature), spec)
    np.testing.assert_array_equal(is_sure(ready, codes), levels >= ready.rule.threshold)


@pytest.mark.parametrize("score", SCORES)
def test_thresholds_beyond_every_score_mean_always_and_never(score):
    codes = draw_codes(INT8, 200)
    assert is_sure(decider(rule(score, -math.inf), INT8), codes).all()
    assert not is_sure(decider(rule(score, math.inf), INT8), codes).any()


@pytest.mark.parametrize("code", range(-128, 128))
def test_a_limit_of_logits_is_exact_at_every_code(code):
    threshold = (code - INT8.zero) * INT8.scale
    codes = np.full((1, 10), -128, np.int8)
    codes[0, 4] = code
    assert is_sure(decider(rule("max_logit", threshold), INT8), codes)[0]
    assert not is_sure(decider(rule("max_logit", np.nextafter(threshold, np.inf)), INT8), codes)[0]


def test_a_rounded_threshold_lets_nothing_pass_that_was_refused():
    made = rule("max_probability", 0.700001)
    assert made.threshold >= 0.700001 and made.threshold - 0.700001 < 1 / STEPS
    assert made.steps == made.threshold * STEPS


def test_the_table_ends_where_nothing_is_left():
    table, shift = exponentials(INT8, 1.0)
    assert table[0] == ONE and shift == 0 and len(table) <= 256 and (np.diff(table) <= 0).all()


@pytest.mark.parametrize("name", ["int16", "e4m3", "e5m2"])
def test_fine_formats_have_a_short_table_and_nearly_the_same_scores(name):
    fmt = find_format(name)
    spec = TensorSpec((1, 10), name, float(np.float32(6.0 / fmt.max)), 0)
    ready = decider(rule("max_probability", 0.5), spec)
    assert ready.shift > 0 and len(ready.table) <= MOST_ENTRIES + 1
    codes = draw_codes(spec, 500)
    found, exact = scores(ready, codes), in_float(spec, codes, "max_probability", 1.0)
    np.testing.assert_allclose(found, exact, rtol=3e-3)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("action", ACTIONS)
def test_records_read_back(score, action):
    made = rule(score, 0.25, temperature=1.5, action=action)
    assert from_record(to_record(made), "here") == made


@pytest.mark.parametrize(
    "change",
    [
        {"score": "luck"},
        {"action": "hope"},
        {"threshold": "high"},
        {"temperature": 0.0},
        {"threshold": 0.1},
        {"more": 1},
    ],
)
def test_a_wrong_record_is_refused(change):
    with pytest.raises(ExportError):
        from_record({**to_record(rule("difference", 0.5)), **change}, "here")


def test_what_decides_nothing_is_refused():
    for threshold, temperature in ((math.nan, 1.0), (0.5, math.inf), (0.5, -1.0)):
        with pytest.raises(ExportError):
            rule("max_probability", threshold, temperature=temperature)
    with pytest.raises(ExportError, match="steps of 2"):
        Rule("difference", 0.1)
