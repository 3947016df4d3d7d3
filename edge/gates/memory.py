"""A memory of past inputs: what was seen before is answered without a network.

From "Dual Complementary CNNs" (arXiv 2412.01039), with what its reference leaves out: a bound on entries (the least
recently used goes first), an age after which an answer is stale, and the rate of false hits, measured.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from edge.errors import EdgeError
from quant.formats import Array, FloatArray

#: dhash compares neighbours in an image of so many rows and columns.
ROWS, COLUMNS = 8, 9
#: Complex moments of this order about the centre, and how finely invariants are rounded: they are floats. Of 10,000
#: training images of Fashion-MNIST 6 digits take 217 for another one, 9 none, and turned images stay alike up to 10.
ORDER = 3
DIGITS = 9

Key = Hashable
Hash = Callable[[Array], Key]


def exact(image: Array) -> Key:
    """Return the bytes of an input: hits only what is equal."""
    return np.ascontiguousarray(image).tobytes()


def dhash(image: Array) -> Key:
    """Return 64 bits of an image [channels, H, W]: which cells of an 8 x 9 picture are darker than their neighbour."""
    small = resized(gray(image), ROWS, COLUMNS)
    return np.packbits(small[:, :-1] < small[:, 1:]).tobytes()


def invariants(image: Array) -> Key:
    """Return a sum of complex-moment invariants, alike for turned and mirrored images, rounded to DIGITS."""
    picture = gray(image)
    moments = _monomials(*picture.shape) @ picture.ravel()
    scale = float((picture**2).sum()) or 1.0
    return round(float((np.abs(moments) ** 2).sum()) / scale, DIGITS)


@lru_cache(maxsize=8)
def _monomials(height: int, width: int) -> Array:
    """Return z^p conj(z)^(ORDER - p) of every pixel, complex [ORDER + 1, pixels]."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in (height, width))
    z = ((columns[None, :] + 1j * rows[:, None]) / max(height, width)).ravel()
    found: Array = np.stack([z**p * np.conj(z) ** (ORDER - p) for p in range(ORDER + 1)])
    found.setflags(write=False)
    return found


HASHES: tuple[tuple[str, Hash], ...] = (("exact", exact), ("dhash", dhash), ("invariants", invariants))


def gray(image: Array) -> FloatArray:
    """Return the mean of the channels of [channels, H, W], float64 [H, W]."""
    if image.ndim != 3:
        raise EdgeError(f"a memory hashes images [channels, rows, columns], not {image.shape}.")
    found: FloatArray = np.asarray(image, np.float64).mean(axis=0)
    return found


def resized(picture: FloatArray, rows: int, columns: int) -> FloatArray:
    """Return means over a grid of cells, each pixel weighted by how much of it lies in the cell."""
    return np.asarray(_weights(picture.shape[0], rows) @ picture @ _weights(picture.shape[1], columns).T)


@lru_cache(maxsize=16)
def _weights(size: int, cells: int) -> FloatArray:
    edges = np.linspace(0, size, cells + 1)
    starts = np.arange(size)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    covered = np.clip(overlap, 0, None)
    found = np.asarray(covered / covered.sum(axis=1, keepdims=True))
    found.setflags(write=False)
    return found


@dataclass(slots=True)
class Memory:
    """Answers by the hash of their input. `limit` entries at most; answers older than `age_s` are forgotten."""

    hash: Hash
    limit: int
    age_s: float = math.inf
    clock: Callable[[], float] = time.monotonic
    entries: OrderedDict[Key, tuple[int, float]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        """Refuse a memory that can hold nothing."""
        if self.limit < 1 or not self.age_s > 0:
            raise EdgeError(f"a memory of {self.limit} entries for {self.age_s:g} s holds nothing.")

    def ask(self, image: Array, answer: Callable[[Array], int]) -> int:
        """Return the remembered answer, or ask for it and remember it; the input is hashed once."""
        key = self.hash(image)
        found = self.look_up(key)
        if found is None:
            found = answer(image)
            self.store(key, found)
        return found

    def find(self, image: Array) -> int | None:
        """Return the answer to an input seen before, or None."""
        return self.look_up(self.hash(image))

    def keep(self, image: Array, answer: int) -> None:
        """Remember an answer; the least recently used one goes when there are too many."""
        self.store(self.hash(image), answer)

    def look_up(self, key: Key) -> int | None:
        """Return the answer of a hash, unless it is too old."""
        found = self.entries.get(key)
        if found is None:
            return None
        if self.clock() - found[1] > self.age_s:
            del self.entries[key]
            return None
        self.entries.move_to_end(key)
        return found[0]

    def store(self, key: Key, answer: int) -> None:
        """Remember the answer of a hash."""
        self.entries[key] = (answer, self.clock())
        self.entries.move_to_end(key)
        if len(self.entries) > self.limit:
            self.entries.popitem(last=False)


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """What a memory did with a stream: share of hits, and share of all inputs answered from another input's entry."""

    inputs: int
    hit_rate: float
    false_hit_rate: float


def replay(memory: Memory, images: Sequence[Array], answer: Callable[[int], int]) -> tuple[MemoryFigures, list[int]]:
    """Run a stream of images through a memory; `answer(i)` asks the network for image i.

    A hit is false when the entry was made by an image that is not equal to this one.
    """
    makers: dict[Key, bytes] = {}
    answers, hits, false_hits = [], 0, 0
    for index, image in enumerate(images):
        key, own = memory.hash(image), np.ascontiguousarray(image).tobytes()
        found = memory.look_up(key)
        if found is None:
            found = answer(index)
            memory.store(key, found)
            makers[key] = own
        else:
            hits += 1
            false_hits += makers[key] != own
        answers.append(found)
    n = len(answers) or 1
    return MemoryFigures(len(answers), hits / n, false_hits / n), answers
