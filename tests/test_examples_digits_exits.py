"""The example of docs/dynamic.md: its lines run as they stand there, and inputs that stop earlier cost less."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from devices.board import Board
from devices.boards import find_board
from devices.dynamic_record import expected_cost, mean_cost, read_dynamic
from devices.runtimes import missing
from edge.cli import COMMANDS
from tests.house import ROOT

BLOCK = re.search(
    r"```console\n(\$ python examples/digits_exits.py.*?)```", (ROOT / "docs/dynamic.md").read_text(), re.S
)
LINES = [line.removeprefix("$ ") for line in BLOCK[1].splitlines()]
EDGEMILL = (sys.executable, "-c", "import sys; from edge.cli import main; sys.argv[0] = 'edgemill'; main()")


def boards() -> tuple[Board, ...]:
    """Those that the lines name."""
    words = [word for line in LINES for word in shlex.split(line)]
    return tuple(find_board(words[at + 1]) for at, word in enumerate(words) if word == "--board")


def type_in(line: str, desk) -> subprocess.CompletedProcess[str]:
    """Run one line in a folder."""
    program, *words = shlex.split(line)
    command = [sys.executable, str(ROOT / words[0]), *words[1:]] if program == "python" else [*EDGEMILL, *words]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=desk, env=surroundings, capture_output=True, text=True, timeout=900, check=False)


def test_every_option_of_the_example_exists():
    for line in LINES[1:]:
        _, name, *words = shlex.split(line)
        command = next(command for command in COMMANDS if command.name == name)
        known = {flag for parameter in command.params for flag in parameter.opts}
        assert [word for word in words if word.startswith("-") and word not in known] == []


@pytest.mark.slow
def test_the_example_runs_as_it_stands_there(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    reason = next((reason for board in boards() if (reason := missing(board))), None)
    if reason:
        pytest.skip(reason)
    for line in LINES:
        done = type_in(line, tmp_path)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
    found = read_dynamic(tmp_path / "exits" / "report")
    assert (tmp_path / "exits" / "report" / "report.html").stat().st_size > 10_000
    assert found.accuracy > 0.9 and found.macs < 0.6 * found.every_macs
    asked = [part for part in found.parts if part.requested is not None]
    assert len(asked) == 3
    # Thresholds come from 300 other images: three standard errors of both shares are 0.11.
    assert all(abs(part.answered - part.requested) < 0.12 for part in asked)
    timed, counted = found.costs
    assert (timed.metric, counted.metric) == ("seconds", "instructions")
    assert [stop.part for stop in counted.stops] == ["exit1", "exit2", "stage3"]
    means = [stop.mean for stop in counted.stops]
    assert means[0] < 0.6 * means[1] < 0.6 * means[2]
    assert mean_cost(counted) == pytest.approx(expected_cost(counted, counted.ran), rel=0.05)
