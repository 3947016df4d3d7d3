"""Name what a quantised network lost, in which layer, why, and the cheapest cure, tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from quant.diagnosis.causes import CAUSES, FALLBACKS
from quant.diagnosis.cures import CURES, Cure, Plan, carry_out, silenced
from quant.diagnosis.damage import compare_outputs, measure
from quant.diagnosis.equalised import scaled_alike
from quant.diagnosis.facts import MATTERS, Facts, facts_of, is_healthy
from quant.diagnosis.finding import Cause, Finding
from quant.diagnosis.foreign import scheme_of
from quant.diagnosis.inputs import drift_of
from quant.diagnosis.pair import Pair, match_graphs
from quant.diagnosis.record import Diagnosis, Row, Score, Trial, score_of
from quant.diagnosis.summary import summarise
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph
from quant.ptq import prepare
from quant.ranges import check_calibration
from quant.scheme import Scheme
from quant.simulate import simulate

#: A cure helps when the logits gain at least this much.
HELPS_DB = 0.5
#: A gain is infinite when there was no signal before or no noise after; it is stated as this.
MOST_DB = 999.0
#: The name of all cures that helped, tried together.
TOGETHER = "all of these together"

#: Called with what is done now, steps done, and steps in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled inputs that calibration has not seen: float32 [N, ...] and labels [N]."""

    inputs: Array
    labels: Array


def diagnose(
    graph: Graph, scheme: Scheme, inputs: Array, test: Labelled | None = None, progress: Progress | None = None
) -> Diagnosis:
    """Quantise a float graph by a scheme and say what is wrong with the result.

    Args:
        graph: a float graph, as imported: batch norms that are still there tell what data it expects.
        scheme: formats and ranges.
        inputs: calibration inputs, float32 [N, ...]; what is measured is measured on them.
        test: labelled inputs for accuracies.
        progress: called after every step.

    Raises:
        QuantError: the graph or the data do not fit.
    """
    prepared = prepare(graph)
    checked = check_calibration(prepared, inputs)
    plan = Plan(prepared, scheme, checked)
    return _diagnose(graph, carry_out(plan), plan, test, progress)


def diagnose_quantised(
    quantised: Graph, graph: Graph, inputs: Array, test: Labelled | None = None, progress: Progress | None = None
) -> Diagnosis:
    """Say what is wrong with a graph that was quantised elsewhere, against the float graph it was made from.

    Cures quantise the float graph again, by the scheme that the quantised one follows most closely.

    Raises:
        QuantError: the data do not fit, or the graphs are not of one network.
    """
    prepared = prepare(graph)
    checked = check_calibration(prepared, inputs)
    scheme = scheme_of(match_graphs(prepared, quantised))
    return _diagnose(graph, quantised, Plan(prepared, scheme, checked, foreign=True), test, progress)


def _diagnose(raw: Graph, quantised: Graph, plan: Plan, test: Labelled | None, progress: Progress | None) -> Diagnosis:
    say = progress or (lambda what, done, steps: None)
    pair, equalised = _paired(plan, quantised)
    measured = measure(pair, plan.inputs, lambda done, steps: say("layers", done, steps))
    healthy = is_healthy(measured.total)
    rows = _rows(facts_of(pair, measured, raw, drift_of(raw, plan.inputs)), healthy)
    score = score_of(measured.total, _accuracy(quantised, test))
    trials = _try_cures(rows, plan, score, test, say)
    return Diagnosis(
        network=plan.graph.name,
        scheme=str(plan.scheme),
        images=len(plan.inputs),
        score=score,
        healthy=healthy,
        rows=rows,
        trials=trials,
        unmatched=pair.unmatched,
        equalised=equalised,
        float_accuracy=_accuracy(plan.graph, test),
        test_images=len(test.labels) if test else 0,
        summary=summarise(rows, trials, score, healthy, len(plan.inputs)),
    )


def _paired(plan: Plan, quantised: Graph) -> tuple[Pair, tuple[str, ...]]:
    """Match the graphs; where another tool scaled channels between layers, the float graph follows."""
    pair = match_graphs(plan.graph, quantised)
    return scaled_alike(pair) if plan.foreign else (pair, ())


def _rows(facts: Iterable[Facts], healthy: bool) -> tuple[Row, ...]:
    rows = (Row(layer, find_causes(layer, healthy)) for layer in facts)
    return tuple(sorted(rows, key=lambda row: -row.facts.share))


def find_causes(facts: Facts, healthy: bool) -> tuple[Finding, ...]:
    """Return the causes in one layer: those whose part matters for the logits, else that bits are too few."""
    asked = [cause for cause in CAUSES if cause.always or (not healthy and _matters(facts, cause))]
    found = [finding for cause in asked if (finding := _finding(facts, cause)) is not None]
    if any(finding.cause == "other_weights" for finding in found):
        # What else is odd about them says nothing about rounding.
        found = [f for f in found if f.part != "weights" or f.cause == "other_weights"]
    known = {part for finding in found for part in (finding.part, *_covered(finding))}
    missing = [c for c in FALLBACKS if not healthy and c.part not in known and _matters(facts, c)]
    return (*found, *(finding for c in missing if (finding := _finding(facts, c)) is not None))


def _covered(finding: Finding) -> tuple[str, ...]:
    return {"layer": ("weights", "activation"), "input": ("activation",)}.get(finding.part, ())


def _matters(facts: Facts, cause: Cause) -> bool:
    shares = {"weights": facts.weights_share, "activation": facts.activation_share, "layer": facts.share}
    return shares.get(cause.part, 1.0) >= MATTERS


def _finding(facts: Facts, cause: Cause) -> Finding | None:
    evidence = cause.find(facts)
    if evidence is None:
        return None
    return Finding(facts.name, cause.name, cause.part, evidence.text, evidence.numbers, cause.advice, evidence.bits)


def _accuracy(graph: Graph, test: Labelled | None) -> float | None:
    if test is None:
        return None
    labels = simulate(graph, test.inputs).reshape(len(test.labels), -1).argmax(axis=1)
    return float((labels == test.labels).mean())


def _try_cures(
    rows: tuple[Row, ...], plan: Plan, before: Score, test: Labelled | None, say: Progress
) -> tuple[Trial, ...]:
    """Try, for every cause found, its cures from the cheapest on until one helps; then all that helped together."""
    causes = list(dict.fromkeys(finding.cause for row in rows for finding in row.findings))
    judge = _Judge(plan.graph, simulate(plan.graph, plan.inputs), before, test)
    trials: list[Trial] = []
    everything = plan
    for index, cause in enumerate(causes):
        layers = tuple(row.facts.name for row in rows if any(f.cause == cause for f in row.findings))
        for cure in (c for c in CURES if cause in c.causes):
            say(f"cure: {cure.name}", index, len(causes))
            changed = _changed(cure, replace(plan, layers=layers))
            if changed is None:
                continue
            trials.append(_known(changed, trials, cure, cause) or _try(changed, cure.name, cause, cure.price, judge))
            if trials[-1].helped:
                everything = _changed(cure, replace(everything, layers=layers)) or everything
                break
    if len({trial.cure for trial in trials if trial.helped}) > 1:
        say("cure: all together", len(causes), len(causes))
        trials.append(_try(everything, TOGETHER, "all", "all of these", judge))
    return tuple(trials)


def _changed(cure: Cure, plan: Plan) -> Plan | None:
    try:
        return cure.change(plan)
    except QuantError:
        return None


def _known(plan: Plan, trials: Iterable[Trial], cure: Cure, cause: str) -> Trial | None:
    """Return the trial of the same cure and scheme for another cause."""
    same = (t for t in trials if (t.cure, t.scheme, t.passes) == (cure.name, str(plan.scheme), str(plan.method)))
    found = next((t for t in same if plan.layers == t.layers or cure.change is not silenced), None)
    return None if found is None else replace(found, cause=cause, layers=plan.layers)


@dataclass(frozen=True, eq=False)
class _Judge:
    """What a cured network is compared with: float network, its outputs, the score without cure, labelled data."""

    graph: Graph
    wanted: Array
    before: Score
    test: Labelled | None


def _try(plan: Plan, name: str, cause: str, price: str, judge: _Judge) -> Trial:
    begin = (name, cause, plan.layers, price, str(plan.scheme), str(plan.method), plan.graph is not judge.graph)
    try:
        cured = carry_out(plan)
    except QuantError as error:
        return Trial(*begin, None, None, False, str(error))
    after = compare_outputs(judge.wanted, simulate(cured, plan.inputs))
    gain = float(np.clip(after.error.sqnr_db - judge.before.sqnr_db, -MOST_DB, MOST_DB))
    return Trial(*begin, score_of(after, _accuracy(cured, judge.test)), gain, gain >= HELPS_DB)
