"""The command that makes a bundle of a network with early exits."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.common import (
    data_options,
    force_option,
    held_out_option,
    json_option,
    load_data,
    output_option,
    preset_option,
    print_json,
)
from edge.commands.common import refuse_existing as refuse
from edge.commands.model import model_argument, weights_option

if TYPE_CHECKING:
    from edge.exits_bundle import Exits

#: The same as `export.rule.SCORES`, which takes numpy to import; a test compares them.
SCORES = ("max_probability", "difference", "entropy", "max_logit")


@click.command()
@model_argument
@click.option("--scheme", "scheme_name", required=True, help="For example w8a8.")
@preset_option
@click.option("--target", "target_name", required=True, help="A target; see edgemill targets.")
@data_options("--data", "Training images calibrate and choose thresholds; test images become test vectors.")
@click.option("--shares", help="Comma-separated shares of inputs that leave at each exit, adding up to 1.")
@click.option("--most-macs", type=click.FloatRange(0, 1), help="Best accuracy at this share of all MACs, on average.")
@click.option("--least-accuracy", type=click.FloatRange(0, 1), help="Fewest MACs at this accuracy of held-out images.")
@click.option("--score", type=click.Choice(SCORES), default=SCORES[0], show_default=True, help="How sure an exit is.")
@held_out_option
@click.option("--vectors", type=click.IntRange(min=2), default=18, show_default=True, help="How many test vectors.")
@click.option("--name", help="The bundle's name; default: the model's.")
@weights_option
@output_option
@force_option
@json_option
def exits(
    model: str,
    scheme_name: str,
    preset: str,
    target_name: str,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    shares: str | None,
    most_macs: float | None,
    least_accuracy: float | None,
    score: str,
    held_out: int,
    vectors: int,
    name: str | None,
    weights: Path | None,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Make a bundle of a network with early exits.

    Quantises it, and chooses temperatures and thresholds on its own logits for images that trained nothing.
    MODEL is a float FILE.onnx, FILE.graph or package.module:factory whose output joins the logits of all exits, the
    last exit's last. Give one of --shares, --most-macs and --least-accuracy.
    """
    from edge.data import TEST_SHARE
    from edge.exits_bundle import ExitJob, Wish, write_exits
    from edge.model_file import load_model
    from edge.quantizing import How
    from export.targets import find_target
    from quant.scheme import parse_scheme

    target, how = find_target(target_name), How(parse_scheme(scheme_name), preset)
    wish = Wish(shares=_shares(shares), most_macs=most_macs, least_accuracy=least_accuracy)
    refuse(output, force)
    dataset = load_data(data, pixel_scale, mean, std, test_share=TEST_SHARE)
    graph = load_model(model, weights, dataset.preprocess.shape)
    job = ExitJob(how=how, wish=wish, score=score, validation=held_out, vectors=vectors, name=name)
    _print(write_exits(output, graph, dataset, job, target, overwrite=force), output, as_json)


def _shares(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise click.BadParameter(f"--shares takes comma-separated numbers, not '{text}'.") from None


def _print(made: Exits, output: Path, as_json: bool) -> None:
    found = made.validation
    if as_json:
        print_json({"rules": [asdict(one) for one in made.rules], "validation": asdict(found)})
        return
    for place, (one, share, accuracy) in enumerate(zip(made.rules, found.shares, found.accuracies, strict=True), 1):
        where = f"from {one.score} {one.threshold:.4f} on" if place < len(made.rules) else "always"
        right = "" if accuracy is None else f", {accuracy:.2%} of them right"
        click.echo(f"exit {place}: answers {where}, temperature {one.temperature:.3f}: {share:.1%} leave{right}")
    whole = sum(part.record.macs for part in made.bundle.parts)
    click.echo(
        f"{output}: {made.bundle.manifest.target}, {found.accuracy:.2%} right at {found.macs:,.0f} of {whole:,} MACs "
        "(validation images)"
    )
