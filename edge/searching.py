"""Formats for every layer within a budget: evolution on a predictor beside greedy sensitivity and uniform formats.

Networks are scored on calibration images, by the divergence of their labels' probabilities from the float network's;
test images only say, at the end, what the choices are worth.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from devices.run_record import Accuracy
from edge import evaluate
from edge.calibration import calibration_inputs
from edge.dataset import Dataset
from edge.evaluate import compare_labels
from edge.sweep_cell import is_exact
from quant.cost import Cost, Summary, summary
from quant.formats import Array, Format
from quant.graph import Graph
from quant.luts import XCUP, Family
from quant.method import Method
from quant.mixed import cost_of, mixed, scheme_of, uniform
from quant.predictor import Predictor, fit, kendall_tau, one_hot
from quant.ptq import prepare
from quant.ranges import check_calibration
from quant.scheme import Scheme
from quant.search import Genome, check_budget, evolve, fitting, greedy
from quant.simulate import simulate
from quant.workshop import Workshop

#: Budgets a person may give, and the cost each limits.
BUDGETS: Mapping[str, Callable[[Cost], float]] = {
    "bytes": lambda found: float(found.parameter_bytes),
    "luts": lambda found: found.luts_per_mac,
    "bops": lambda found: float(found.bit_operations),
}
#: Share of the samples that the predictor does not see and is judged by.
HELD_OUT = 0.2
#: Divergences below this are rounding errors of float32.
LEAST = 1e-7
#: How often the predictor learns anew from what the last evolution found; and the fewest samples it learns from.
ROUNDS, LEAST_SAMPLES = 5, 4

#: Called with what is done, and how far: (step, done, total).
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class SearchJob:
    """What to search: a float model and data, the formats to choose from, the limit, and how long to look.

    `budget` is of the kind `kind` (a key of BUDGETS); below a budget of bytes activations keep their most expensive
    format. `options` is a scheme whose options and rules hold for all. Half of the `samples` are random, the other half
    what evolution found so far.
    """

    graph: Graph
    dataset: Dataset
    weights: tuple[Format, ...]
    activations: tuple[Format, ...]
    options: Scheme
    method: Method
    kind: str
    budget: float
    samples: int = 160
    population: int = 48
    generations: int = 40
    count: int = 256
    seed: int = 0
    family: Family = XCUP


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of formats: how it was found, its scheme, costs, score and accuracy on the test images.

    `divergence` is the mean Kullback-Leibler divergence from the float network on the calibration images, in nats.
    `exact` says whether the integer reference takes it.
    """

    found_by: str
    scheme: str
    spent: float
    cost: Summary
    divergence: float
    exact: bool
    accuracy: Accuracy


@dataclass(frozen=True, slots=True)
class SearchResult:
    """All choices within the budget; Kendall's tau is the predictor's on networks it had not seen."""

    kind: str
    budget: float
    measured: int
    tau: float | None
    choices: tuple[Choice, ...]


class Meter:
    """Measures genomes of one job, each once."""

    def __init__(self, job: SearchJob):
        """Prepare the network, its inputs, and the float network's probabilities."""
        graph = prepare(job.graph)
        self.job, self.space = job, mixed(graph, job.options, job.weights, job.activations)
        if job.kind == "bytes":
            # Activations take no bytes of weights: there is nothing to choose, the most expensive is best.
            self.space = mixed(graph, job.options, job.weights, self.space.activations[-1:])
        self.inputs = check_calibration(graph, calibration_inputs(graph, job.dataset, job.count, job.seed))
        self.workshop = Workshop(graph, self.inputs)
        self.float_logits = _log_softmax(simulate(graph, self.inputs))
        self.divergences: dict[Genome, float] = {}
        self._spent: dict[Genome, float] = {}

    def cost(self, genome: Genome) -> Cost:
        """Return what a genome costs."""
        return cost_of(self.space, genome, self.job.family)

    def spent(self, genome: Genome) -> float:
        """Return what a genome takes of the budget."""
        if genome not in self._spent:
            self._spent[genome] = BUDGETS[self.job.kind](self.cost(genome))
        return self._spent[genome]

    def quantised(self, genome: Genome) -> Graph:
        """Return a genome's network."""
        return self.workshop.quantised(scheme_of(self.space, genome), self.job.method)

    def divergence(self, genome: Genome) -> float:
        """Return the mean KL divergence of a genome's label probabilities from the float network's."""
        if genome not in self.divergences:
            with torch.inference_mode():
                logits = _log_softmax(simulate(self.quantised(genome), self.inputs))
            each = (np.exp(self.float_logits) * (self.float_logits - logits)).sum(axis=1)
            self.divergences[genome] = max(float(each.mean()), LEAST)
        return self.divergences[genome]


def _log_softmax(outputs: Array) -> Array:
    logits = outputs.reshape(len(outputs), -1).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    result: Array = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return result


def search(job: SearchJob, tell: Tell = lambda step, done, total: None) -> SearchResult:
    """Search, and measure what was found beside all uniform choices that meet the budget.

    Raises:
        QuantError: no choice meets the budget, or the model cannot be quantised.
        EdgeError: data and model do not fit.
    """
    evaluate.check_classes(job.graph, job.dataset)
    meter = Meter(job)
    check_budget(meter.space.space, meter.spent, job.budget)
    even = [genome for genome in uniform(meter.space) if meter.spent(genome) <= job.budget]
    by_greed = _greedy(meter, tell)
    evolved, tau = _evolution(meter, even, tell)
    measured = len(meter.divergences)
    named = [("evolution", evolved), ("greedy", by_greed), *(("same for all", genome) for genome in even)]
    truth = job.dataset.y_test
    test = evaluate.inputs_of(meter.workshop.graph, job.dataset, job.dataset.x_test)
    float_guess = simulate(meter.workshop.graph, test).reshape(len(test), -1).argmax(axis=1)
    choices = []
    for index, (name, genome) in enumerate(named):
        tell("test images", index, len(named))
        choices.append(_choice(meter, name, genome, test, truth, float_guess))
    return SearchResult(job.kind, job.budget, measured, tau, tuple(choices))


def _greedy(meter: Meter, tell: Tell) -> Genome:
    total = 1 + sum(len(values) - 1 for values in meter.space.space)

    def score(genome: Genome) -> float:
        tell("greedy sensitivity", min(len(meter.divergences), total), total)
        return -meter.divergence(genome)

    return greedy(meter.space.space, score, meter.spent, meter.job.budget).genome


def _evolution(meter: Meter, even: Sequence[Genome], tell: Tell) -> tuple[Genome, float | None]:
    """Measure random samples, then evolve on a predictor of what was measured, measure the best, and so on.

    Returns:
        The best genome that was measured here (what the greedy search found is not looked at), and Kendall's tau of
        the first predictor on samples it had not seen.
    """
    job, space = meter.job, meter.space.space
    drawn = fitting(space, meter.spent, job.budget, max(2, job.samples // 2), random.Random(job.seed))
    known = list(dict.fromkeys(drawn))
    tau = _tau(meter, known)
    known = list(dict.fromkeys([*known, *even]))
    each = max(1, job.samples // (2 * ROUNDS))
    for index in range(ROUNDS):
        for done, genome in enumerate(known):
            tell("samples and evolution", done, job.samples + len(even))
            meter.divergence(genome)
        if len(known) < LEAST_SAMPLES:
            break
        predictor = _taught(meter, known)
        found = evolve(
            space,
            lambda genome, ask=predictor: float(ask(one_hot([genome], space))[0]),  # type: ignore[misc]
            meter.spent,
            job.budget,
            population=job.population,
            generations=job.generations,
            seed=job.seed + index,
            first=sorted(known, key=meter.divergence)[: job.population // 4],
        )
        known += [genome for genome in found.pool if genome not in known][:each]
    return min(known, key=meter.divergence), tau


def _taught(meter: Meter, genomes: Sequence[Genome]) -> Predictor:
    scores = np.array([-np.log10(meter.divergence(genome)) for genome in genomes])
    return fit(one_hot(genomes, meter.space.space), scores, seed=meter.job.seed)


def _tau(meter: Meter, samples: Sequence[Genome]) -> float | None:
    """Return Kendall's tau of a predictor on samples it has not seen; None where there are too few to tell."""
    held = round(HELD_OUT * len(samples))
    wanted = np.array([-meter.divergence(genome) for genome in samples[:held]])
    if held < LEAST_SAMPLES or len(samples) - held < LEAST_SAMPLES or len(set(wanted)) < 2:
        return None
    predictor = _taught(meter, samples[held:])
    guessed = predictor(one_hot(samples[:held], meter.space.space))
    return kendall_tau(guessed, wanted) if len(set(guessed)) > 1 else None


def _choice(meter: Meter, name: str, genome: Genome, test: Array, truth: Array, float_guess: Array) -> Choice:
    quantised = meter.quantised(genome)
    with torch.inference_mode():
        guess = simulate(quantised, test).reshape(len(test), -1).argmax(axis=1)
    return Choice(
        found_by=name,
        scheme=str(scheme_of(meter.space, genome)),
        spent=meter.spent(genome),
        cost=summary(meter.cost(genome)),
        divergence=meter.divergence(genome),
        exact=is_exact(quantised),
        accuracy=compare_labels(truth, float_guess, guess),
    )
