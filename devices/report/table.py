"""A table as plain values, before it becomes HTML."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one place: text, a smaller note below it, how it is shown, and perhaps a drawing.

    `kind` is empty, `good`, `bad`, `warn` or `absent`. `drawing` is SVG made by this package, already escaped.
    """

    text: str
    note: str = ""
    kind: str = ""
    drawing: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's head; numbers stand at the right, `wide` text may break anywhere."""

    head: str
    number: bool = False
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A caption that says what the figures are, the columns, and rows of as many cells."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        """Refuse rows of another length."""
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row of '{self.caption}' does not have {len(self.columns)} cells")


def cells(*texts: str | Cell) -> tuple[Cell, ...]:
    """Return a row; plain text becomes a cell."""
    return tuple(text if isinstance(text, Cell) else Cell(text) for text in texts)


def text_columns(*heads: str) -> tuple[Column, ...]:
    """Return columns of text."""
    return tuple(Column(head) for head in heads)


def number_columns(*heads: str) -> tuple[Column, ...]:
    """Return columns of numbers."""
    return tuple(Column(head, number=True) for head in heads)


def wide_columns(*heads: str) -> tuple[Column, ...]:
    """Return columns of prose or long names, which may break anywhere."""
    return tuple(Column(head, wide=True) for head in heads)
