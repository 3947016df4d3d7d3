"""The command that makes a bundle with a filter: frames without anything of interest are dropped on the device."""

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

if TYPE_CHECKING:
    from edge.gates.filter_bundle import Filtered
    from export.bundle_read import Bundle


@click.command("filter")
@click.argument("model")
@click.option("--judge", "judge_name", required=True, help="The judge, a model file: one number per frame.")
@click.option("--cut", "tensor", required=True, help="The tensor the judge reads; edgemill split MODEL --list.")
@click.option(
    "--interesting", required=True, help="Comma-separated classes, names or numbers, that must not be missed."
)
@click.option(
    "--least-recall",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Share of interesting held-out images that must pass.",
)
@click.option("--scheme", "scheme_name", default="w8a8", show_default=True, help="Of float models.")
@preset_option
@click.option("--target", "target_name", required=True, help="A target; see edgemill targets.")
@data_options("--data", "Training images calibrate; the last of them choose the threshold.")
@held_out_option
@click.option("--name", default="filtered", show_default=True, help="The bundle's name.")
@output_option
@force_option
@json_option
def filter_(
    model: str,
    judge_name: str,
    tensor: str,
    interesting: str,
    least_recall: float,
    scheme_name: str,
    preset: str,
    target_name: str,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    held_out: int,
    name: str,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Make a bundle that drops dull frames.

    A judge reads an early tensor of MODEL; where it sees nothing of interest, the rest of the network does not run and
    nothing is sent. Both are a float FILE.onnx or FILE.graph, which is quantised first, or quantised. The threshold is
    chosen after quantisation, on held-out images.
    """
    from edge.data import TEST_SHARE
    from edge.filter_job import FilterJob, write_filter
    from edge.model_file import load_model_file
    from edge.quantizing import How
    from export.targets import find_target
    from quant.scheme import parse_scheme

    target, how = find_target(target_name), How(parse_scheme(scheme_name), preset)
    classes = tuple(part.strip() for part in interesting.split(",") if part.strip())
    refuse(output, force)
    network, judge = load_model_file(model), load_model_file(judge_name)
    dataset = load_data(data, pixel_scale, mean, std, test_share=TEST_SHARE)
    job = FilterJob(
        how=how, tensor=tensor, interesting=classes, least_recall=least_recall, held_out=held_out, name=name
    )
    bundle, made = write_filter(output, network, judge, dataset, job, target, overwrite=force)
    _print(bundle, made, output, as_json, held_out)


def _print(bundle: Bundle, made: Filtered, output: Path, as_json: bool, images: int) -> None:
    found, macs = made.figures, [part.record.macs for part in bundle.parts]
    if as_json:
        told = {"images": images, "roc_auc": made.roc_auc, "held_out": asdict(found), "macs": macs}
        rule = bundle.parts[1].record.after
        assert rule is not None
        print_json({**told, "rule": asdict(rule), "digest": bundle.digest})
        return
    click.echo(f"judge: drops frames below {found.threshold:.4f}; area under the ROC curve {made.roc_auc:.4f}")
    click.echo(f"MACs: {macs[0]:,} before the judge, {macs[1]:,} of the judge, {macs[2]:,} of the tail")
    click.echo(
        f"{output}: {bundle.manifest.target}, {found.recall:.2%} of the interesting frames pass, "
        f"{found.silenced:.2%} of the others are dropped ({images} held-out images)"
    )
