"""What several commands share: their options, and how values are printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edge.dataset import Dataset

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
output_option = click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to write; appears whole or not at all.",
)
boards_option = click.option(
    "--boards",
    "boards_file",
    type=click.Path(path_type=Path),
    help="The inventory of remote boards; default: $EDGEMILL_BOARDS, else edgemill/boards.toml among your settings.",
)
store_option = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="EDGEMILL_STORE",
    show_envvar=True,
    help="The folder in which runs are kept.",
)
force_option = click.option("--force", is_flag=True, help="Replace an existing output of the same kind.")
preset_option = click.option(
    "--preset",
    type=click.Choice(["default", "fast", "best"]),
    default="default",
    show_default=True,
    help="How much is tried to keep the accuracy of a float model.",
)
held_out_option = click.option(
    "--held-out",
    type=click.IntRange(min=2),
    default=5000,
    show_default=True,
    help="Training images, the last ones, that thresholds are chosen on; no network must have trained on them.",
)


def data_options(flag: str, help_text: str, *, required: bool = True) -> Callable[[F], F]:
    """Add the option that names data, and those that change its pre-processing."""

    def add(command: F) -> F:
        options = (
            click.option(flag, "data", required=required, metavar="DATA", help=help_text),
            click.option("--pixel-scale", type=float, help="Multiply raw pixels by this before mean and std."),
            click.option("--mean", default="", help="Comma-separated mean per channel, after the scale."),
            click.option("--std", default="", help="Comma-separated standard deviation per channel."),
        )
        for option in reversed(options):
            command = option(command)
        return command

    return add


def load_data(data: str, pixel_scale: float | None, mean: str, std: str, *, test_share: float) -> Dataset:
    """Load data with the pre-processing the options ask for.

    `test_share` is how much of a source without a test part of its own is for testing: 1 to evaluate on all of it,
    0 to calibrate on all of it.
    """
    from edge.data import load, with_preprocess

    return with_preprocess(load(data, test_share), pixel_scale, _numbers(mean, "--mean"), _numbers(std, "--std"))


def _numbers(text: str, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise click.BadParameter(f"{flag} takes comma-separated numbers, not '{text}'.") from None


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=1, sort_keys=True, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def refuse_existing(path: Path, force: bool) -> None:
    """Raise an error, before any work, when `path` exists and may not be replaced."""
    if path.exists() and not force:
        raise click.ClickException(f"{path} exists already; choose another name or give --force.")
