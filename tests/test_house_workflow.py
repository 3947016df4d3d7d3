"""The GitHub Actions example: its commands and options exist, and it handles every exit code of the gate."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from edge.cli import COMMANDS
from edge.commands.gate import EXIT_CODES

TEXT = (Path(__file__).resolve().parent.parent / "examples" / "github-actions" / "speed.yml").read_text()
LINES = re.findall(r"(?:run: |^ +)(edgemill [^|\n]*)", TEXT, re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_every_command_and_option_exists(line: str) -> None:
    _, name, *words = shlex.split(line)
    command = next(command for command in COMMANDS if command.name == name)
    known = {flag for parameter in command.params for flag in parameter.opts}
    assert [word for word in words if word.startswith("-") and word not in known] == []


def test_it_gates_instructions_and_latency() -> None:
    gates = [line for line in LINES if line.startswith("edgemill gate ")]
    assert [board in line for line, board in zip(gates, ("mps2-an386", "host-c"), strict=True)] == [True, True]
    assert all("--junit" in line for line in gates)
    assert f'"$code" = {EXIT_CODES["inconclusive"]}' in TEXT


def test_it_is_yaml_without_tabs_and_takes_no_text_of_strangers_into_a_shell() -> None:
    assert "\t" not in TEXT
    scripts = re.findall(r"run: \|\n((?: {10}.*\n)+)", TEXT)
    assert len(scripts) >= 3
    assert not any("${{" in script for script in scripts)
