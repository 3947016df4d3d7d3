"""How long work shows that it goes on: a bar on standard error, gone when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counter(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function of (done, total) that moves a bar on standard error."""
    with steps() as tell:
        yield lambda done, total: tell(what, done, total)


@contextmanager
def steps() -> Iterator[Callable[[str, int, int], None]]:
    """Give a function of (step, done, total) that moves and names a bar; no bar where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        yield lambda step, done, total: progress.update(bar, description=step, completed=done, total=total)
