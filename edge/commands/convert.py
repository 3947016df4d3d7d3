"""The command convert: the same network in another file form."""

from __future__ import annotations

from pathlib import Path

import click

from edge.commands.common import force_option, output_option, refuse_existing

#: Dialects of quantised ONNX.
FORMS = ("qdq", "qonnx")


@click.command("convert")
@click.argument("model")
@click.option(
    "--form",
    type=click.Choice(FORMS),
    default=FORMS[0],
    show_default=True,
    help="How OUT.onnx says that a model is quantised; qonnx has every format.",
)
@output_option
@force_option
def convert(model: str, form: str, output: Path, force: bool) -> None:
    """Write a model in another file form.

    MODEL is FILE.onnx, FILE.tflite or FILE.graph, float or quantised; the output is OUT.onnx (QDQ or QONNX where the
    model is quantised), OUT.tflite or OUT.graph. Codes, scales and zero points stay; what a form cannot express is
    refused.
    """
    from edge.converting import check_form, convert_model
    from edge.model_file import load_model

    check_form(output, form)
    refuse_existing(output, force)
    graph = load_model(model)
    convert_model(graph, output, form)
    click.echo(f"{output}: {'quantised' if graph.is_quantised else 'float'}, {len(graph.nodes)} layers")
