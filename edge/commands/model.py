"""Commands over one model: quantize, eval, export."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from edge.commands.common import (
    data_options,
    force_option,
    json_option,
    load_data,
    output_option,
    preset_option,
    print_json,
    refuse_existing,
)

#: The same as `export.preprocess.RESIZES`, which takes numpy to import; a test compares them.
RESIZES = ("nearest", "bilinear", "crop-nearest", "crop-bilinear")

model_argument = click.argument("model")
weights_option = click.option(
    "--weights", type=click.Path(path_type=Path), help="Weights (.npz) of a factory's module."
)


@click.command()
@model_argument
@click.option("--scheme", "scheme_name", required=True, help="For example w8a8, w8a8-sym, w4a8-p99.99, we4m3-ae4m3.")
@preset_option
@click.option("--passes", help="Apply these passes instead, e.g. cle+scales+gptq+bias, or plain. See docs/numerics.md.")
@data_options("--calib", "Calibration data; its training images are used, or all where there is no such part.")
@click.option(
    "--count", type=click.IntRange(min=1), default=256, show_default=True, help="How many images to calibrate on."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which images.")
@click.option("--anew", is_flag=True, help="Quantise a quantised MODEL again, from the real values of its codes.")
@weights_option
@output_option
@force_option
def quantize(
    model: str,
    scheme_name: str,
    preset: str,
    passes: str | None,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    count: int,
    seed: int,
    anew: bool,
    weights: Path | None,
    output: Path,
    force: bool,
) -> None:
    """Quantise a float model.

    MODEL is FILE.onnx, FILE.graph or package.module:factory (with --weights). The output is OUT.graph (any format),
    OUT.onnx (QDQ, integers of at most 8 bits) or OUT.tflite (int8, or int16 activations). With --anew MODEL may be
    quantised already, FILE.tflite for example: what another tool made with zero points becomes symmetric for jetson.
    """
    from edge.model_file import load_model
    from edge.quantizing import How, check_suffix, quantise_model, save_quantised
    from quant.method import parse_method
    from quant.scheme import parse_scheme

    how = How(parse_scheme(scheme_name), preset, passes, count, seed, anew)
    if passes is not None:
        parse_method(passes)
    check_suffix(output, how.scheme)
    refuse_existing(output, force)
    dataset = load_data(data, pixel_scale, mean, std, test_share=0)
    graph = load_model(model, weights, dataset.preprocess.shape)
    # What is tried shows as it happens to who looks on; a script gets one line when something fails.
    watched = sys.stderr.isatty()
    choice = quantise_model(graph, how, dataset, (lambda line: click.echo(line, err=True)) if watched else None)
    save_quantised(choice.graph, output)
    for line in choice.reasons():
        click.echo(line)
    used = min(count, len(dataset.x_train))
    click.echo(f"{output}: {choice.scheme}, passes {choice.method}, calibrated on {used} images of {dataset.name}")


@click.command("eval")
@click.argument("model", metavar="MODEL_OR_BUNDLE")
@data_options("--data", "Data; its test images are used, or all where there is no such part.")
@click.option("--runtime", help="Execute a bundle with this runtime; default: the integer reference.")
@weights_option
@json_option
def evaluate(
    model: str,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    runtime: str | None,
    weights: Path | None,
    as_json: bool,
) -> None:
    """Measure the accuracy of a model or a bundle.

    The model is float or quantised: FILE.onnx, FILE.tflite, FILE.graph, FILE.bnn (a binary network) or
    package.module:factory (with --weights). A bundle brings its own pre-processing.
    """
    from edge.quantizing import evaluate_model, is_bundle

    if is_bundle(model) and (pixel_scale is not None or mean or std):
        raise click.UsageError("a bundle brings its own pre-processing; leave out --pixel-scale, --mean and --std.")
    result = evaluate_model(model, load_data(data, pixel_scale, mean, std, test_share=1), runtime, weights)
    if as_json:
        found = asdict(result)
        print_json(found if result.answered else {k: found[k] for k in ("images", "accuracy", "executed_by")})
        return
    click.echo(f"{result.accuracy:.2%} of {result.images} test images right ({result.executed_by})")
    for part in result.answered:
        right = "" if part.accuracy is None else f", {part.accuracy:.2%} of them right"
        click.echo(f"  {part.part} answers {part.share:.1%}{right}")
    if result.macs is not None:
        click.echo(f"  {result.macs:,.0f} MACs an image; edgemill dynamic says more")


@click.command()
@model_argument
@click.option("--target", "target_names", multiple=True, required=True, help="A target; may be given several times.")
@data_options("--data", "Data whose test images become test vectors, and whose labels travel with the bundle.")
@click.option("--vectors", type=click.IntRange(min=2), default=16, show_default=True, help="How many test vectors.")
@click.option("--float", "float_model", help="The float model, for targets that write it (jetson-nano, jetson-tx2).")
@click.option("--cut", help="Divide the network after this tensor into head and tail.")
@click.option(
    "--resize",
    type=click.Choice(RESIZES),
    help="How applications bring images of another size to the network's; crop- takes the middle in its shape.",
)
@click.option("--name", help="The bundle's name; default: the model's.")
@click.option("--softmax", is_flag=True, help="With arm-a, one more .tflite file that ends in probabilities.")
@click.option("--board", help="With fpga, the board whose device the core must fit; see edgemill boards.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="With fpga, frames per second, at least.")
@click.option("--folding", type=click.Path(path_type=Path), help="With fpga, a folding.json instead of a search.")
@click.option("--sequential", is_flag=True, help="With fpga, one multiply-accumulate for the whole network.")
@click.option("--head", type=click.Choice(["logits", "labels"]), help="With fpga, what leaves the core (logits).")
@click.option(
    "--tap-output", "taps", multiple=True, help="With fpga, a tensor that leaves the core as a further stream."
)
@click.option("--status", is_flag=True, help="With fpga, registers that count frames, clocks and waits (AXI4-Lite).")
@output_option
@force_option
def export(
    model: str,
    target_names: tuple[str, ...],
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    vectors: int,
    float_model: str | None,
    cut: str | None,
    resize: str | None,
    name: str | None,
    softmax: bool,
    board: str | None,
    rate: float | None,
    folding: Path | None,
    sequential: bool,
    head: str | None,
    taps: tuple[str, ...],
    status: bool,
    output: Path,
    force: bool,
) -> None:
    """Export a quantised model as a bundle.

    MODEL is FILE.graph, a QDQ FILE.onnx or a quantised FILE.tflite; or FILE.bnn, a binary network, for arm-m. The
    bundles of several targets become folders in OUTPUT.
    """
    from edge.binary_eval import is_binary
    from edge.circuits import circuit_request
    from edge.data import with_resize
    from edge.quantizing import ExportJob, export_models, places_of
    from export.targets import find_target

    targets = [find_target(target) for target in target_names]
    circuit = circuit_request(board, rate, folding, sequential=sequential, head=head, taps=taps, status=status)
    if (circuit is not None or head is not None) and "fpga" not in target_names:
        names = "--board, --rate, --folding, --sequential, --head, --tap-output and --status"
        raise click.UsageError(f"{names} go with --target fpga.")
    places = places_of(targets, output)
    for place in places:
        refuse_existing(place, force)
    dataset = with_resize(load_data(data, pixel_scale, mean, std, test_share=1), resize)
    job = ExportJob(model, float_model, dataset, vectors, cut, name, softmax, circuit)
    if is_binary(model):
        from edge.binary_bundles import export_binary

        binary = export_binary(job, targets, output, overwrite=force)
        click.echo(f"{output}: arm-m, digest {binary.digest[:16]}")
        return
    made = export_models(job, targets, output, overwrite=force)
    for place, bundle in zip(places, made, strict=True):
        click.echo(f"{place}: {bundle.manifest.target}, digest {bundle.digest[:16]}")
