"""Commands over one bundle: verify, profile; and doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from edge.commands.common import json_option, print_json, print_table

bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))


@click.command()
@bundle_argument
@click.option("--runtime", "names", multiple=True, help="Only these runtimes; default: all of the target.")
@click.option("--vectors", type=int, help="Only this many test vectors.")
@click.option("--certify", is_flag=True, help="Write the result into the bundle as its certificate.")
@json_option
@click.pass_context
def verify(
    context: click.Context, bundle: Path, names: tuple[str, ...], vectors: int | None, certify: bool, as_json: bool
) -> None:
    """Check a bundle's integrity, and its parity on what this machine can execute. Exit code 1 when a check fails."""
    from devices.runtimes import find_runtime, runtimes_for
    from export.bundle import add_certificate
    from export.bundle_read import read_bundle
    from export.parity import certificate, check_bundle

    read = read_bundle(bundle)
    chosen = tuple(find_runtime(name) for name in names) or runtimes_for(read.manifest.target)
    results = check_bundle(read, chosen, vectors)
    if certify:
        add_certificate(bundle, certificate(results))
    if as_json:
        print_json({"bundle": str(bundle), "digest": read.digest, **certificate(results)})
    else:
        rows = [
            (r.part, r.runtime, r.status, f"{r.vectors}", f"{r.max_steps}", f"{r.top1_agreement:.1%}", r.reason)
            for r in results
        ]
        click.echo(f"{bundle}: intact, digest {read.digest[:16]}")
        print_table("Parity", ("part", "runtime", "status", "vectors", "max steps", "top-1", "why"), rows)
    if any(r.status == "wrong" for r in results):
        context.exit(1)


@click.command()
@bundle_argument
@click.option("--board", "names", multiple=True, required=True, help="A board; may be given several times.")
@click.option("--windows", default=10, show_default=True, help="How many windows of latencies.")
@click.option("--window-s", default=0.2, show_default=True, help="Length of a window in seconds, at least.")
@click.option("--dry-run", is_flag=True, help="Print what would be run.")
@json_option
def profile(bundle: Path, names: tuple[str, ...], windows: int, window_s: float, dry_run: bool, as_json: bool) -> None:
    """Measure a bundle on boards: latency, instructions, cycles, memory. What is absent has a reason."""
    from devices.report.summary import measurement_rows

    from devices import plan as planning
    from devices.boards import find_board
    from devices.measurement import to_record
    from devices.runner import profile as profile_plan
    from export.bundle_read import read_bundle

    boards = [find_board(name) for name in names]
    read = read_bundle(bundle)
    plans = [plan for board in boards for plan in planning.plans(read, board, windows=windows, window_s=window_s)]
    if dry_run:
        for plan in plans:
            click.echo(planning.describe(plan))
        return
    found = [profile_plan(plan) for plan in plans]
    if as_json:
        print_json([to_record(item) for item in found])
        return
    columns, rows = measurement_rows(found)
    print_table("Profile", columns, rows)


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what this machine can export, execute and measure, and how to get the rest."""
    from devices.doctor import examine

    findings = examine()
    if as_json:
        print_json([asdict(item) for item in findings])
        return
    rows = [(item.kind, item.name, "yes" if item.available else "no", item.detail) for item in findings]
    print_table("This machine", ("what", "name", "here", "detail"), rows)
