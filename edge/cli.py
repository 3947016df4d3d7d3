"""The command line. Importing this loads no torch, onnx or runtime: each command imports what it needs."""

from __future__ import annotations

from typing import Any

import click

from devices.errors import DeviceError
from edge.commands import (
    bundle,
    cascade,
    convert,
    diagnose,
    dynamic,
    energy,
    exits,
    explore,
    filter,
    finetune,
    gate,
    lab,
    lint,
    lists,
    model,
    package,
    run,
    serve,
    split,
)
from edge.errors import EdgeError
from export.errors import ExportError
from quant.errors import QuantError

COMMANDS = (
    run.run,
    run.train,
    model.quantize,
    finetune.finetune,
    diagnose.diagnose,
    explore.sweep,
    explore.search,
    convert.convert,
    model.export,
    exits.exits,
    cascade.cascade,
    filter.filter_,
    lint.lint,
    package.package,
    bundle.verify,
    bundle.profile,
    energy.energy,
    lab.lab,
    split.split,
    serve.serve,
    serve.infer,
    model.evaluate,
    dynamic.dynamic,
    run.report,
    run.compare,
    gate.gate,
    gate.runs,
    bundle.doctor,
    lists.formats,
    lists.targets,
    lists.boards,
    lists.models,
    lists.recipes,
)


class Edgemill(click.Group):
    """The group of commands; turns the four library errors into one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List commands in the order a person uses them."""
        return [command.name or "" for command in COMMANDS]

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; with --debug an error keeps its traceback."""
        try:
            return super().invoke(ctx)
        except (QuantError, ExportError, DeviceError, EdgeError) as error:
            if ctx.params.get("debug"):
                raise
            # One line, also where a compiler or a parser said more.
            raise click.ClickException(" ".join(str(error).split())) from error


def _print_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from export.manifest import VERSION

        click.echo(f"edgemill {VERSION}")
        context.exit()


@click.group(cls=Edgemill, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main(debug: bool) -> None:
    """Float classifier in; verified, measured bundles for Jetson, ARM and FPGA out."""


for _command in COMMANDS:
    main.add_command(_command)

if __name__ == "__main__":
    main(prog_name="edgemill")
