"""Early exits in a network's own output codes: temperature, thresholds for wanted shares, and the choice of shares.

All of it is done on validation inputs that trained nothing, and with the quantised network's own logits: thresholds of
the float network let other inputs through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.errors import EdgeError
from edge.gates.exits import ExitFigures, exit_figures, exit_of, exit_thresholds, geometric_shares
from edge.gates.temperature import fit_temperature
from export.decide import decider, scores
from export.manifest import TensorSpec
from export.rule import STEPS, Rule, rule
from quant.formats import Array, FloatArray, IntArray, find_format

#: Dynamic Perceiver's 33 settings: shares proportional to q^k.
RATIOS = tuple(k / 20 for k in range(4, 21)) + tuple(20 / k for k in range(19, 3, -1))


@dataclass(frozen=True, eq=False)
class ExitOutputs:
    """What the exits of a network gave for some inputs, the last exit last.

    Attributes:
        codes: [N, classes] of every exit.
        specs: shape, format, scale and zero point of each exit's output.
        macs: multiply-accumulates up to and with each exit, one leaving there.
    """

    codes: tuple[Array, ...]
    specs: tuple[TensorSpec, ...]
    macs: tuple[int, ...]

    def logits(self) -> tuple[FloatArray, ...]:
        """Return the real values of the codes, [N, classes] each."""
        return tuple(_real(spec, codes) for spec, codes in zip(self.specs, self.codes, strict=True))

    def labels(self) -> tuple[IntArray, ...]:
        """Return the label that each exit would answer; the first of equal ones, as the rules' definition has it."""
        pairs = zip(self.specs, self.codes, strict=True)
        return tuple(find_format(s.format).to_ordinals(c).argmax(axis=1) for s, c in pairs)


def _real(spec: TensorSpec, codes: Array) -> FloatArray:
    fmt = find_format(spec.format)
    return np.asarray((fmt.to_units(codes) - spec.zero) * spec.scale * fmt.unit, np.float64)


def temperatures(validation: ExitOutputs, labels: Array) -> tuple[float, ...]:
    """Return the fitted temperature of every exit."""
    return tuple(fit_temperature(logits, labels) for logits in validation.logits())


def exit_scores(outputs: ExitOutputs, rules: Sequence[Rule]) -> tuple[FloatArray, ...]:
    """Return the scores of each exit's outputs, in the steps that decisions are made in."""
    found = []
    for spec, codes, one in zip(outputs.specs, outputs.codes, rules, strict=True):
        values = scores(decider(one, spec), codes)
        found.append(values if one.score == "max_logit" else np.floor(values * STEPS) / STEPS)
    return tuple(found)


def rules_for(validation: ExitOutputs, shares: Sequence[float], score: str, heat: Sequence[float]) -> tuple[Rule, ...]:
    """Return a rule per exit that lets the wanted shares of the validation inputs leave; the last one always answers.

    Args:
        validation: outputs for validation inputs.
        shares: wanted at each exit, adding up to 1.
        score: one of `export.rule.SCORES`.
        heat: temperature of each exit, as `temperatures` gives them.
    """
    open_rules = [rule(score, 0.0, temperature=t) for t in heat]
    thresholds = exit_thresholds(exit_scores(validation, open_rules), shares)
    return tuple(rule(score, at, temperature=t) for at, t in zip(thresholds, heat, strict=True))


def figures(outputs: ExitOutputs, rules: Sequence[Rule], labels: Array) -> ExitFigures:
    """Return shares, accuracy and expected multiply-accumulates of a network whose exits follow these rules."""
    return exit_figures(exits_taken(outputs, rules), outputs.labels(), labels, outputs.macs)


def exits_taken(outputs: ExitOutputs, rules: Sequence[Rule]) -> IntArray:
    """Return the exit that answers every input, int64 [N]."""
    return exit_of(exit_scores(outputs, rules), [one.threshold for one in rules])


@dataclass(frozen=True, slots=True)
class Setting:
    """Shares of a family, the rules they give, and what these do on the validation inputs."""

    shares: tuple[float, ...]
    rules: tuple[Rule, ...]
    validation: ExitFigures


def settings(
    validation: ExitOutputs, labels: Array, score: str, heat: Sequence[float], ratios: Sequence[float] = RATIOS
) -> tuple[Setting, ...]:
    """Return the family of geometric shares, each with its rules."""
    found = []
    for ratio in ratios:
        shares = geometric_shares(ratio, len(heat))
        rules = rules_for(validation, shares, score, heat)
        found.append(Setting(shares, rules, figures(validation, rules, labels)))
    return tuple(found)


def most_accurate(family: Sequence[Setting], most_macs: float) -> Setting:
    """Return the setting with the best validation accuracy among those of at most so many expected MACs.

    Raises:
        EdgeError: none costs so little.
    """
    fits = [one for one in family if one.validation.macs <= most_macs]
    if not fits:
        least = min(one.validation.macs for one in family)
        raise EdgeError(f"no setting costs at most {most_macs:,.0f} MACs; the least is {least:,.0f}.")
    return max(fits, key=lambda one: (one.validation.accuracy, -one.validation.macs))


def cheapest(family: Sequence[Setting], least_accuracy: float) -> Setting:
    """Return the setting of the fewest expected MACs among those that are at least so accurate on validation inputs.

    Raises:
        EdgeError: none is.
    """
    fits = [one for one in family if one.validation.accuracy >= least_accuracy]
    if not fits:
        best = max(one.validation.accuracy for one in family)
        raise EdgeError(f"no setting reaches an accuracy of {least_accuracy}; the most is {best:.4f}.")
    return min(fits, key=lambda one: (one.validation.macs, -one.validation.accuracy))
