"""The command convert: the same network in another file form."""

from __future__ import annotations

from pathlib import Path

import click

from edge.commands.common import data_options, force_option, load_data, output_option, refuse_existing

#: What a quantised network may become besides its file's ending: dialects of ONNX, and a folder.
FORMS = ("qdq", "qonnx", "hls4ml")
BACKENDS, IO_TYPES = ("Vitis", "Vivado", "Quartus"), ("io_stream", "io_parallel")


@click.command("convert")
@click.argument("model")
@click.option(
    "--form",
    type=click.Choice(FORMS),
    default=FORMS[0],
    show_default=True,
    help="How OUT.onnx says that a model is quantised (qonnx has every format), or hls4ml: OUT is an HLS project.",
)
@click.option(
    "--power-of-two",
    is_flag=True,
    help="Round scales to powers of two first, as hls4ml needs; weights are rounded anew, so evaluate what it costs.",
)
@data_options("--data", "With hls4ml: data to simulate besides random inputs.", required=False)
@click.option("--backend", type=click.Choice(BACKENDS), default=BACKENDS[0], show_default=True, help="Of hls4ml.")
@click.option(
    "--io-type", type=click.Choice(IO_TYPES), default=IO_TYPES[0], show_default=True, help="Of the hls4ml project."
)
@click.option("--reuse", type=click.IntRange(min=1), default=1, show_default=True, help="The reuse factor of hls4ml.")
@click.option("--part", help="The FPGA that the hls4ml project names; default: the backend's own.")
@click.option("--python", help="An interpreter that has hls4ml and qonnx; default: this one.")
@output_option
@force_option
def convert(
    model: str,
    form: str,
    power_of_two: bool,
    data: str | None,
    pixel_scale: float | None,
    mean: str,
    std: str,
    backend: str,
    io_type: str,
    reuse: int,
    part: str | None,
    python: str | None,
    output: Path,
    force: bool,
) -> None:
    """Write a model in another file form.

    MODEL is FILE.onnx, FILE.tflite or FILE.graph, float or quantised; the output is OUT.onnx (QDQ or QONNX where the
    model is quantised), OUT.tflite or OUT.graph, or the folder of an hls4ml project. Codes, scales and zero points
    stay; what a form cannot express is refused.
    """
    from edge.converting import HLS4ML, check_form, convert_model, hls_project
    from edge.model_file import load_model
    from quant.passes.power_of_two import power_of_two_scales

    check_form(output, form)
    refuse_existing(output, force)
    graph = load_model(model)
    graph = power_of_two_scales(graph) if power_of_two else graph
    if form == HLS4ML:
        from export.hls4ml import Setting

        dataset = load_data(data, pixel_scale, mean, std, test_share=1) if data else None
        setting = Setting(backend, io_type, reuse, part, None, python)
        click.echo(hls_project(graph, dataset, output, setting, overwrite=force))
        return
    convert_model(graph, output, form)
    click.echo(f"{output}: {'quantised' if graph.is_quantised else 'float'}, {len(graph.nodes)} layers")
