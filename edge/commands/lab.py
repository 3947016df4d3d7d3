"""The command that runs bundles on many boards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.common import json_option, print_json, print_table

if TYPE_CHECKING:
    from devices.executor.journal import Journal
    from devices.executor.sweep import Sweep, Swept
    from devices.measurement import Measurement


@click.command()
@click.argument("lab_file", metavar="LAB", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "store",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the results; one that is there is continued.",
)
@click.option(
    "--executor",
    "executor_name",
    default="local",
    show_default=True,
    help="The word local, or a Dask scheduler: dask://HOST:8786, tls://HOST:8786.",
)
@click.option("--dry-run", is_flag=True, help="Print the jobs and whether they are finished.")
@json_option
@click.pass_context
def lab(context: click.Context, lab_file: Path, store: Path, executor_name: str, dry_run: bool, as_json: bool) -> None:
    """Measure bundles on many boards.

    LAB is a TOML file with bundles, boards and scenarios. Every board runs every bundle that it takes, as many jobs at
    once as it has slots. Finished jobs are not run again, failed ones are. Exit code 1 when a job failed.
    """
    from devices.executor.executor import find_executor
    from devices.executor.journal import FOLDER, open_journal
    from devices.executor.lab import read_lab
    from devices.executor.sweep import plan_sweep, run_sweep
    from edge.commands.progress import counter
    from edge.run_folder import hold

    read, executor = read_lab(lab_file), find_executor(executor_name)
    sweep = plan_sweep(read)
    if dry_run:
        _print_jobs(sweep, open_journal(store), as_json)
        return
    with hold(store, (FOLDER,)), counter(read.name) as progress:
        journal = open_journal(store, tidy=True)
        swept = run_sweep(sweep, read, executor, journal, lambda text: click.echo(text, err=True), progress)
    _print_swept(sweep, swept, journal, as_json)
    if swept.failed:
        context.exit(1)


def _print_jobs(sweep: Sweep, journal: Journal, as_json: bool) -> None:
    keys = ("id", "bundle", "board", "scenario", "state")
    rows = [
        (job.id, job.name, job.board, job.scenario, "finished" if job.id in journal.runs else "to do")
        for job in sweep.jobs
    ]
    if as_json:
        jobs = [dict(zip(keys, row, strict=True)) for row in rows]
        print_json({"jobs": jobs, "left_out": list(sweep.left_out)})
        return
    print_table("Jobs", keys, rows)
    _print_left_out(sweep)


def _print_left_out(sweep: Sweep) -> None:
    for text in sweep.left_out:
        click.echo(f"left out: {text}", err=True)


def _print_swept(sweep: Sweep, swept: Swept, journal: Journal, as_json: bool) -> None:
    from devices.report.summary import measurement_rows

    measured = [(job, item) for job in sweep.jobs if job.id in journal.runs for item in journal.measurements(job)]
    if as_json:
        print_json(_record(sweep, swept, journal, [item for _, item in measured]))
        return
    if measured:
        columns, rows = measurement_rows([item for _, item in measured])
        named = [(job.name, job.scenario, *row) for (job, _), row in zip(measured, rows, strict=True)]
        print_table("Measurements", ("bundle", "scenario", *columns), named)
    if swept.failed:
        why = [(f.job.label, f"{f.tries}", f.reason) for f in swept.failed]
        print_table("Failed; the next run tries them again", ("job", "tries", "why"), why)
    _print_left_out(sweep)
    before, now, failed = len(swept.before), len(swept.finished), len(swept.failed)
    click.echo(f"{len(sweep.jobs)} jobs: {before} finished before, {now} now, {failed} failed")


def _record(sweep: Sweep, swept: Swept, journal: Journal, measurements: list[Measurement]) -> dict[str, object]:
    """Return what happened as an object that JSON can hold."""
    from devices.measurement_record import to_record

    return {
        "jobs": len(sweep.jobs),
        "finished_before": len(swept.before),
        "finished": [{"id": job.id, "run": journal.runs[job.id].name} for job in sweep.jobs if job.id in journal.runs],
        "failed": [{"id": f.job.id, "job": f.job.label, "reason": f.reason, "tries": f.tries} for f in swept.failed],
        "left_out": list(sweep.left_out),
        "measurements": [to_record(item) for item in measurements],
    }
