"""The command lint: would TensorRT's importer on a Jetson take an ONNX file, and what to do where it would not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge.commands.common import force_option, json_option, print_json, refuse_existing


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="The Jetson target whose importer is asked for, such as jetson.")
@click.option(
    "--relabel",
    type=click.Path(path_type=Path),
    help="Write the model here with the operator set of the target, where every operator allows that.",
)
@force_option
@json_option
@click.pass_context
def lint(context: click.Context, model: Path, target: str, relabel: Path | None, force: bool, as_json: bool) -> None:
    """Say what a Jetson's TensorRT would refuse in MODEL.onnx.

    There is no TensorRT here: a pass says that no known rule is broken, not that an engine builds. The exit code is 1
    when a rule is broken. --relabel lowers the operator set without changing a node; both models are computed here and
    have to give the same values.
    """
    from export.jetson_lint import lint as find
    from export.jetson_lint import lint_file, verdict
    from export.jetson_profiles import find_profile

    profile = find_profile(target)
    findings = lint_file(model, profile)
    if relabel is not None:
        refuse_existing(relabel, force)
        findings = find(_write(model, relabel, profile.opset_max), profile)
    body: dict[str, Any] = {"target": target, **verdict(findings)}
    if as_json:
        print_json(body)
    else:
        for finding in findings:
            click.echo(str(finding))
        click.echo(f"{model} for {target}: {body['verdict']}, rules {body['rules_checked']}; not executed on a board")
    context.exit(1 if body["verdict"] == "FAIL" else 0)


def _write(source: Path, path: Path, opset: int) -> Any:
    import onnx

    from export.onnx_fragment import save
    from export.opset import relabel

    made = relabel(onnx.load(source), opset)
    save(made, path)
    return made
