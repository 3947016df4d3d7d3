"""Look a value up by name in a visible tuple, and suggest the near ones when it is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Protocol, TypeVar


class Named(Protocol):
    """Anything with a name: a format, a target, a board, a model."""

    @property
    def name(self) -> str:
        """The name a person types."""


T = TypeVar("T", bound=Named)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` when something in `known` is close to `name`, else an empty string."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def find(name: str, table: Iterable[T], what: str, error: type[Exception]) -> T:
    """Return the entry called `name`.

    Raises:
        error: there is none; the message lists the known names and the nearest one.
    """
    entries = {entry.name: entry for entry in table}
    if name in entries:
        return entries[name]
    raise error(f"unknown {what} '{name}'.{suggestion(name, entries)} Known: {', '.join(entries)}.")
