"""Search: the optimum of small spaces, the budget kept, greed where greed is right, and evolution where it is not."""

from __future__ import annotations

import itertools
import random

import pytest

from quant.errors import QuantError
from quant.search import evolve, fitting, greedy

SPACE = ((0, 1, 2, 3),) * 6
SIZES = (7.0, 1.0, 3.0, 5.0, 2.0, 4.0)


def cost(genome):
    return sum(size * (2 + gene) for size, gene in zip(SIZES, genome, strict=True))


def additive(genome):
    """Each gene alone; convex, so that small steps lose little."""
    return -sum(weight * (3 - gene) ** 2 for weight, gene in zip((9, 1, 4, 2, 6, 1), genome, strict=True))


def paired(genome):
    """Genes help only two by two: lowering one of a pair makes the other worthless."""
    return sum(float(min(a, b) ** 2 - abs(a - b)) for a, b in itertools.pairwise(genome))


def best_of_all(score, budget):
    return max(score(genome) for genome in itertools.product(*SPACE) if cost(genome) <= budget)


@pytest.mark.parametrize("score", [additive, paired], ids=["additive", "paired"])
@pytest.mark.parametrize("budget", [50.0, 70.0, 95.0])
def test_evolution_finds_the_optimum_of_a_small_space(score, budget):
    found = evolve(SPACE, score, cost, budget, population=40, generations=60, window=0.3)
    assert found.score == best_of_all(score, budget) == score(found.genome)
    assert found.cost == cost(found.genome) <= budget
    assert list(found.history) == sorted(found.history)
    assert found.evaluations < 4**6


def test_evolution_beats_greed_where_genes_depend_on_each_other():
    by_greed, evolved = greedy(SPACE, paired, cost, 62.0), evolve(SPACE, paired, cost, 62.0, window=0.3)
    assert by_greed.cost <= 62.0
    assert by_greed.score < evolved.score == best_of_all(paired, 62.0)


@pytest.mark.parametrize("budget", [50.0, 70.0, 95.0, 200.0])
def test_greed_is_near_the_optimum_where_losses_add_up(budget):
    found = greedy(SPACE, additive, cost, budget)
    assert found.cost <= budget
    assert found.evaluations <= 1 + 6 * 3 + 1
    assert found.score >= best_of_all(additive, budget) - 8


def test_greed_leaves_what_fits_alone():
    assert greedy(SPACE, additive, cost, 1e9).genome == (3,) * 6


def test_a_seed_repeats_and_another_differs():
    runs = [evolve(SPACE, paired, cost, 62.0, population=6, generations=2, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].evaluations != runs[2].evaluations or runs[0].history != runs[2].history


def test_every_scored_genome_is_inside_the_window_and_scored_once():
    seen = []

    def score(genome):
        seen.append(genome)
        return paired(genome)

    evolve(SPACE, score, cost, 80.0, population=16, generations=10, window=0.1, first=[(0,) * 6, (3,) * 6])
    assert len(seen) == len(set(seen)) > 30
    assert all(72.0 <= cost(genome) <= 80.0 for genome in seen)


def test_random_genomes_differ_and_fit():
    drawn = fitting(SPACE, cost, 70.0, 50, random.Random(0))
    assert all(63.0 <= cost(genome) <= 70.0 for genome in drawn)
    assert len(set(drawn)) > 25


def test_a_space_of_one_genome():
    assert evolve(((2,), (1,)), sum, sum, 3.0, population=4, generations=2).genome == (2, 1)


@pytest.mark.parametrize("find", [evolve, greedy])
def test_a_budget_that_nothing_meets_is_refused_with_both_numbers(find):
    with pytest.raises(QuantError, match=r"44.*budget of 43"):
        find(SPACE, additive, cost, 43.0)
