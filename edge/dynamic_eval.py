"""What a bundle with rules does on data: who answers how often and how well, MACs, and other thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from devices.dynamic_record import PartFigures, Point, Sweep
from edge.errors import EdgeError
from edge.evaluate import reference_codes
from export.bundle_read import Bundle
from export.chain import answering, source_of
from export.decide import decider, scores
from export.dynamic import DROPPED, Answers, answers_from, macs_spent, run_every_part, stops
from export.manifest import Manifest
from export.rule import rule
from quant.formats import Array, FloatArray, IntArray, find_format
from quant.reference import quantise_input

#: Thresholds that are tried for a curve: so many shares of the inputs, evenly spaced.
SETTINGS = 21


@dataclass(frozen=True, eq=False)
class Judged:
    """A bundle on some inputs: outputs of every part for every input, the right labels, and what its rules make of it.

    `labels` is int64 [N]; `answers` what the rules say.
    """

    manifest: Manifest
    outputs: tuple[Array, ...]
    labels: IntArray
    answers: Answers

    @property
    def right(self) -> Array:
        """Which inputs get the right label, bool [N]; one that was dropped does not."""
        return np.asarray(self.answers.label == self.labels)

    @property
    def accuracy(self) -> float:
        """Share of inputs with the right label."""
        return float(self.right.mean())

    @property
    def macs(self) -> float:
        """Mean multiply-accumulates of one input."""
        return float(macs_spent(self.manifest, self.answers).mean())


def judge(bundle: Bundle, x: Array, labels: Array) -> Judged:
    """Run every part of a bundle for every input by the integer reference.

    Args:
        bundle: with rules.
        x: inputs, float32 [N, ...], pre-processed.
        labels: [N], the right ones.

    Raises:
        EdgeError: nothing in the bundle decides, or there are no inputs.
    """
    if not bundle.manifest.is_dynamic:
        raise EdgeError(
            f"{bundle.path} has no rules: all of its parts run for every input. edgemill eval says how accurate it is."
        )
    if not len(x):
        raise EdgeError("there are no images to judge a bundle by; give data with test images.")
    first = bundle.parts[0].graph

    def execute(index: int, codes: Array) -> Array:
        return np.concatenate(list(reference_codes(bundle.parts[index].graph, codes)))

    outputs = run_every_part(bundle.manifest, execute, quantise_input(first.quant(first.input), x))
    return Judged(bundle.manifest, outputs, np.asarray(labels, np.int64), answers_from(bundle.manifest, outputs))


def part_figures(judged: Judged, requested: Mapping[str, float] | None = None) -> tuple[PartFigures, ...]:
    """Return what each part did.

    Args:
        judged: a bundle on inputs.
        requested: share of inputs that parts were to answer, by name.

    Raises:
        EdgeError: a share is asked of a part that cannot answer, or shares are none.
    """
    _check_shares(requested or {})
    names, able = [part.name for part in judged.manifest.parts], answering(judged.manifest)
    foreign = sorted(set(requested or {}) - {names[index] for index in able})
    if foreign:
        known = ", ".join(names[index] for index in able)
        raise EdgeError(f"part '{foreign[0]}' cannot answer, so no share can be asked of it; {known} can.")
    return tuple(_figures(judged, index, requested or {}) for index in range(len(names)))


def _check_shares(requested: Mapping[str, float]) -> None:
    for name, share in requested.items():
        if not 0 <= share <= 1:
            raise EdgeError(f"a share is a number from 0 to 1, not {share:g} as asked of part '{name}'.")
    if sum(requested.values()) > 1 + 1e-9:
        raise EdgeError(f"the shares add up to {sum(requested.values()):g}; all parts together answer at most 1.")


def _figures(judged: Judged, index: int, requested: Mapping[str, float]) -> PartFigures:
    manifest, answers = judged.manifest, judged.answers
    part, here = manifest.parts[index], answers.part == index
    decides = part.after is not None and index < len(manifest.parts) - 1
    return PartFigures(
        name=part.name,
        macs=part.macs,
        path_macs=path_macs(manifest, index),
        action=part.after.action if decides and part.after is not None else "",
        threshold=part.after.threshold if decides and part.after is not None else None,
        ran=float(answers.ran[index].mean()),
        stopped=float((stops(answers) == index).mean()),
        answered=float(here.mean()),
        requested=requested.get(part.name),
        accuracy=float(judged.right[here].mean()) if here.any() else None,
        alone=float((_labels(judged, index) == judged.labels).mean()) if index in answering(manifest) else None,
    )


def path_macs(manifest: Manifest, index: int) -> int:
    """Return the multiply-accumulates of a part and of all that it reads."""
    source = source_of(manifest.parts, index)
    return manifest.parts[index].macs + (0 if source is None else path_macs(manifest, source))


def _labels(judged: Judged, index: int) -> IntArray:
    codes = judged.outputs[index].reshape(len(judged.labels), -1)
    return np.asarray(find_format(judged.manifest.parts[index].output.format).to_ordinals(codes).argmax(axis=1))


def sweeps(judged: Judged) -> tuple[Sweep, ...]:
    """Return what other thresholds would do: of all answering rules together, then of every rule with the others kept.

    Thresholds are scores of these inputs, chosen without their labels.
    """
    deciding = [i for i, part in enumerate(judged.manifest.parts[:-1]) if part.after is not None]
    together = [i for i in deciding if _action(judged.manifest, i) == "answer"]
    found = [Sweep(judged.manifest.parts[index].name, _points(judged, index)) for index in deciding]
    return (Sweep("", _points_together(judged, together)), *found) if together else tuple(found)


def _action(manifest: Manifest, index: int) -> str:
    after = manifest.parts[index].after
    return "" if after is None else after.action


def _points(judged: Judged, index: int) -> tuple[Point, ...]:
    levels = _levels(_scores(judged, index), np.linspace(0, 1, SETTINGS))
    changed = [_moved(judged.manifest, {index: float(level)}) for level in np.unique(levels)]
    return tuple(_point(judged, manifest, _threshold(manifest, index)) for manifest in changed)


def _points_together(judged: Judged, rules: Sequence[int]) -> tuple[Point, ...]:
    """Return one point for every share: each rule lets that share of the inputs that reach it leave."""
    found = []
    for share in np.linspace(0, 1, SETTINGS):
        manifest = judged.manifest
        for index in rules:
            reach = answers_from(_moved(manifest, {index: np.inf}), judged.outputs).ran[index]
            values = _scores(judged, index)[reach]
            level = float(_levels(values, [1 - share])[0]) if len(values) and share > 0 else np.inf
            manifest = _moved(manifest, {index: -np.inf if share == 1 else level})
        found.append(_point(judged, manifest, float(share)))
    return tuple(found)


def _levels(values: FloatArray, shares: Sequence[float] | Array) -> FloatArray:
    return np.asarray(np.quantile(values, shares, method="lower"))


def _scores(judged: Judged, index: int) -> FloatArray:
    part = judged.manifest.parts[index]
    assert part.after is not None
    return np.asarray(scores(decider(part.after, part.output), judged.outputs[index]), np.float64)


def _moved(manifest: Manifest, thresholds: Mapping[int, float]) -> Manifest:
    """Return a manifest with other thresholds; it describes no written bundle."""
    parts = list(manifest.parts)
    for index, level in thresholds.items():
        old = parts[index].after
        assert old is not None
        moved = rule(old.score, level, temperature=old.temperature, action=old.action)
        parts[index] = replace(parts[index], after=moved)
    return replace(manifest, parts=tuple(parts))


def _threshold(manifest: Manifest, index: int) -> float:
    after = manifest.parts[index].after
    assert after is not None
    return after.threshold


def _point(judged: Judged, manifest: Manifest, setting: float) -> Point:
    other = replace(judged, manifest=manifest, answers=answers_from(manifest, judged.outputs))
    return Point(setting, other.accuracy, other.macs)


def dropped(answers: Answers) -> float:
    """Return the share of inputs that nothing answered."""
    return float((answers.part == DROPPED).mean())
