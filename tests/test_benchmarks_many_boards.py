"""Fifty simulated boards at once from one process: every record comes, in less than 300 MB."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from devices.remote.build import TRIPLES
from devices.tools import missing_tool
from tests.house import ROOT

pytest.importorskip("asyncssh", reason="the simulated boards are asyncssh servers")
HERE = [triple for triple in TRIPLES if platform.machine() in triple.machines]


@pytest.mark.slow
@pytest.mark.skipif(not HERE or bool(missing_tool(HERE[0].compiler)), reason="no compiler for the C runner here")
def test_fifty_boards_at_once():
    command = [sys.executable, "-m", "benchmarks.many_boards", "--boards", "50"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    row = json.loads(done.stdout.splitlines()[-1])
    assert (row["boards"], row["whole"]) == (50, 50), done.stderr[-2000:]
    assert row["samples"] > 50 * 10
    assert row["peak_rss_bytes"] < 300e6


def test_the_committed_result_holds_what_is_promised():
    (row,) = json.loads((ROOT / "benchmarks" / "results" / "many_boards.json").read_text())["results"]
    assert row["whole"] == row["boards"] == 50
    assert row["peak_rss_bytes"] < 300e6
