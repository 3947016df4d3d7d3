"""The rule after a part: a score of its output, a threshold, and what happens. Plain data; `export.decide` applies it.

    answer   the part's output is the answer where the score is at least the threshold; else the next part runs
    drop     the frame is empty where the score is below the threshold: nothing runs or is sent any more

Every score is higher where the part is surer. Probabilities are softmax(logits / temperature).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from export import strict_json
from export.errors import ExportError

#: max_probability: the largest one. difference: between the two largest. entropy: 1 - H / ln(classes).
#: max_logit: the largest logit, without softmax.
SCORES = ("max_probability", "difference", "entropy", "max_logit")
ACTIONS = ("answer", "drop")
#: How the last part of a cascade is combined with the asked parts before it: its own answer, or the surer one's.
COMBINATIONS = ("last", "surer")
#: Scores between 0 and 1 are compared in steps of 2^-16, so that a device can do it in integers.
STEPS = 1 << 16
_BOUNDED = ("max_probability", "difference", "entropy")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; see the module.

    Attributes:
        score: one of SCORES.
        threshold: what the score is compared with; for scores between 0 and 1 a multiple of 2^-16.
        temperature: divides logits before softmax; above 0.
        action: one of ACTIONS.
    """

    score: str
    threshold: float
    temperature: float = 1.0
    action: str = "answer"

    def __post_init__(self) -> None:
        """Refuse names that are unknown and numbers that decide nothing."""
        for name, value, known in (("score", self.score, SCORES), ("action", self.action, ACTIONS)):
            if value not in known:
                raise ExportError(f"rule: {name} '{value}' is unknown; known are {', '.join(known)}.")
        if not math.isfinite(self.threshold):
            raise ExportError(f"rule: the threshold is {self.threshold}; it must be a finite number.")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ExportError(f"rule: the temperature is {self.temperature}; it must be above 0.")
        if self.score in _BOUNDED and not (self.threshold * STEPS).is_integer():
            raise ExportError(
                f"rule: {self.score} is compared in steps of 2^-16; {self.threshold} is none. Make rules with `rule`."
            )

    @property
    def steps(self) -> int:
        """The threshold of a score between 0 and 1 as an integer, in steps of 2^-16."""
        return int(self.threshold * STEPS)


def rule(score: str, threshold: float, *, temperature: float = 1.0, action: str = "answer") -> Rule:
    """Return a rule whose threshold is rounded up to the next step, so that nothing passes that the caller refused.

    -inf and inf mean always and never; they become thresholds beyond every score.

    Raises:
        ExportError: a name is unknown or a number decides nothing.
    """
    if score in _BOUNDED:
        bounded = min(max(threshold, -1.0), 2.0)
        threshold = math.ceil(bounded * STEPS) / STEPS if not math.isnan(bounded) else bounded
    elif math.isinf(threshold):
        threshold = math.copysign(float(1 << 100), threshold)
    return Rule(score, threshold, temperature, action)


def to_record(found: Rule) -> dict[str, object]:
    """Return the object that a manifest holds."""
    return {field.name: getattr(found, field.name) for field in fields(Rule)}


def from_record(value: object, where: str) -> Rule:
    """Read what `to_record` made.

    Raises:
        ExportError: naming the key: missing, unknown or of a wrong type.
    """
    body = strict_json.fields(value, tuple(field.name for field in fields(Rule)), where)
    return Rule(
        score=strict_json.typed(body["score"], str, f"{where}.score"),
        threshold=strict_json.typed(body["threshold"], float, f"{where}.threshold"),
        temperature=strict_json.typed(body["temperature"], float, f"{where}.temperature"),
        action=strict_json.typed(body["action"], str, f"{where}.action"),
    )
