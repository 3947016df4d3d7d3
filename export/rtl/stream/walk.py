"""How a layer walks over its input: the geometry of its windows, the rows its line buffer holds, and its steps."""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Windows over an image that arrives row by row, in words of some channels.

    For every output pixel and each of its `groups` the walk reads `terms` words: kernel rows, kernel columns, then
    `depth` words of channels. Group g reads the words from `(g // groups_per_part) * depth` on: all of them where
    every output sees every channel, its own where channels are kept apart.
    """

    height: int
    width: int
    words: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int] = (1, 1)
    groups: int
    groups_per_part: int
    depth: int

    @property
    def reach(self) -> tuple[int, int]:
        """Height and width that a window spans."""
        (kh, kw), (dh, dw) = self.kernel, self.dilations
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        top, left, bottom, right = self.pads
        rows = (self.height + top + bottom - self.reach[0]) // self.strides[0] + 1
        return rows, (self.width + left + right - self.reach[1]) // self.strides[1] + 1

    @property
    def terms(self) -> int:
        """Steps of one group of outputs."""
        return self.kernel[0] * self.kernel[1] * self.depth

    @property
    def steps(self) -> int:
        """Steps of one frame, one a clock: the cycles of the layer when it never waits."""
        return self.out[0] * self.out[1] * self.groups * self.terms

    @property
    def row_words(self) -> int:
        """Words of one row."""
        return self.width * self.words

    def bases(self) -> tuple[int, ...]:
        """Return the oldest row that each output row still needs, and the height behind the last one."""
        tops = (min(max(y * self.strides[0] - self.pads[0], 0), self.height) for y in range(self.out[0]))
        return (*tops, self.height)

    def freed(self) -> tuple[int, ...]:
        """Return how many rows may be overwritten when each output row is done; they sum to the height."""
        bases = self.bases()
        return tuple(after - before for before, after in itertools.pairwise(bases))

    def needed(self) -> tuple[int, ...]:
        """Return how many rows, from the oldest one on, must be there before each output row starts.

        Those that are freed behind it count, so that no row is freed before it arrived.
        """
        bases, reach = self.bases(), self.reach[0]
        last = (y * self.strides[0] - self.pads[0] + reach for y in range(self.out[0]))
        return tuple(
            max(min(end, self.height), after) - before
            for end, before, after in zip(last, bases[:-1], bases[1:], strict=True)
        )

    def counts(self) -> tuple[int, ...]:
        """Return how many positions of a window lie inside the image, every number that occurs, ascending."""
        inside = []
        for axis, size in enumerate((self.height, self.width)):
            starts = (place * self.strides[axis] - self.pads[axis] for place in range(self.out[axis]))
            steps = range(0, self.reach[axis], self.dilations[axis])
            inside.append({sum(0 <= start + step < size for step in steps) for start in starts})
        return tuple(sorted({rows * columns for rows in inside[0] for columns in inside[1]}))

    def rows(self) -> int:
        """Return the rows of a line buffer in which the rows of the next output row arrive while one is computed.

        The next frame's first rows count as the next.
        """
        needed = self.needed()
        return max(free + after for free, after in zip(self.freed(), (*needed[1:], needed[0]), strict=True))
