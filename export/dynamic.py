"""What a bundle with rules computes: which parts run for an input, which one answers, and what.

The rules decide on output codes, so whoever executes the parts bit-exactly decides alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from export.chain import SURER, answering, source_of
from export.decide import decider, is_sure, scores
from export.manifest import Manifest, PartRecord
from quant.formats import Array, IntArray, find_format

#: In place of a part: the frame was dropped, and nothing answers.
DROPPED = -1

#: Runs a part (its index, codes in graph layout [N, ...]) and returns its output codes.
Execute = Callable[[int, Array], Array]


@dataclass(frozen=True, eq=False)
class Answers:
    """What came out for N inputs.

    Attributes:
        part: int64 [N], index of the part that answered, or DROPPED.
        label: int64 [N], index of the label, DROPPED where nothing answered.
        ran: bool [parts, N], which parts ran.
        outputs: codes of every part, [N, ...]; rows of inputs for which it did not run are 0.
    """

    part: IntArray
    label: IntArray
    ran: Array
    outputs: tuple[Array, ...]


def run_parts(manifest: Manifest, execute: Execute, codes: Array) -> Answers:
    """Run the parts of a bundle, each only for the inputs that need it.

    Args:
        manifest: of the bundle.
        execute: runs one part.
        codes: of the bundle's input, graph layout, [N, ...].
    """
    parts = manifest.parts

    def make(index: int, active: Array, outputs: list[Array]) -> Array:
        source = source_of(parts, index)
        return execute(index, (codes if source is None else outputs[source])[active])

    return _walk(manifest, len(codes), make)


def run_every_part(manifest: Manifest, execute: Execute, codes: Array) -> tuple[Array, ...]:
    """Return the output codes of every part for every input, whatever the rules say; for `answers_from`."""
    outputs: list[Array] = []
    for index in range(len(manifest.parts)):
        source = source_of(manifest.parts, index)
        outputs.append(execute(index, codes if source is None else outputs[source]))
    return tuple(outputs)


def answers_from(manifest: Manifest, outputs: Sequence[Array]) -> Answers:
    """Return what the rules of a manifest make of outputs that are there already, one [N, ...] for every part.

    Other thresholds cost no other run: the manifest may have rules that those of the written bundle are not.
    """
    return _walk(manifest, len(outputs[0]), lambda index, active, _: outputs[index][active])


def _walk(manifest: Manifest, n: int, make: Callable[[int, Array, list[Array]], Array]) -> Answers:
    """Ask `make(part, active, outputs so far)` for the outputs of each part, for the inputs that need it."""
    parts = manifest.parts
    answered, active = np.full(n, DROPPED, np.int64), np.ones(n, bool)
    ran, outputs = np.zeros((len(parts), n), bool), []
    for index, part in enumerate(parts):
        outputs.append(_output(part, n))
        ran[index] = active
        if not active.any():
            continue
        outputs[index][active] = make(index, active, outputs)
        if part.after is not None and index < len(parts) - 1:
            sure = np.zeros(n, bool)
            sure[active] = is_sure(decider(part.after, part.output), outputs[index][active])
            answered[active & sure & (part.after.action == "answer")] = index
            active &= ~sure if part.after.action == "answer" else sure
    answered[active] = _last_word(manifest, ran, outputs)[active]
    return Answers(answered, _labels(manifest, answered, outputs), ran, tuple(outputs))


def _output(part: PartRecord, n: int) -> Array:
    return np.zeros((n, *part.output.shape[1:]), find_format(part.output.format).dtype)


def _last_word(manifest: Manifest, ran: Array, outputs: list[Array]) -> IntArray:
    """Return whose answer counts where the last part ran: its own, or the surest; the earlier one where they tie."""
    last = len(manifest.parts) - 1
    found = np.full(ran.shape[1], last, np.int64)
    if manifest.combine != SURER:
        return found
    best = np.full(ran.shape[1], -np.inf)
    for index in answering(manifest):
        part = manifest.parts[index]
        assert part.after is not None
        mine = scores(decider(part.after, part.output), outputs[index])
        better = ran[index] & (mine > best)
        found[better], best[better] = index, mine[better]
    return found


def _labels(manifest: Manifest, answered: IntArray, outputs: list[Array]) -> IntArray:
    labels = np.full(len(answered), DROPPED, np.int64)
    for index in answering(manifest):
        here = answered == index
        fmt = find_format(manifest.parts[index].output.format)
        flat = outputs[index].reshape(len(answered), -1)
        labels[here] = fmt.to_ordinals(flat[here]).argmax(axis=1)
    return labels


def macs_spent(manifest: Manifest, answers: Answers) -> IntArray:
    """Return the multiply-accumulates of every input, int64 [N]."""
    each = np.array([part.macs for part in manifest.parts], np.int64)
    return np.asarray((each[:, None] * answers.ran).sum(axis=0), np.int64)


def stops(answers: Answers) -> IntArray:
    """Return the last part that ran for every input, int64 [N]: what an input costs, whoever answers it."""
    parts = answers.ran.shape[0]
    return np.asarray(parts - 1 - np.argmax(answers.ran[::-1], axis=0), np.int64)
