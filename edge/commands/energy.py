"""The command that integrates a recorded trace."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from edge.commands.common import json_option, print_json, print_table


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--inferences", type=click.IntRange(min=1), required=True, help="Inferences in each window.")
@click.option("--marks", type=click.Path(path_type=Path), help="JSON list of seconds; default: those of the trace.")
@click.option("--idle", metavar="FROM:TO", default="", help="Seconds in which the device did nothing, for net energy.")
@click.option("--lsb-w", type=click.FloatRange(min=0), default=0.0, help="Resolution of the meter in W.")
@click.option("--gain", type=click.FloatRange(min=0), default=0.0, help="Largest relative error that its maker states.")
@json_option
def energy(
    trace: Path, inferences: int, marks: Path | None, idle: str, lsb_w: float, gain: float, as_json: bool
) -> None:
    """Integrate a recorded power or energy trace.

    TRACE is a .bin of MLPerf Tiny, a .csv with time_s and power_w or energy_j, or a .json of this program. Pairs of
    marks enclose the windows, counted from the last one.
    """
    from devices.meters.energy import energy_of
    from devices.meters.trace_file import read_trace, windows_of
    from devices.meters.uncertainty import MeterSpec
    from devices.report.energy import energy_text
    from devices.report.units import DASH, joules, watts

    read = read_trace(trace, marks)
    windows = windows_of(read.marks_s, inferences)
    known = "as given" if lsb_w or gain else None
    spec = MeterSpec(lsb_w, gain, read.step_s, known)
    found = energy_of(read, windows, _idle(idle), spec, meter=trace.name, method="replayed")
    if as_json:
        print_json({"windows_s": [list(window[:2]) for window in windows], **asdict(found)})
        return
    net = found.net_j or (None,) * len(windows)
    rows = [
        (f"{begin:.3f} to {end:.3f} s", str(count), watts(power), joules(gross), joules(rest) if rest else DASH)
        for (begin, end, _), count, power, gross, rest in zip(
            windows, found.samples_per_window, found.power_w, found.gross_j, net, strict=True
        )
    ]
    print_table("Energy per inference", ("window", "samples", "mean power", "gross", "net"), rows)
    click.echo(energy_text(found))


def _idle(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    try:
        begin, end = (float(part) for part in text.split(":"))
    except ValueError:
        raise click.BadParameter(f"--idle takes two seconds, 3.0:8.5, not '{text}'.") from None
    return begin, end
