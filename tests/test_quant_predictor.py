"""The accuracy predictor: learns an order it can be asked about, and its score is Kendall's tau as defined."""

import numpy as np
import pytest

from quant.errors import QuantError
from quant.predictor import fit, kendall_tau, one_hot

CHOICES = ((2, 3, 4, 8),) * 6


def test_features_have_one_one_per_choice():
    features = one_hot([(2, 3), (8, 2)], ((2, 8), (2, 3)))
    assert features.tolist() == [[1, 0, 0, 1], [0, 1, 1, 0]]
    assert features.dtype == np.float32
    assert one_hot([], CHOICES).shape == (0, 24)


def test_it_ranks_networks_it_has_not_seen():
    pytest.importorskip("torch", reason="the predictor trains with torch")
    rng = np.random.default_rng(0)
    genes = rng.choice(CHOICES[0], (240, 6))
    # What a layer loses falls with its bits; layers differ in how much they matter.
    accuracy = 0.9 - (rng.uniform(0.01, 0.2, 6) * 2.0**-genes).sum(axis=1)
    features = one_hot(genes.tolist(), CHOICES)
    predict = fit(features[:180], accuracy[:180])
    assert kendall_tau(predict(features[180:]), accuracy[180:]) > 0.8
    unrelated = fit(features[:180], rng.permutation(accuracy[:180]))
    assert abs(kendall_tau(unrelated(features[180:]), accuracy[180:])) < 0.4


def test_same_seed_same_predictor_whatever_random_numbers_others_draw():
    torch = pytest.importorskip("torch", reason="the predictor trains with torch")
    x, y = np.eye(8, dtype=np.float32), np.linspace(0, 1, 8)
    first = fit(x, y, seed=1, epochs=3)(x)
    state = torch.get_rng_state()
    second, other = fit(x, y, seed=1, epochs=3)(x), fit(x, y, seed=2, epochs=3)(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.tolist() == second.tolist() != other.tolist()


def test_tau_counts_pairs():
    assert kendall_tau(np.array([1, 2, 3]), np.array([10, 20, 30])) == 1
    assert kendall_tau(np.array([1, 2, 3]), np.array([3, 2, 1])) == -1
    # Two of three pairs in order, one reversed.
    assert kendall_tau(np.array([1, 2, 3]), np.array([1, 3, 2])) == pytest.approx(1 / 3)
    # One tie in the first: (c - d) / sqrt(2 * 3).
    assert kendall_tau(np.array([1, 1, 2]), np.array([1, 2, 3])) == pytest.approx(2 / 6**0.5)


def test_tau_is_scipys():
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(0, 9, 30), rng.integers(0, 9, 30)
        assert kendall_tau(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: one_hot([(2, 5)], ((2, 3), (2, 3))), "choice 1 is 5; allowed are 2, 3"),
        (lambda: one_hot([(2,)], ((2, 3), (2, 3))), "1 choices where 2"),
        (lambda: kendall_tau(np.ones(3), np.arange(3)), "two different values"),
        (lambda: kendall_tau(np.arange(2), np.arange(3)), "same things"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(QuantError, match=words):
        call()


def test_what_it_cannot_learn_from_is_refused():
    pytest.importorskip("torch", reason="the predictor trains with torch")
    for x, y in ((np.ones((1, 2)), np.ones(1)), (np.ones((3, 2)), np.ones(2)), (np.full((3, 2), np.nan), np.ones(3))):
        with pytest.raises(QuantError, match="at least two rows"):
            fit(x, y)
