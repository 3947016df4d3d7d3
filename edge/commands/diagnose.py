"""The command diagnose: which layer loses, why, and the cheapest cure, tried."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.common import data_options, json_option, load_data, print_json, print_table

if TYPE_CHECKING:
    from quant.diagnose import Progress
    from quant.diagnosis.record import Diagnosis, Row, Trial

#: Layers without a cause are shown when they make at least this share of the noise.
SHOWN = 0.01


@click.command("diagnose")
@click.argument("model")
@click.option("--scheme", "scheme_name", help="Quantise a float MODEL by this scheme, for example w4a8.")
@click.option("--float", "float_model", help="The float model a quantised MODEL was made from.")
@data_options("--calib", "Calibration data; its training images are used, or all where there is no such part.")
@click.option("--test", "test_data", metavar="DATA", help="Labelled data for accuracies; its test images are used.")
@click.option("--count", type=click.IntRange(min=1), default=64, show_default=True, help="How many images to use.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which images.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights (.npz) of a factory's module.")
@click.option("--all", "show_all", is_flag=True, help="Show every layer.")
@json_option
def diagnose(
    model: str,
    scheme_name: str | None,
    float_model: str | None,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    test_data: str | None,
    count: int,
    seed: int,
    weights: Path | None,
    show_all: bool,
    as_json: bool,
) -> None:
    """Name what quantisation loses, why, and what helps.

    MODEL is a float model (with --scheme), or a quantised one (with --float): FILE.graph, anyone's QDQ FILE.onnx, or
    FILE.tflite. Layers are sorted by damage. For every cause the cheapest cures are tried on the calibration images.
    """
    if (scheme_name is None) == (float_model is None):
        raise click.UsageError("give --scheme with a float MODEL, or --float FLOAT with a quantised MODEL.")
    from edge.diagnosing import Request, diagnose_model
    from quant.diagnosis.record import to_json
    from quant.scheme import parse_scheme

    scheme = parse_scheme(scheme_name) if scheme_name is not None else None
    calibration = load_data(data, pixel_scale, mean, std, test_share=0)
    test = load_data(test_data, pixel_scale, mean, std, test_share=1) if test_data is not None else None
    request = Request(model, scheme, float_model, weights, count, seed)
    with _progress(show=not as_json) as progress:
        found = diagnose_model(request, calibration, test, progress)
    if as_json:
        print_json(to_json(found))
    else:
        _print(found, show_all=show_all)


@contextmanager
def _progress(*, show: bool) -> Iterator[Progress]:
    """Show a bar on standard error where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, steps: bar.update(task, description=what, completed=done, total=steps)


def _print(found: Diagnosis, *, show_all: bool) -> None:
    from quant.diagnosis.summary import best_of

    rows = [row for row in found.rows if show_all or row.findings or row.facts.share >= SHOWN]
    title = f"{found.network} as {found.scheme}, {found.images} calibration images"
    print_table(title, ("layer", "noise", "own", "here", "why"), [_cells(row) for row in rows])
    if found.trials:
        columns = ("for", "cure", "costs", "logits", "gain", "labels kept", "accuracy")
        print_table("Cures tried", columns, [_trial_cells(trial) for trial in found.trials])
    if found.float_accuracy is not None and found.score.accuracy is not None:
        click.echo(
            f"accuracy on {found.test_images} test images: float {found.float_accuracy:.2%}, "
            f"quantised {found.score.accuracy:.2%}"
        )
    if found.unmatched:
        click.echo(f"float layers without a counterpart, not looked at: {', '.join(found.unmatched)}")
    if found.equalised:
        click.echo(f"channels were scaled behind {len(found.equalised)} layers before quantisation; compared alike")
    best = best_of(found.trials)
    if best is not None and not best.rewritten:
        click.echo(f"to have {best.cure}: edgemill quantize --scheme '{best.scheme}' --passes {best.passes} ...")
    click.echo(found.summary)


def _cells(row: Row) -> tuple[str, ...]:
    from quant.diagnosis.summary import title_of

    damage = row.facts.damage
    why = "\n".join(f"{title_of(finding.cause)}: {finding.evidence}" for finding in row.findings)
    own, here = (_db(error.sqnr_db) for error in (damage.local, damage.accumulated))
    return row.facts.name, f"{row.facts.share:.1%}", own, here, why or "-"


def _trial_cells(trial: Trial) -> tuple[str, ...]:
    from quant.diagnosis.summary import title_of

    begin = title_of(trial.cause), trial.cure, trial.price
    if trial.score is None or trial.gain_db is None:
        return *begin, f"refused: {trial.refused}", "-", "-", "-"
    accuracy = "-" if trial.score.accuracy is None else f"{trial.score.accuracy:.2%}"
    return *begin, _db(trial.score.sqnr_db), f"{trial.gain_db:+.1f} dB", f"{trial.score.agreement:.1%}", accuracy


def _db(value: float) -> str:
    return f"{value:.1f} dB" if math.isfinite(value) else "exact" if value > 0 else "-"
