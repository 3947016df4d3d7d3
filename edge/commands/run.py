"""Commands over a configuration and its run folder: run, train, report, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.common import force_option, json_option, print_json, refuse_existing, store_option

if TYPE_CHECKING:
    from devices.run_record import RunRecord

config_argument = click.argument("config", type=click.Path(path_type=Path))
folder_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Run folder; default runs/NAME. A second call resumes."
)
#: The same as `edge.splitting.record.FILE`.
_SEARCH = "split.json"
run_argument = click.argument("run_folder", metavar="RUN_OR_SWEEP", type=click.Path(path_type=Path))


@click.command()
@config_argument
@folder_option
@json_option
def run(config: Path, output: Path | None, as_json: bool) -> None:
    """Train, quantise, export, verify, profile, report.

    A second call resumes where the first one stopped.

    Exit code 1 when an exported form computes something else than the reference, or no target took any scheme.
    """
    from devices.report.summary import print_summary
    from devices.run_record import to_json
    from edge.config import read_config
    from edge.pipeline import REPORT, run_pipeline

    settings = read_config(config)
    folder = output or Path("runs") / settings.run.name
    record = run_pipeline(settings, folder, lambda line: click.echo(line, err=True), show=not as_json)
    if as_json:
        click.echo(to_json(record), nl=False)
    else:
        print_summary(record)
        click.echo(f"report: {folder / REPORT}")
    _judge(record)


def _judge(record: RunRecord) -> None:
    """End with an error when the run proves that something is wrong; the report is there all the same."""
    wrong = [(b, p) for b in record.bundles for p in b.parity if p.status == "wrong"]
    if wrong:
        bundle, first = wrong[0]
        raise click.ClickException(
            f"{len(wrong)} parity result{'s are' if len(wrong) > 1 else ' is'} wrong, first {bundle.path} "
            f"({first.part} on {first.runtime}): {first.reason}"
        )
    if all(bundle.refused is not None for bundle in record.bundles):
        raise click.ClickException(f"no target took any scheme: {record.bundles[0].refused}")


@click.command()
@config_argument
@folder_option
def train(config: Path, output: Path | None) -> None:
    """Train the model of a configuration only.

    Leaves model.onnx and weights.npz in the run folder.
    """
    from edge.config import read_config
    from edge.pipeline import train_only

    settings = read_config(config)
    folder = output or Path("runs") / settings.run.name
    accuracy = train_only(settings, folder, lambda line: click.echo(line, err=True))
    click.echo(f"{folder / 'model.onnx'}: float accuracy {accuracy:.2%} on the test images")


@click.command()
@run_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page; default RUN/report.html.")
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Write the measurements here as well, as CSV.")
@force_option
def report(run_folder: Path, output: Path | None, table: Path | None, force: bool) -> None:
    """Draw the report of a run or a sweep.

    One HTML file without links to anywhere. Also of a folder that edgemill dynamic wrote.
    """
    from devices import dynamic_record
    from devices.report.csv_rows import write_csv
    from devices.report.dynamic_page import write_dynamic_report
    from devices.report.page import write_report
    from devices.report.sweep_page import write_sweep_report
    from devices.run_record import read_run
    from devices.sweep_record import FILE, read_sweep

    path = output or run_folder / "report.html"
    if (run_folder / dynamic_record.FILE).is_file():
        if table is not None:
            raise click.UsageError(
                f"--csv is for runs; the figures of a bundle with rules are in {dynamic_record.FILE}."
            )
        found = dynamic_record.read_dynamic(run_folder)
        refuse_existing(path, force or output is None)
        write_dynamic_report(found, path)
    elif (run_folder / FILE).is_file():
        if table is not None:
            raise click.UsageError("--csv is for runs: a sweep holds no measurements; its cells are in sweep.json.")
        sweep = read_sweep(run_folder)
        refuse_existing(path, force or output is None)
        write_sweep_report(sweep, path)
    elif (run_folder / _SEARCH).is_file():
        raise click.ClickException(
            f"{run_folder} holds a search for a cut, which edgemill split draws; the same command draws it again."
        )
    else:
        record = read_run(run_folder)
        refuse_existing(path, force or output is None)
        if table is not None:
            refuse_existing(table, force)
            write_csv(record, table)
            click.echo(str(table))
        write_report(record, path)
    click.echo(str(path))


@click.command()
@click.argument("base")
@click.argument("other")
@store_option
@json_option
def compare(base: str, other: str, store: Path | None, as_json: bool) -> None:
    """Put two runs side by side.

    Accuracy, size, latency, instructions, cycles, parity. A run is a folder of `edgemill run`, or one that was kept in
    a store: its folder, its name there, the beginning of it, or `latest`.
    """
    from dataclasses import asdict

    from devices.run_record import RunRecord
    from edge.compare import compare as compare_runs
    from edge.compare import compare_measured, comparison_table
    from edge.stored_runs import open_run

    old, new = open_run(base, store), open_run(other, store)
    if isinstance(old.record, RunRecord) and isinstance(new.record, RunRecord):
        found = compare_runs(old.record, new.record)
    else:
        found = compare_measured((old.name, old.measurements), (new.name, new.measurements))
    if as_json:
        print_json(asdict(found))
        return
    from rich.console import Console

    Console().print(comparison_table(found))
