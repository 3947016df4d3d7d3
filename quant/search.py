"""Choose one value for each gene so that a score is highest within a budget: by evolution, or greedily by sensitivity.

A genome has one value for each gene. The values of a gene stand in ascending order of cost. Both searches know nothing
of networks: genes may be bit widths of layers (`quant.mixed`), and the score a measurement or a predictor.

The evolution is that of EQ-Net (Xu et al., ICCV 2023): the best quarter are parents, half of the children are mutated
parents (each gene with probability 0.1), the rest are crossed from two, and all stay in a window below the budget.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quant.errors import QuantError

Genome = tuple[int, ...]
Space = tuple[tuple[int, ...], ...]
Score = Callable[[Genome], float]

PARENTS, MUTATED, RATE = 0.25, 0.5, 0.1
#: How often a child that is known already is drawn again.
ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """The best genome, its score and cost, how many genomes were scored, and the best score of every generation.

    `pool` is the last generation, best first.
    """

    genome: Genome
    score: float
    cost: float
    evaluations: int
    history: tuple[float, ...]
    pool: tuple[Genome, ...]


def evolve(
    space: Space,
    score: Score,
    cost: Score,
    budget: float,
    *,
    population: int = 32,
    generations: int = 30,
    seed: int = 0,
    window: float = 0.1,
    first: Sequence[Genome] = (),
) -> Found:
    """Search by evolution.

    Args:
        space: the values of each gene, ascending in cost.
        score: what is to be highest; called once for each genome.
        cost: what must not exceed `budget`; must not fall when a gene takes a later value.
        budget: the limit.
        population: genomes of a generation.
        generations: after the first one.
        seed: same seed, same result.
        window: genomes cost at least `budget * (1 - window)`, where the space allows; cheaper ones are raised.
        first: genomes of the first generation; the others are random. Those over the budget are lowered.

    Raises:
        QuantError: even the cheapest genome exceeds the budget.
    """
    check_budget(space, cost, budget)
    rng, known = random.Random(seed), _Known(score)
    limits = (budget * (1 - window), budget)
    pool = [_fitted(space, cost, limits, genome, rng) for genome in first][:population]
    while len(pool) < population:
        pool.append(_fresh(space, cost, limits, known, rng, lambda: tuple(rng.choice(values) for values in space)))
    history = []
    for generation in range(generations + 1):
        pool = sorted(dict.fromkeys(pool), key=known.score, reverse=True)[:population]
        history.append(known.score(pool[0]))
        if generation < generations:
            pool += _children(space, cost, limits, pool, population, known, rng)
    return Found(pool[0], known.score(pool[0]), cost(pool[0]), known.count, tuple(history), tuple(pool))


def greedy(space: Space, score: Score, cost: Score, budget: float) -> Found:
    """Search by single-gene sensitivity: the baseline that takes all losses to be independent.

    Each gene is lowered alone from the most expensive genome and the loss of score noted. Then the step with the least
    loss for each unit of cost it saves is taken, until the budget is met.

    Args:
        space: the values of each gene, ascending in cost.
        score: what is to be highest.
        cost: what must not exceed `budget`.
        budget: the limit.

    Raises:
        QuantError: even the cheapest genome exceeds the budget.
    """
    check_budget(space, cost, budget)
    known, top = _Known(score), tuple(values[-1] for values in space)
    losses = [
        [known.score(top) - known.score(_with(top, gene, value)) for value in values]
        for gene, values in enumerate(space)
    ]
    levels = [len(values) - 1 for values in space]
    genome = top
    while cost(genome) > budget:
        gene, level = _best_step(space, cost, losses, levels, genome)
        levels[gene], genome = level, _with(genome, gene, space[gene][level])
    return Found(genome, known.score(genome), cost(genome), known.count, (known.score(genome),), (genome,))


def fitting(
    space: Space, cost: Score, budget: float, count: int, rng: random.Random, window: float = 0.1
) -> list[Genome]:
    """Draw random genomes that cost between `budget * (1 - window)`, where the space allows, and `budget`."""
    limits = (budget * (1 - window), budget)
    return [_fitted(space, cost, limits, tuple(rng.choice(v) for v in space), rng) for _ in range(count)]


def check_budget(space: Space, cost: Score, budget: float) -> None:
    """Raise QuantError when no genome meets the budget."""
    least = cost(tuple(values[0] for values in space))
    if least > budget:
        raise QuantError(
            f"the cheapest choice costs {least:g}, more than the budget of {budget:g}; allow more, or fewer bits."
        )


class _Known:
    """Scores every genome once."""

    def __init__(self, score: Score):
        self._score = score
        self._scores: dict[Genome, float] = {}

    def __contains__(self, genome: Genome) -> bool:
        return genome in self._scores

    @property
    def count(self) -> int:
        return len(self._scores)

    def score(self, genome: Genome) -> float:
        if genome not in self._scores:
            self._scores[genome] = self._score(genome)
        return self._scores[genome]


def _with(genome: Genome, gene: int, value: int) -> Genome:
    return (*genome[:gene], value, *genome[gene + 1 :])


def _best_step(
    space: Space, cost: Score, losses: list[list[float]], levels: list[int], genome: Genome
) -> tuple[int, int]:
    """Return the gene and its new level that lose least for what they save."""
    here, steps = cost(genome), []
    for gene, level in enumerate(levels):
        for lower in range(level):
            saved = here - cost(_with(genome, gene, space[gene][lower]))
            if saved > 0:
                steps.append(((losses[gene][lower] - losses[gene][level]) / saved, gene, lower))
    _, gene, lower = min(steps)
    return gene, lower


def _children(
    space: Space,
    cost: Score,
    limits: tuple[float, float],
    pool: Sequence[Genome],
    count: int,
    known: _Known,
    rng: random.Random,
) -> list[Genome]:
    parents = pool[: max(2, round(PARENTS * len(pool)))]
    mutated = round(MUTATED * count)

    def mutate() -> Genome:
        parent = rng.choice(parents)
        return tuple(
            rng.choice(values) if rng.random() < RATE else gene for gene, values in zip(parent, space, strict=True)
        )

    def cross() -> Genome:
        one, other = rng.choice(parents), rng.choice(parents)
        return tuple(rng.choice(pair) for pair in zip(one, other, strict=True))

    return [_fresh(space, cost, limits, known, rng, mutate if k < mutated else cross) for k in range(count)]


def _fresh(
    space: Space,
    cost: Score,
    limits: tuple[float, float],
    known: _Known,
    rng: random.Random,
    draw: Callable[[], Genome],
) -> Genome:
    """Draw a genome inside the limits, if possible one that was not scored before."""
    genome = _fitted(space, cost, limits, draw(), rng)
    for _ in range(ATTEMPTS):
        if genome not in known:
            break
        genome = _fitted(space, cost, limits, draw(), rng)
    return genome


def _fitted(space: Space, cost: Score, limits: tuple[float, float], genome: Genome, rng: random.Random) -> Genome:
    """Lower random genes step by step until the budget is met, then raise random ones into the window."""
    levels = [values.index(gene) for gene, values in zip(genome, space, strict=True)]
    while cost(genome) > limits[1]:
        gene = rng.choice([gene for gene, level in enumerate(levels) if level > 0])
        levels[gene] -= 1
        genome = _with(genome, gene, space[gene][levels[gene]])
    order = [gene for gene, values in enumerate(space) for _ in range(len(values) - 1 - levels[gene])]
    rng.shuffle(order)
    for gene in order:
        if cost(genome) >= limits[0]:
            break
        raised = _with(genome, gene, space[gene][levels[gene] + 1])
        if cost(raised) <= limits[1]:
            genome = raised
            levels[gene] += 1
    return genome
