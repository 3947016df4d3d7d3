"""The device's side of a split bundle: every part before the link, and the filters among them that drop frames."""

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
    """What a head made of N inputs: codes [N, ...] for the tail, and which frames are sent; rows of others are 0."""

    codes: Array
    sent: Array


def open_head(bundle: Bundle) -> Callable[[Array], Crossing]:
    """Return a function from input codes [N, ...] to what crosses the link, executed by the reference.

    A part runs only for frames that no filter before it dropped.

    Raises:
        EdgeError: the bundle is not a head and a tail; see `tail_of`.
    """
    tail_of(bundle)
    programs = [lower(part.graph) for part in bundle.parts[:-1]]

    def head(codes: Array) -> Crossing:
        sent = np.ones(len(codes), bool)
        outputs: list[Array] = []
        for index, program in enumerate(programs):
            record = bundle.parts[index].record
            given = _given(bundle, index, codes, outputs)
            made = np.zeros((len(codes), *record.output.shape[1:]), program.quant(program.output).format.dtype)
            if sent.any():
                made[sent] = run(program, given[sent], fast_dot)[program.output]
            if record.after is not None:
                sent[sent] = is_sure(decider(record.after, record.output), made[sent])
            outputs.append(made)
        return Crossing(_given(bundle, len(programs), codes, outputs), sent)

    return head


def _given(bundle: Bundle, index: int, codes: Array, outputs: list[Array]) -> Array:
    source = source_of(bundle.manifest.parts, index)
    return codes if source is None else outputs[source]
