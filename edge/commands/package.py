"""The command that turns a bundle into a package for a build system."""

from __future__ import annotations

from pathlib import Path

import click

from edge.commands.common import force_option, output_option, refuse_existing


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--form", "form_name", required=True, help="One of cmake, arduino (a zip), zephyr and dut.")
@click.option("--part", help="Which part of a divided network, for example head.")
@output_option
@force_option
def package(bundle: Path, form_name: str, part: str | None, output: Path, force: bool) -> None:
    """Write a bundle for arm-m as a package.

    Its C for a build system, with an example that starts from raw input: a CMake project, an Arduino library, or a
    Zephyr module. Or as a device under test: a firmware's answers to MLPerf Tiny's serial protocol.
    """
    from export.bundle_read import read_bundle
    from export.embed.packages import find_form, write_package

    form = find_form(form_name)
    refuse_existing(output, force)
    write_package(read_bundle(bundle), form, output, part, overwrite=force)
    click.echo(f"{output}: {form.summary}")
