"""The streams out of a core as those see them who read them: ports, beats, bits, and the codes they should carry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.parity_labels import labels_of
from export.rtl.bench import beats, codes_of_beats
from export.rtl.bounds import unsigned_bits
from export.rtl.decode import stream_bits
from export.rtl.stream.plan import Design
from quant.formats import Array
from quant.reference import fast_dot, run


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream out of a core.

    `lane_bits` are those of a code (or label) in the stream, whole bytes; `beats` a frame has, of `lanes` codes each.
    """

    port: str
    tensor: str
    labels: bool
    lanes: int
    lane_bits: int
    beats: int

    @property
    def codes(self) -> int:
        """Codes of a frame; of labels the one."""
        return self.lanes * self.beats

    @property
    def bits(self) -> int:
        """Bits of a beat."""
        return self.lanes * self.lane_bits


def streams(plan: Design) -> tuple[Stream, ...]:
    """Return the streams out of a core in their order; the only one of a core is called `m_axis`."""
    found = []
    for index, (link, result) in enumerate(zip(plan.ends(), plan.results, strict=True)):
        port = "m_axis" if len(plan.results) == 1 else f"m_axis_{index}"
        bits = label_bits(link.labels_of) if result.labels else stream_bits(plan.program.quant(result.tensor).format)
        found.append(Stream(port, result.tensor, result.labels, link.to_lanes, bits, plan.beats(link)))
    return tuple(found)


def label_bits(codes: int) -> int:
    """Return the bits of a label in its stream: whole bytes, unsigned."""
    return -(-unsigned_bits(codes - 1) // 8) * 8


def stream_codes(plan: Design, tensor: str, codes: Array) -> npt.NDArray[np.uint16]:
    """Return codes [N, ...] as 16-bit words in the order of a stream, frame after frame."""
    rows = codes.reshape(len(codes), -1)[:, plan.orders[tensor]]
    return beats(plan.program.quant(tensor).format, rows)


def tensor_codes(plan: Design, tensor: str, words: npt.NDArray[np.uint16]) -> Array:
    """Return 16-bit words in the order of a stream as codes [N, ...] in C order."""
    flat = codes_of_beats(plan.program.quant(tensor).format, words).reshape(-1, plan.codes(tensor))
    codes = np.empty_like(flat)
    codes[:, plan.orders[tensor]] = flat
    return codes.reshape(len(flat), *plan.program.tensors[tensor].shape[1:])


def expected_words(plan: Design, inputs: Array, outputs: Array) -> tuple[npt.NDArray[np.uint16], ...]:
    """Return what every stream should carry, as 16-bit words, frame after frame.

    Args:
        plan: the core's design.
        inputs: codes [N, ...].
        outputs: codes [N, ...] of the network's output; those of other tensors come from the reference.
    """
    program, values = plan.program, {plan.program.output: outputs}
    if any(result.tensor not in values for result in plan.results):
        values = run(program, inputs, fast_dot) | values
    return tuple(
        labels_of(program.quant(result.tensor), values[result.tensor]).astype(np.uint16)
        if result.labels
        else stream_codes(plan, result.tensor, values[result.tensor])
        for result in plan.results
    )
