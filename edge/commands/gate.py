"""Commands over kept runs and between two bundles: gate, runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.common import boards_option, json_option, print_json, store_option

if TYPE_CHECKING:
    from devices.gate_report import GateReport, Rule
    from devices.store import Kept

#: Exit codes by verdict; 2 is wrong usage.
EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}


class Share(click.ParamType[float]):
    """A share: `5%` or `0.05`."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share as a float."""
        text = str(value).strip()
        try:
            found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"'{value}' is no share such as 5% or 0.05", param, ctx)
        if not 0 <= found <= 1:
            self.fail(f"'{value}' is not between 0% and 100%", param, ctx)
        return found


@click.command()
@click.argument("candidate", metavar="RUN_OR_BUNDLE")
@click.option("--baseline", required=True, metavar="RUN_OR_BUNDLE", help="What it is compared with, of the same kind.")
@click.option("--board", "names", multiple=True, help="Run both bundles on this board; may be given several times.")
@click.option("--pairs", type=click.IntRange(min=5), default=20, show_default=True, help="Windows of each bundle.")
@click.option(
    "--window-s", type=click.FloatRange(min=0, min_open=True), default=0.03, show_default=True, help="Their length."
)
@click.option(
    "--scenario",
    default="single-stream",
    show_default=True,
    help="How queries are put: single-stream, multi-stream or offline.",
)
@click.option(
    "--tolerance",
    type=Share(),
    help="How much more still passes. Default: 5% for latency and energy, 0 for instructions and cycles.",
)
@click.option("--metric", "metrics", multiple=True, help="Only these; default: latency, instructions, cycles, energy.")
@click.option(
    "--statistic",
    type=click.Choice(["both", "minimum", "median"]),
    default="both",
    show_default=True,
    help="The figure of a window; both: fail when one fails, else the minimum decides.",
)
@click.option("--junit", type=click.Path(path_type=Path), help="Write the result as JUnit XML, too.")
@boards_option
@store_option
@json_option
@click.pass_context
def gate(
    context: click.Context,
    candidate: str,
    baseline: str,
    names: tuple[str, ...],
    pairs: int,
    window_s: float,
    scenario: str,
    tolerance: float | None,
    metrics: tuple[str, ...],
    statistic: str,
    junit: Path | None,
    boards_file: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Fail when something got slower.

    Two bundles take turns on a board, window by window; or two runs are judged as they were recorded. Exit code 0:
    pass. 1: fail. 3: inconclusive, or not comparable.
    """
    from devices.gate_report import METRICS, Rule, to_record

    rule = Rule(metrics or METRICS, tolerance, statistic)
    bundles = [(Path(path) / "manifest.json").is_file() for path in (candidate, baseline)]
    if bundles[0] != bundles[1]:
        raise click.UsageError("one of the two is a bundle, the other one is not; give two bundles or two runs.")
    if all(bundles):
        if not names:
            raise click.UsageError("two bundles need a --board to run on.")
        found, kept = _of_bundles(candidate, baseline, names, rule, (pairs, window_s, scenario), boards_file)
    else:
        if names:
            raise click.UsageError("--board runs bundles; two runs are judged as they were recorded.")
        found, kept = _of_runs(candidate, baseline, rule, store), ()
    if store is not None and kept:
        click.echo(f"kept: {_keep(store, found, kept)}", err=True)
    if junit is not None:
        _write_junit(found, junit)
    if as_json:
        print_json(to_record(found))
    else:
        _show(found)
    context.exit(EXIT_CODES[found.verdict])


def _of_bundles(
    candidate: str,
    baseline: str,
    names: tuple[str, ...],
    rule: Rule,
    lengths: tuple[int, float, str],
    boards_file: Path | None,
) -> tuple[GateReport, tuple[Kept, ...]]:
    from devices.inventory import find_any
    from devices.scenario import find_scenario
    from edge.gating import Lengths, gate_bundles

    pairs, window_s, scenario = lengths
    asked = Lengths(pairs=pairs, window_s=window_s, scenario=find_scenario(scenario))
    boards = [find_any(name, boards_file) for name in names]
    return gate_bundles(Path(candidate), Path(baseline), boards, rule, asked, _say)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _of_runs(candidate: str, baseline: str, rule: Rule, store: Path | None) -> GateReport:
    """Judge two runs; one and the same run is judged by the turns that its two sides took."""
    from devices.gate_report import gated
    from devices.protocol import SIDES
    from edge.stored_runs import open_run

    base, other = open_run(baseline, store), open_run(candidate, store)
    together = base.record == other.record and base.sides == set(SIDES)
    ours = base.side(SIDES[0]) if together else base.side(SIDES[1])
    return gated(ours, other.side(SIDES[1]), rule, names=(base.name, other.name), interleaved=together)


def _keep(store: Path, found: GateReport, kept: tuple[Kept, ...]) -> Path:
    from devices.gate_report import to_record
    from devices.store import begin
    from export.manifest import VERSION

    writer = begin(store, "gate", VERSION, f"{found.candidate} against {found.baseline}")
    for item in kept:
        writer.measurement(item.measurement, item.side)
    writer.gate(to_record(found))
    return writer.finish()


def _write_junit(found: GateReport, path: Path) -> None:
    from devices.junit import to_junit
    from export.atomic import write_file

    write_file(path, to_junit(found))


def _show(found: GateReport) -> None:
    from devices.gate_report import sentence

    click.echo(f"baseline:  {found.baseline}\ncandidate: {found.candidate}")
    for entry in found.entries:
        click.echo(f"{entry.verdict}: {entry.name}, {entry.method}: {sentence(entry)}")
        if entry.judged and entry.judged.pairs and not entry.interleaved:
            click.echo("    the runs were not interleaved: a drift of the device between them looks like a change")
        if entry.doubts:
            click.echo(f"    doubts: {', '.join(entry.doubts)}")
    for note in found.notes:
        click.echo(f"note: {note}")
    if not found.entries:
        click.echo("baseline and candidate have no figure in common")
    click.echo(found.verdict)


@click.command()
@click.option("--board", help="Only of this board.")
@click.option("--bundle", help="Only of bundles whose digest begins so.")
@click.option("--rebuild", is_flag=True, help="Make the index again from the run folders first.")
@store_option
@json_option
def runs(board: str | None, bundle: str | None, rebuild: bool, store: Path | None, as_json: bool) -> None:
    """List the runs of a store."""
    from dataclasses import asdict

    from devices import store_index
    from devices.report import units
    from edge.stored_runs import VARIABLE

    if store is None:
        raise click.UsageError(f"give --store DIR or set {VARIABLE}.")
    if rebuild and store.is_dir():
        store_index.rebuild(store)
    found = store_index.rows(store, board=board, bundle=bundle)
    if as_json:
        print_json([asdict(row) for row in found])
        return
    for row in found:
        figures = (
            None if row.median_s is None else units.seconds(row.median_s),
            None if row.throughput_per_s is None else f"{units.significant(row.throughput_per_s)} inferences/s",
            None if row.instructions is None else f"{units.count(row.instructions)} instructions",
            None if row.cycles is None else f"{units.count(row.cycles)} cycles",
            None if row.energy_j is None else f"{units.significant(1e3 * row.energy_j)} mJ",
        )
        said = ", ".join(figure for figure in figures if figure) or "no figure"
        who = f"{row.bundle[:12]} '{row.part}' on {row.board}, {row.scenario}, {row.method}"
        click.echo(f"{row.run} {row.side or '-'} {who}: {said}")
    click.echo(f"{len({row.run for row in found})} runs, {len(found)} measurements")
