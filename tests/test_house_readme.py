"""The README is true: its commands run as they stand there, in order, and it lists every command there is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devices.boards import find_board
from devices.runtimes import missing
from edge.cli import COMMANDS
from tests.house import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
LINES = [line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines() if line.startswith("$ ")]
EDGEMILL = (sys.executable, "-c", "import sys; from edge.cli import main; sys.argv[0] = 'edgemill'; main()")


def reason_to_skip(words: list[str]) -> str | None:
    """Say why a command cannot run here: a board it names needs tools that are not installed."""
    boards = [words[at + 1] for at, word in enumerate(words) if word == "--board"]
    return next((reason for board in boards if (reason := missing(find_board(board)))), None)


def type_in(line: str, desk: Path) -> subprocess.CompletedProcess[str]:
    """Run one line of the README in a folder."""
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [*EDGEMILL, *shlex.split(line)[1:]]
    return subprocess.run(words, cwd=desk, env=surroundings, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture(scope="module")
def typed(tmp_path_factory) -> dict[str, subprocess.CompletedProcess[str]]:
    """What came of each line, typed one after the other in an empty folder with the examples in it."""
    desk = tmp_path_factory.mktemp("desk")
    shutil.copytree(ROOT / "examples", desk / "examples")
    return {line: type_in(line, desk) for line in LINES if not reason_to_skip(shlex.split(line))}


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_readme_runs(typed, line):
    reason = reason_to_skip(shlex.split(line))
    if reason:
        pytest.skip(reason)
    assert line.startswith("edgemill ")
    done = typed[line]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_readme_has_commands_to_run():
    assert len(LINES) >= 6
    assert LINES[0] == "edgemill run examples/digits.toml"


def test_every_command_is_in_the_readme():
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `"))
    assert [command.name for command in COMMANDS if f"{command.name}" not in table] == []


@pytest.mark.parametrize("line", LINES)
def test_every_option_of_the_readme_exists(line):
    _, name, *words = shlex.split(line)
    command = next(command for command in COMMANDS if command.name == name)
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert [word for word in words if word.startswith("-") and word not in known] == []
