"""The one sentence a diagnosis ends in."""

from __future__ import annotations

import math
from collections.abc import Sequence

from quant.diagnosis.causes import CAUSES, FALLBACKS
from quant.diagnosis.finding import Finding
from quant.diagnosis.record import Row, Score, Trial


def title_of(cause: str) -> str:
    """Return the words for a cause."""
    if cause == "all":
        return "all causes"
    return next(c.title for c in (*CAUSES, *FALLBACKS) if c.name == cause)


def decibels(value: float) -> str:
    """Print an SQNR; without any error it is infinite."""
    return f"{value:.1f} dB" if math.isfinite(value) else "no error"


def summarise(rows: Sequence[Row], trials: Sequence[Trial], score: Score, healthy: bool, images: int) -> str:
    """Return what was found, where, why, and what helps."""
    state = f"{decibels(score.sqnr_db)} at the logits, {score.agreement:.1%} of the labels of {images} images unchanged"
    findings = [(row, finding) for row in rows for finding in row.findings]
    if not findings:
        return f"Nothing is wrong: {state}."
    row, finding = max(findings, key=lambda pair: (pair[1].part == "input", pair[0].facts.share))
    begin = "Quantisation does no harm" if healthy else "Quantisation does harm"
    where = f"'{row.facts.name}'"
    if finding.part != "input":
        where = f"{row.facts.share:.0%} of the noise comes from {where}"
    return f"{begin} ({state}). {where}: {title_of(finding.cause)}; {finding.evidence}. {_helps(trials, finding)}"


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the cure that gained most; None when none helped."""
    helped = [trial for trial in trials if trial.helped and trial.score is not None]
    return max(helped, key=lambda trial: trial.gain_db or 0.0, default=None)


def _helps(trials: Sequence[Trial], finding: Finding) -> str:
    best = best_of(trials)
    if best is None or best.score is None:
        return f"{'No cure that was tried helps. ' if trials else ''}{finding.advice}"
    return f"What helps most: {best.cure}, {best.gain_db:+.1f} dB, {best.score.agreement:.1%} of the labels unchanged."
