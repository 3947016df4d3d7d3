"""Commands over one bundle: verify, profile; and doctor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.common import boards_option, json_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from devices.board import Board
    from devices.errors import DeviceError
    from devices.measurement import Measurement
    from devices.plan import Plan

_ABOVE_0 = click.FloatRange(min=0, min_open=True)
_FROM_0 = click.FloatRange(min=0)

bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))


@click.command()
@bundle_argument
@click.option("--runtime", "names", multiple=True, help="Only these runtimes; default: all of the target.")
@click.option("--vectors", type=click.IntRange(min=1), help="Only this many test vectors.")
@click.option("--certify", is_flag=True, help="Write the result into the bundle as its certificate.")
@json_option
@click.pass_context
def verify(
    context: click.Context, bundle: Path, names: tuple[str, ...], vectors: int | None, certify: bool, as_json: bool
) -> None:
    """Check a bundle: integrity and parity.

    Every byte is checked, and every part is executed on what this machine has. Exit code 1 when a check fails.
    """
    from edge.verifying import verified
    from export.parity import certificate

    found = verified(bundle, names, vectors, certify=certify)
    results = found.results
    if as_json:
        print_json({"bundle": str(bundle), "digest": found.digest, **certificate(results)})
    else:
        rows = [
            (r.part, r.runtime, r.status, f"{r.vectors}", f"{r.max_steps}", f"{r.top1_agreement:.1%}", r.reason)
            for r in results
        ]
        click.echo(f"{bundle}: intact, digest {found.digest[:16]}")
        print_table("Parity", ("part", "runtime", "status", "vectors", "max steps", "top-1", "why"), rows)
        executed = [r for r in results if r.status != "not run"]
        click.echo(
            f"{sum(r.passed for r in executed)} of {len(executed)} executed checks agree; "
            f"{len(results) - len(executed)} not run"
        )
    if any(r.status == "wrong" for r in results):
        context.exit(1)


@click.command()
@bundle_argument
@click.option("--board", "names", multiple=True, required=True, help="A board; may be given several times.")
@click.option("--windows", type=click.IntRange(min=1), default=10, show_default=True, help="Windows of latencies.")
@click.option(
    "--window-s", type=_ABOVE_0, default=0.2, show_default=True, help="Length of a window in seconds, at least."
)
@click.option(
    "--warmup-s", type=_FROM_0, default=0.3, show_default=True, help="Seconds of inferences thrown away first."
)
@click.option(
    "--images", type=click.IntRange(min=1), default=2, show_default=True, help="Inferences to count instructions of."
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Copy reports and bitstreams of FPGA boards, and traces of meters, into this folder.",
)
@click.option(
    "--scenario",
    default="single-stream",
    show_default=True,
    help="How queries are put: single-stream, multi-stream or offline.",
)
@click.option("--complete", is_flag=True, help="Add windows until the scenario's least number of samples is reached.")
@click.option("--loadgen", is_flag=True, help="Let MLPerf LoadGen put the queries, for as long as all windows.")
@click.option(
    "--power-mode",
    type=click.IntRange(min=0),
    help="Jetson: set this power mode (nvpmodel) for the run, then put it back.",
)
@click.option("--max-clocks", is_flag=True, help="Jetson: hold clocks at their highest (jetson_clocks) during the run.")
@click.option("--meter", default="", metavar="NAME[:ARG]", help="Read this meter beside runs on this machine.")
@click.option("--idle-s", type=_FROM_0, default=0.0, help="Record the idle machine for so long first, for net energy.")
@click.option("--dry-run", is_flag=True, help="Print what would be run.")
@boards_option
@store_option
@json_option
def profile(
    bundle: Path,
    names: tuple[str, ...],
    windows: int,
    window_s: float,
    warmup_s: float,
    images: int,
    keep: Path | None,
    scenario: str,
    complete: bool,
    loadgen: bool,
    power_mode: int | None,
    max_clocks: bool,
    meter: str,
    idle_s: float,
    dry_run: bool,
    boards_file: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Measure a bundle on boards.

    They are built in, or yours from the inventory (boards.toml). Latency, energy, instructions, cycles, memory: what
    the board gives. What is absent has a reason. FPGA boards give the resources of the core, its clock where open tools
    place it, and a bitstream; results are kept for the next time.
    """
    from devices import plan as planning
    from devices.errors import DeviceError
    from devices.inventory import RemoteBoard, find_any
    from devices.metering import Metering
    from devices.runner import profile_all
    from devices.scenario import find_scenario
    from export.bundle_read import read_bundle

    asked, metering = find_scenario(scenario), Metering(meter, idle_s, keep)
    boards = [find_any(name, boards_file) for name in names]
    bare = [board.board if isinstance(board, RemoteBoard) else board for board in boards]
    read = read_bundle(bundle)
    work = [
        (plan, board)
        for board, data in zip(boards, bare, strict=True)
        for plan in planning.plans(
            read,
            data,
            windows=windows,
            window_s=window_s,
            warmup_s=warmup_s,
            images=images,
            scenario=asked,
            complete=complete,
            loadgen=loadgen,
            power_mode=power_mode,
            max_clocks=max_clocks,
        )
    ]
    plans = [plan for plan, _ in work]
    if dry_run:
        _print_plans(plans, {board.name: board for board in bare}, as_json)
        return
    results = profile_all(work, lambda text: click.echo(text, err=True), metering)
    found = [result for result in results if not isinstance(result, DeviceError)]
    failed = [result for result in results if isinstance(result, DeviceError)]
    if not found:
        _raise_all(failed)
    if keep is not None:
        _keep_results(plans, keep)
    if store is not None:
        click.echo(f"kept: {_keep_run(store, found, bundle)}", err=True)
    _show_profile(found, as_json)
    _raise_all(failed)


def _show_profile(found: Sequence[Measurement], as_json: bool) -> None:
    """Print measurements with the doubts about them."""
    from devices.doubts import doubts
    from devices.measurement_record import to_record
    from devices.report.energy import energy_line
    from devices.report.summary import measurement_rows
    from devices.report.tables_circuit import circuit_tables

    if as_json:
        print_json([{**to_record(item), "doubts": [asdict(doubt) for doubt in doubts(item)]} for item in found])
        return
    columns, rows = measurement_rows(found)
    print_table("Profile", columns, rows)
    for table in (table for item in found for table in circuit_tables(item, f"part '{item.part}'")):
        texts = [[f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row] for row in table.rows]
        print_table(table.caption, [column.head for column in table.columns], texts)
    for item in found:
        if item.energy is not None:
            click.echo(energy_line(item, item.energy))
        if item.loadgen is not None:
            verdict = "VALID" if item.loadgen.valid else "INVALID"
            click.echo(f"LoadGen: part '{item.part}' on {item.board}: {verdict}. {item.loadgen.reasons}".rstrip())
        for doubt in doubts(item):
            click.echo(f"{doubt.name}: part '{item.part}' on {item.board}: {doubt.text} {doubt.advice}")


def _keep_run(store: Path, found: Sequence[Measurement], bundle: Path) -> Path:
    from devices.store import begin
    from export.manifest import VERSION

    writer = begin(store, "profile", VERSION, str(bundle))
    for item in found:
        writer.measurement(item)
    return writer.finish()


def _raise_all(failed: Sequence[DeviceError]) -> None:
    """Raise what went wrong on some boards, after what the others gave was printed."""
    if failed:
        raise type(failed[0])(" ".join(str(error) for error in failed))


def _keep_results(plans: Sequence[Plan], folder: Path) -> None:
    """Copy what synthesis left for the plans on FPGA boards."""
    from devices.boards import BOARDS
    from devices.synthesised import copy_results

    folder.mkdir(parents=True, exist_ok=True)
    for plan in plans:
        board = next((board for board in BOARDS if board.name == plan.board), None)
        if board is not None and board.transport == "synthesis":
            click.echo(f"reports and bitstream: {copy_results(board, plan, folder)}", err=True)


def _print_plans(plans: Sequence[Plan], boards: Mapping[str, Board], as_json: bool) -> None:
    from devices.plan import describe, to_record

    if as_json:
        print_json([to_record(plan) for plan in plans])
        return
    for plan in plans:
        click.echo(describe(plan, boards[plan.board]))


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what this machine can do.

    What it can export, execute and measure, and how to get the rest.
    """
    from devices.doctor import examine

    findings = examine()
    if as_json:
        print_json([asdict(item) for item in findings])
        return
    rows = [(item.kind, item.name, "yes" if item.available else "no", item.detail) for item in findings]
    print_table("This machine", ("what", "name", "here", "detail"), rows)
