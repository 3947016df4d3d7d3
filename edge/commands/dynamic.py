"""The command over a bundle with rules: dynamic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.common import (
    data_options,
    force_option,
    json_option,
    load_data,
    print_table,
    refuse_existing,
    store_option,
)

if TYPE_CHECKING:
    from devices.dynamic_record import DynamicRecord
    from devices.measurement import Measurement


def _requested(text: str) -> tuple[tuple[str, float], ...]:
    """Read `exit1=0.5,exit2=0.3`."""
    found = []
    for item in text.replace(" ", "").split(",") if text.strip() else ():
        name, _, share = item.partition("=")
        try:
            found.append((name, float(share)))
        except ValueError:
            raise click.BadParameter(f"--shares takes PART=SHARE,PART=SHARE, not '{text}'.") from None
    if len({name for name, _ in found}) < len(found):
        raise click.BadParameter(f"--shares names a part twice: '{text}'.")
    return tuple(found)


def _memory(text: str | None) -> tuple[str, int] | None:
    """Read `exact,1000`."""
    if text is None:
        return None
    kind, _, limit = text.partition(",")
    if not limit.isdigit():
        raise click.BadParameter(f"--memory takes HASH,ENTRIES such as exact,1000, not '{text}'.")
    return kind, int(limit)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@data_options("--data", "Data; its test images are used, or all where there is no such part.")
@click.option("--count", type=click.IntRange(min=2), help="Only so many test images.")
@click.option("--shares", default="", help="Shares that parts were to answer, for the table: PART=SHARE,PART=SHARE.")
@click.option("--beside", multiple=True, metavar="MODEL", help="A network to put beside it, as eval takes it.")
@click.option("--board", "boards", multiple=True, help="Run whole inputs here as one program: host-c, mps2-an386.")
@click.option("--frames", type=click.IntRange(min=1), default=32, show_default=True, help="Inputs on each board.")
@click.option("--measured", metavar="RUN", help="Expect costs from this run of edgemill profile, energy too.")
@click.option(
    "--memory", metavar="HASH,ENTRIES", help="Put a memory of past inputs before it: exact, dhash, invariants."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A folder for dynamic.json and report.html.")
@store_option
@force_option
@json_option
def dynamic(
    bundle: Path,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    count: int | None,
    shares: str,
    beside: tuple[str, ...],
    boards: tuple[str, ...],
    frames: int,
    measured: str | None,
    memory: str | None,
    output: Path | None,
    store: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Judge a bundle with rules: who answers, and its cost.

    Shares and accuracy of every part, mean MACs, what other thresholds would do, costs of whole inputs on boards beside
    what parts alone let expect, and the networks that you put beside it. With -o the record and its page are kept.
    """
    from devices.dynamic_record import to_json
    from devices.report.dynamic_page import write_dynamic_report
    from edge.dynamic_job import Wish, dynamic_record, write_record

    if pixel_scale is not None or mean or std:
        raise click.UsageError("a bundle brings its own pre-processing; leave out --pixel-scale, --mean and --std.")
    wish = Wish(count, _requested(shares), beside, boards, frames, _memory(memory))
    if output is not None:
        refuse_existing(output, force)
    found = dynamic_record(bundle, load_data(data, None, "", "", test_share=1), wish, _measurements(measured, store))
    if output is not None:
        write_record(found, output)
        write_dynamic_report(found, output / "report.html")
    if as_json:
        click.echo(to_json(found), nl=False)
        return
    _show(found)
    if output is not None:
        click.echo(f"report: {output / 'report.html'}")


def _measurements(run: str | None, store: Path | None) -> tuple[Measurement, ...]:
    if run is None:
        return ()
    from edge.stored_runs import open_run

    return open_run(run, store).measurements


def _show(found: DynamicRecord) -> None:
    """Print the tables of the page, without its drawings."""
    from devices.report.dynamic_page import equal_macs, headline
    from devices.report.tables_dynamic import beside_table, costs_table, memory_table, parts_table, stops_table

    tables = [parts_table(found), beside_table(found)]
    tables += [costs_table(found), *(stops_table(costs) for costs in found.costs if costs.stops)] if found.costs else []
    remembered = memory_table(found)
    for table in [*tables, *([remembered] if remembered is not None else [])]:
        kept = [index for index, column in enumerate(table.columns) if not column.wide]  # prose is for the page
        texts = [[f"{row[i].text} ({row[i].note})" if row[i].note else row[i].text for i in kept] for row in table.rows]
        print_table(table.caption, [table.columns[i].head for i in kept], texts)
    click.echo(headline(found))
    if found.singles:
        click.echo(equal_macs(found))
