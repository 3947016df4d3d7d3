"""Gates: temperature, exits, cascades, filters and memories do what their definitions say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.gates import cascade, exits, memory
from edge.gates import filter as filtering
from edge.gates.temperature import calibration_error, cross_entropy, fit_temperature, probabilities


def labelled_logits(n=4000, classes=5, temperature=2.5, seed=0):
    """Logits whose labels are drawn from softmax(logits / temperature): its fit is known."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 4, (n, classes))
    p = probabilities(logits, temperature)
    labels = (p.cumsum(axis=1) < draw.random((n, 1))).sum(axis=1)
    return logits, np.minimum(labels, classes - 1)


def test_the_temperature_that_made_the_labels_is_found():
    logits, labels = labelled_logits()
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(2.5, rel=0.06)
    assert cross_entropy(logits, labels, found) <= cross_entropy(logits, labels, 1.0)
    assert calibration_error(logits, labels, found) < 0.5 * calibration_error(logits, labels, 1.0)


def test_a_temperature_changes_no_label_and_needs_data():
    logits, labels = labelled_logits(50)
    assert (probabilities(logits, 7.0).argmax(1) == logits.argmax(1)).all()
    for bad in (logits[:1], logits[0]):
        with pytest.raises(EdgeError, match="temperature"):
            fit_temperature(bad, labels[:1])


@given(st.integers(0, 1000), st.lists(st.floats(0.05, 1.0), min_size=2, max_size=4))
@settings(max_examples=60, deadline=None)
def test_wanted_shares_leave_at_their_exits(seed, weights):
    shares = [w / sum(weights) for w in weights]
    draw = np.random.default_rng(seed)
    scores = [draw.random(2000) for _ in shares]
    thresholds = exits.exit_thresholds(scores, shares)
    taken = exits.exit_of(scores, thresholds)
    got = [float((taken == k).mean()) for k in range(len(shares))]
    np.testing.assert_allclose(got, shares, atol=0.002)


def test_always_and_never_are_the_first_and_the_last_exit():
    scores = [np.array([0.1, 0.9]), np.array([0.5, 0.5]), np.array([0.2, 0.3])]
    assert exits.exit_of(scores, (-math.inf, 0, 0)).tolist() == [0, 0]
    assert exits.exit_of(scores, (math.inf, math.inf, math.inf)).tolist() == [2, 2]
    assert exits.exit_thresholds(scores, (0.0, 0.0, 1.0))[:2] == (math.inf, math.inf)
    assert exits.exit_thresholds(scores, (1.0, 0.0, 0.0))[0] == -math.inf


def test_ties_take_the_nearer_level():
    scores = [np.array([1.0, 0.5, 0.5, 0.5, 0.5, 0.2]), np.zeros(6)]
    assert exits.exit_thresholds(scores, (2 / 6, 4 / 6))[0] == 1.0
    assert exits.exit_thresholds(scores, (4 / 6, 2 / 6))[0] == 0.5


def test_figures_of_exits_add_up():
    taken = np.array([0, 0, 1, 1])
    answers = [np.array([1, 2, 0, 0]), np.array([0, 0, 3, 9])]
    found = exits.exit_figures(taken, answers, np.array([1, 0, 3, 4]), (100, 300))
    assert found == exits.ExitFigures((0.5, 0.5), 0.5, (0.5, 0.5), 200.0)


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.5, -0.5), (1.0,), ()])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(EdgeError):
        exits.exit_thresholds([np.zeros(3), np.zeros(3)], shares)


def test_geometric_shares():
    assert exits.geometric_shares(1.0, 4) == (0.25,) * 4
    first, second = exits.geometric_shares(0.5, 2)
    assert first == pytest.approx(2 * second)


def test_complementarity_by_paper_and_by_code():
    a = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    b = np.array([1, 1, 0, 0, 0, 0, 1, 0], bool)
    assert cascade.complementarity(a, b) == 2 * 1 / 8
    assert cascade.complementarity(a, b, "code") == 3 / 8
    pool = {"a": a, "b": b, "not a": ~a}
    assert cascade.best_pair(pool) == ("a", "not a")
    with pytest.raises(EdgeError):
        cascade.complementarity(a, b, "mine")
    with pytest.raises(EdgeError):
        cascade.best_pair({"a": a})


def members(n=3000, seed=0):
    """Two networks, each sure where it is right more often."""
    draw = np.random.default_rng(seed)
    hard = draw.random((2, n))
    a, b = (
        cascade.Member(h < p, 1 - h + draw.normal(0, 0.1, n), m)
        for h, p, m in zip(hard, (0.8, 0.9), (100, 400), strict=True)
    )
    return a, b


@pytest.mark.parametrize("post_check", [False, True])
def test_thresholds_beyond_every_score_ask_never_or_always(post_check):
    a, b = members()
    never = cascade.figures(a, b, -math.inf, post_check=post_check)
    always = cascade.figures(a, b, math.inf, post_check=post_check)
    assert (never.second_share, never.macs, never.accuracy) == (0.0, 100.0, a.right.mean())
    assert (always.second_share, always.macs) == (1.0, 500.0)
    if not post_check:
        assert always.accuracy == b.right.mean()


def test_searches_keep_their_promises():
    a, b = members()
    best = cascade.most_accurate(a, b, post_check=True)
    every = [cascade.figures(a, b, float(t), post_check=True) for t in cascade.candidates(a.score)]
    assert best.accuracy == max(f.accuracy for f in every)
    half = cascade.most_accurate(a, b, post_check=True, most_share=0.5)
    assert half.second_share <= 0.5 and half.accuracy <= best.accuracy
    cheap = cascade.cheapest(a, b, half.accuracy, post_check=True)
    assert cheap.accuracy >= half.accuracy and cheap.macs <= half.macs
    with pytest.raises(EdgeError, match="the most is"):
        cascade.cheapest(a, b, 1.1, post_check=True)


def test_auc_is_the_chance_that_interesting_scores_higher():
    draw = np.random.default_rng(3)
    scores, interesting = draw.integers(0, 20, 300) / 20, draw.random(300) < 0.4
    pairs = [(y > n) + 0.5 * (y == n) for y in scores[interesting] for n in scores[~interesting]]
    assert filtering.roc_auc(scores, interesting) == pytest.approx(np.mean(pairs))
    with pytest.raises(EdgeError):
        filtering.roc_auc(scores, np.ones(300, bool))


@given(st.integers(0, 500), st.floats(0.5, 1.0))
@settings(max_examples=50, deadline=None)
def test_the_recall_is_kept_with_the_largest_threshold(seed, recall):
    draw = np.random.default_rng(seed)
    scores, interesting = draw.random(200), draw.random(200) < 0.5
    found = filtering.threshold_for_recall(scores, interesting, recall)
    assert found.recall >= recall
    higher = [s for s in scores[interesting] if s > found.threshold]
    if higher:
        assert filtering.filter_figures(scores, interesting, min(higher)).recall < recall


def pictures(n=20, seed=0):
    return np.random.default_rng(seed).random((n, 1, 28, 28)).astype(np.float32)


@pytest.mark.parametrize(("name", "hashed"), memory.HASHES)
def test_a_stream_given_twice_is_half_hits(name, hashed):
    images = pictures()
    found, answers = memory.replay(memory.Memory(hashed, 100), [*images, *images], lambda i: i % 20)
    assert found.hit_rate == 0.5 and found.false_hit_rate == 0.0
    assert answers == [*range(20), *range(20)]


def test_a_false_hit_is_counted():
    one = pictures(1)[0]
    other = one * 0.5  # the same order of neighbours: dhash cannot tell
    found, answers = memory.replay(memory.Memory(memory.dhash, 9), [one, other], lambda i: i)
    assert (found.hit_rate, found.false_hit_rate, answers) == (0.5, 0.5, [0, 0])


def test_invariants_know_turned_and_mirrored_pictures():
    one = pictures(1)[0]
    keys = {memory.invariants(np.rot90(one, k, (1, 2))) for k in range(4)} | {memory.invariants(one[:, :, ::-1])}
    assert len(keys) == 1
    assert memory.invariants(pictures(1, seed=5)[0]) not in keys


def test_the_least_recently_used_goes_first_and_old_answers_too():
    a, b, c = pictures(3)
    now = [0.0]
    kept = memory.Memory(memory.exact, 2, age_s=10, clock=lambda: now[0])
    kept.keep(a, 1)
    kept.keep(b, 2)
    assert kept.find(a) == 1
    kept.keep(c, 3)
    assert (kept.find(a), kept.find(b), kept.find(c)) == (1, None, 3)
    now[0] = 11.0
    assert kept.find(a) is None and len(kept.entries) == 1


def test_asking_a_memory_hashes_once_and_asks_the_network_once():
    hashed, asked = [], []
    one, other = pictures(2)

    def counted(image):
        hashed.append(image)
        return memory.exact(image)

    def network(image):
        asked.append(image)
        return len(asked)

    kept = memory.Memory(counted, 2)
    assert [kept.ask(image, network) for image in (one, other, one, other)] == [1, 2, 1, 2]
    assert len(hashed) == 4 and len(asked) == 2


def test_resizing_keeps_the_mean():
    picture = pictures(1)[0][0].astype(float)
    assert memory.resized(picture, 7, 4).mean() == pytest.approx(picture.mean())
    np.testing.assert_allclose(memory.resized(picture, 28, 28), picture)


def test_a_memory_that_holds_nothing_is_refused():
    for limit, age in ((0, 1.0), (5, 0.0)):
        with pytest.raises(EdgeError):
            memory.Memory(memory.exact, limit, age)
    with pytest.raises(EdgeError, match="images"):
        memory.dhash(np.zeros((3, 3)))
