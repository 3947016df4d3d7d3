"""The command that makes a bundle of two networks, the second asked where the first is not sure."""

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
from edge.commands.exits import SCORES

if TYPE_CHECKING:
    from edge.gates.cascade_bundle import Cascade
    from export.bundle_read import Bundle

_SHARE = click.FloatRange(0, 1)
#: At most this share of images asks the second network, where neither a share nor an accuracy is given.
MOST_SHARE = 0.5


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--scheme", "scheme_name", default="w8a8", show_default=True, help="Of float models.")
@preset_option
@click.option("--target", "target_name", required=True, help="A target; see edgemill targets.")
@data_options("--data", "Training images calibrate; the last of them choose temperatures and the threshold.")
@click.option("--most-share", type=_SHARE, help="Best accuracy with at most this share asking SECOND; default: 0.5.")
@click.option("--least-accuracy", type=_SHARE, help="Fewest MACs at this accuracy of held-out images.")
@click.option("--by-share", is_flag=True, help="Just --most-share, without a look at labels.")
@click.option("--score", type=click.Choice(SCORES), default="difference", show_default=True, help="How sure one is.")
@click.option("--no-post-check", is_flag=True, help="SECOND answers wherever it is asked, not the surer of both.")
@held_out_option
@click.option("--name", default="cascade", show_default=True, help="The bundle's name.")
@output_option
@force_option
@json_option
def cascade(
    first: str,
    second: str,
    scheme_name: str,
    preset: str,
    target_name: str,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    most_share: float | None,
    least_accuracy: float | None,
    by_share: bool,
    score: str,
    no_post_check: bool,
    held_out: int,
    name: str,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Make a bundle of two complementary networks.

    FIRST answers where it is sure; else SECOND is asked, and the surer of both answers. Each is a float FILE.onnx or
    FILE.graph, which is quantised first, or a quantised one (also FILE.tflite). Temperatures and the threshold are
    chosen after quantisation, on held-out images.
    """
    from edge.cascade_job import CascadeJob, write_cascade
    from edge.data import TEST_SHARE
    from edge.gates.cascade_bundle import Wish
    from edge.model_file import load_model_file
    from edge.quantizing import How
    from export.targets import find_target
    from quant.scheme import parse_scheme

    if by_share and least_accuracy is not None:
        raise click.UsageError("--by-share looks at no label: leave out --least-accuracy.")
    target, how = find_target(target_name), How(parse_scheme(scheme_name), preset)
    if most_share is None:
        most_share = MOST_SHARE if least_accuracy is None else 1.0
    wish = Wish(
        score=score,
        post_check=not no_post_check,
        most_share=most_share,
        least_accuracy=least_accuracy,
        by_share=by_share,
    )
    refuse(output, force)
    models = load_model_file(first), load_model_file(second)
    dataset = load_data(data, pixel_scale, mean, std, test_share=TEST_SHARE)
    job = CascadeJob(how=how, wish=wish, held_out=held_out, name=name)
    bundle, made = write_cascade(output, models, dataset, job, target, overwrite=force)
    _print(bundle, made, output, as_json, held_out)


def _print(bundle: Bundle, made: Cascade, output: Path, as_json: bool, images: int) -> None:
    found, alone = made.figures, dict(zip(("first", "second"), made.alone, strict=True))
    rules = [part.after for part in made.spec.parts]
    if as_json:
        told = {"images": images, "alone": alone, "temperatures": made.temperatures, "held_out": asdict(found)}
        print_json({**told, "rules": [asdict(one) if one else None for one in rules], "digest": bundle.digest})
        return
    assert rules[0] is not None
    macs = [part.record.macs for part in bundle.parts]
    who = "the surer of both answers" if rules[1] else "it answers"
    click.echo(
        f"first: answers alone from {rules[0].score} {rules[0].threshold:.4f} on, temperature "
        f"{made.temperatures[0]:.3f}; by itself {alone['first']:.2%} right at {macs[0]:,} MACs"
    )
    click.echo(
        f"second: asked for {found.second_share:.1%}, then {who}, temperature {made.temperatures[1]:.3f}; by itself "
        f"{alone['second']:.2%} right at {macs[1]:,} MACs"
    )
    click.echo(
        f"{output}: {bundle.manifest.target}, {found.accuracy:.2%} of {images} held-out images right at "
        f"{found.macs:,.0f} MACs an image"
    )
