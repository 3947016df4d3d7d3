"""The device's side of a split bundle: every part before the link, with its filters and its small local tail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge.serve.tail import tail_of
from export.bundle_read import Bundle
from export.chain import source_of
from export.decide import decider, is_sure
from quant.formats import Array
from quant.program import lower
from quant.reference import fast_dot, run


@dataclass(frozen=True, eq=False)
class Crossing:
    """What a head made of N inputs.

    Attributes:
        codes: [N, ...] for the tail; rows of dropped frames are 0.
        sent: bool [N], which frames are sent.
        settled: bool [N], which frames the local tail was sure of: these are not sent either.
        answers: codes of the local tail, [N, ...]; None where the bundle has none.
    """

    codes: Array
    sent: Array
    settled: Array
    answers: Array | None = None


def open_head(bundle: Bundle) -> Callable[[Array], Crossing]:
    """Return a function from input codes [N, ...] to what crosses the link, executed by the reference.

    A part runs only for frames that no filter before it dropped.

    Raises:
        EdgeError: the bundle is not a head and a tail; see `tail_of`.
    """
    tail_of(bundle)
    programs = [lower(part.graph) for part in bundle.parts[:-1]]

    def head(codes: Array) -> Crossing:
        sent, settled = np.ones(len(codes), bool), np.zeros(len(codes), bool)
        outputs: list[Array] = []
        answers = None
        for index, program in enumerate(programs):
            record = bundle.parts[index].record
            given = _given(bundle, index, codes, outputs)
            made = np.zeros((len(codes), *record.output.shape[1:]), program.quant(program.output).format.dtype)
            if sent.any():
                made[sent] = run(program, given[sent], fast_dot)[program.output]
            if record.after is not None:
                sure = np.zeros(len(codes), bool)
                sure[sent] = is_sure(decider(record.after, record.output), made[sent])
                if record.after.action == "answer":
                    answers, settled, sent = made, sure, sent & ~sure
                else:
                    sent = sure
            outputs.append(made)
        return Crossing(_given(bundle, len(programs), codes, outputs), sent, settled, answers)

    return head


def _given(bundle: Bundle, index: int, codes: Array, outputs: list[Array]) -> Array:
    source = source_of(bundle.manifest.parts, index)
    return codes if source is None else outputs[source]
