"""The lists: formats, targets, boards, models, recipes; and doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from edge.commands.common import boards_option, json_option, print_json, print_table


@click.command()
@json_option
def formats(as_json: bool) -> None:
    """List the number formats."""
    from quant.formats import FORMATS

    if as_json:
        print_json([{**asdict(f), "min": f.min, "max": f.max, "step": f.unit} for f in FORMATS])
        return
    rows = [(f.name, str(f.bits), f"{f.min:g}", f"{f.max:g}", f"{f.unit:g}") for f in FORMATS]
    print_table("Number formats", ("name", "bits", "smallest", "largest", "step at 0"), rows)


@click.command()
@json_option
def targets(as_json: bool) -> None:
    """List the targets of an export, and their formats."""
    from export.target import spell_formats
    from export.targets import TARGETS

    if as_json:
        print_json(
            [
                {
                    "name": t.name,
                    "summary": t.summary,
                    "weights": list(t.capability.weights),
                    "activations": list(t.capability.activations),
                    "symmetric": t.capability.symmetric,
                }
                for t in TARGETS
            ]
        )
        return
    rows = [
        (t.name, t.summary, spell_formats(t.capability.weights), spell_formats(t.capability.activations))
        for t in TARGETS
    ]
    print_table("Targets", ("name", "what", "weights", "activations"), rows)


@click.command()
@boards_option
@click.option("--probe", is_flag=True, help="Ask the boards of the inventory whether they could run something now.")
@click.option("--clean", is_flag=True, help="First remove what runs left on them, where none is running.")
@json_option
@click.pass_context
def boards(context: click.Context, boards_file: Path | None, probe: bool, clean: bool, as_json: bool) -> None:
    """List the boards, and whether they work here.

    Built-in ones, then those of the inventory (boards.toml). --probe asks the latter over the network, all at once; the
    exit code is 1 when one of them cannot be used.
    """
    from devices.boards import BOARDS
    from devices.dut.probe import probe_serial
    from devices.inventory import remote_boards, serial_boards
    from devices.remote.probe import clean_boards, probe_boards
    from devices.runtimes import missing

    remotes, serial = remote_boards(boards_file), serial_boards(boards_file)
    cleaned = clean_boards(remotes, _say) if clean else ()
    for item in cleaned:
        _say(f"{item.name}: {item.detail}")
    asked = probe_boards(remotes, _say) if probe else ()
    probed = (*asked, *probe_serial(serial)) if probe else ()
    said = {item.name: item.detail for item in probed}
    here = [(b, missing(b) or "works here") for b in BOARDS]
    far = (*(remote.board for remote in remotes), *serial)
    there = [(b, said.get(b.name, "not here; --probe asks it")) for b in far]
    rows = [
        (b.name, b.target or "any", b.method, " ".join(b.metrics), b.summary, state) for b, state in (*here, *there)
    ]
    keys = ("name", "target", "method", "metrics", "what", "here")
    if as_json:
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        print_table("Boards", keys, rows)
    if not all(item.usable for item in (*cleaned, *probed)):
        context.exit(1)


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the built-in models."""
    from edge.models.models import MODELS

    rows = [(m.name, m.summary, m.cut, str(m.width), str(m.blocks)) for m in MODELS]
    keys = ("name", "what", "cut", "width", "blocks")
    if as_json:
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    print_table("Models", keys, rows)


@click.command()
@json_option
def recipes(as_json: bool) -> None:
    """List the training recipes."""
    from edge.recipes.recipes import PROCEDURES, RECIPES

    rows = [(r.name, r.summary, "[train] recipe") for r in RECIPES]
    rows += [(p.name, p.summary, p.function) for p in PROCEDURES]
    keys = ("name", "what", "used as")
    if as_json:
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    print_table("Recipes", keys, rows)
