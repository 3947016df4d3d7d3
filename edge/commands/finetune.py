"""The command finetune: quantisation-aware training from the result of post-training quantisation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.common import data_options, force_option, load_data, output_option, refuse_existing

if TYPE_CHECKING:
    from edge.dataset import Dataset
    from edge.finetune import Finetuned
    from quant.graph import Graph


@click.command()
@click.argument("model")
@click.option("--scheme", "scheme_name", help="Quantise to this scheme first, for example w4a4 or we2m1-aint8.")
@click.option("--start", help="Start from this quantised FILE.graph instead, made of the same MODEL.")
@data_options("--data", "Data; its training images are used, or all where there is no such part.")
@click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True, help="Passes over the images.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Images per update.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=0.01,
    show_default=True,
    help="Peak learning rate; with adam the share of a quantisation step that one update moves.",
)
@click.option(
    "--loss",
    type=click.Choice(("distil", "labels", "both")),
    default="distil",
    show_default=True,
    help="Towards the float model's outputs (needs no labels), the labels, or both.",
)
@click.option(
    "--optimiser", type=click.Choice(("adam", "sgd")), default="adam", show_default=True, help="How weights move."
)
@click.option("--learn-scales", is_flag=True, help="Train the scales of weights and activations too.")
@click.option(
    "--count", type=click.IntRange(min=1), default=256, show_default=True, help="How many images calibrate --scheme."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Order and choice of images.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Keep the state in this .npz after every epoch, and go on from it where it exists.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights (.npz) of a factory's module.")
@output_option
@force_option
def finetune(
    model: str,
    scheme_name: str | None,
    start: str | None,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    epochs: int,
    batch: int,
    rate: float,
    loss: str,
    optimiser: str,
    learn_scales: bool,
    count: int,
    seed: int,
    checkpoint: Path | None,
    weights: Path | None,
    output: Path,
    force: bool,
) -> None:
    """Quantise a float model and train it on.

    MODEL is FILE.onnx, FILE.graph or package.module:factory (with --weights). The output is OUT.graph (any format),
    OUT.onnx (QDQ, integers of at most 8 bits) or OUT.tflite. One image in ten is held out and chooses the epoch.
    """
    from edge import finetune as finetuning
    from edge.model_file import load_model
    from edge.quantizing import save_quantised
    from edge.train import Schedule

    if (scheme_name is None) == (start is None):
        raise click.UsageError("give either --scheme, or --start with a quantised graph.")
    finetuning.check_places(output, checkpoint)
    refuse_existing(output, force)
    dataset = load_data(data, pixel_scale, mean, std, test_share=0)
    graph = load_model(model, weights, dataset.preprocess.shape)
    quantised = _quantised(graph, scheme_name, start, dataset, count, seed)
    finetuning.check_output(quantised, output)
    schedule = Schedule(epochs=epochs, batch=batch, rate=rate, seed=seed)
    how = finetuning.Finetuning(loss=loss, optimiser=optimiser, learn_scales=learn_scales)
    made = finetuning.finetune(graph, quantised, dataset, schedule, how, checkpoint)
    save_quantised(made.graph, output)
    click.echo(f"{output}: {_summary(made)}")


def _quantised(
    graph: Graph, scheme_name: str | None, start: str | None, dataset: Dataset, count: int, seed: int
) -> Graph:
    """Return the graph that training starts from."""
    from edge.model_file import load_model
    from edge.quantizing import How, quantise_model
    from quant.scheme import parse_scheme

    if start is not None:
        return load_model(start)
    return quantise_model(graph, How(parse_scheme(scheme_name or ""), count=count, seed=seed), dataset).graph


def _summary(made: Finetuned) -> str:
    best = "the start" if made.best == 0 else f"epoch {made.best}"
    before, after = made.losses[0], made.losses[made.best]
    return f"best of {len(made.losses) - 1} epochs is {best}; held-out loss {before:.4f} before, {after:.4f} after"
