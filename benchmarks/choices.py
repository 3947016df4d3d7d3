"""Where a random network gets its choices from: a seed, a recorded list, or anything else; and shorter lists that fail.

A choice is a number from 0 to n-1, and 0 is always the plainest. So a network is the list of its choices, and a plain
network that still fails is found by making the list shorter and its numbers smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

#: `pick(n)` returns a number from 0 to n-1.
Pick = Callable[[int], int]
T = TypeVar("T")


def one_of(pick: Pick, options: Sequence[T]) -> T:
    """Return one of the options, the first being the plainest."""
    return options[pick(len(options))]


def between(pick: Pick, low: int, high: int) -> int:
    """Return a whole number from low to high, both included."""
    return low + pick(high - low + 1)


def seeded(seed: int, attempt: int = 0) -> Pick:
    """Return choices made by a seed."""
    rng = np.random.default_rng((seed, attempt))
    return lambda n: int(rng.integers(n))


def replayed(recipe: Sequence[int]) -> Pick:
    """Return the choices of a list; what is too large becomes the largest there is, and behind the end all are 0."""
    rest = iter(recipe)
    return lambda n: min(next(rest, 0), n - 1)


def recorded(pick: Pick, into: list[int]) -> Pick:
    """Return the same choices, each also appended to `into`."""

    def picked(n: int) -> int:
        into.append(pick(n))
        return into[-1]

    return picked


def spell(recipe: Sequence[int]) -> str:
    """Write choices as text: `3.0.12`."""
    return ".".join(map(str, recipe))


def parse(text: str) -> tuple[int, ...]:
    """Read what `spell` wrote.

    Raises:
        ValueError: the text is not numbers joined by dots.
    """
    return tuple(int(word) for word in text.split("."))


def shrink(recipe: Sequence[int], fails: Callable[[tuple[int, ...]], bool], tries: int = 200) -> tuple[int, ...]:
    """Return a shorter or smaller list of choices that still fails, after at most `tries` trials."""
    best, left = _without_zeros(recipe), tries
    while left > 0:
        for candidate in _simpler(best):
            left -= 1
            if left < 0 or fails(candidate):
                break
        else:
            return best
        if left >= 0:
            best = _without_zeros(candidate)
    return best


def _without_zeros(recipe: Sequence[int]) -> tuple[int, ...]:
    """Drop zeros at the end: they are what stands behind the end anyway."""
    kept = list(recipe)
    while kept and kept[-1] == 0:
        kept.pop()
    return tuple(kept)


def _simpler(recipe: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield simpler lists: the end cut off, a smaller first number, parts cut out, then single numbers made smaller."""
    yield from (recipe[: len(recipe) * part // 4] for part in (1, 2, 3))
    yield from ((smaller, *recipe[1:]) for smaller in range(recipe[0] if recipe else 0))
    size = len(recipe) // 4
    while size > 0:
        for start in range(0, len(recipe), max(1, size // 2)):
            yield recipe[:start] + recipe[start + size :]
        size //= 2
    for place, value in enumerate(recipe):
        for smaller in sorted({0, value // 2, value - 1} - {value, -1}):
            yield (*recipe[:place], smaller, *recipe[place + 1 :])
