"""A lab with boards behind a real sshd: jobs that only wait need no process of their own."""

from __future__ import annotations

import json
import platform
from dataclasses import replace

import pytest

from devices.executor.journal import open_journal
from devices.executor.lab import read_lab
from devices.executor.local import LocalExecutor
from devices.executor.sweep import plan_sweep, run_sweep
from devices.remote.build import TRIPLES
from devices.tools import missing_tool
from tests import sshd
from tests.embedded import bundle, spec
from tests.jobs import collected

HERE = [triple for triple in TRIPLES if platform.machine() in triple.machines]
pytestmark = [
    pytest.mark.skipif(not HERE, reason=f"no C runner for {platform.machine()}"),
    pytest.mark.skipif(bool(HERE) and missing_tool(HERE[0].compiler) is not None, reason="gcc is not installed"),
]


def test_two_hosts_and_one_that_is_another_machine(tmp_path):
    (tmp_path / "sshd").mkdir()
    bundle(tmp_path / "b", spec())
    with sshd.running(tmp_path / "sshd") as server:
        tables = []
        for name, known in (("left", "host"), ("right", "host"), ("other", "user")):
            keys = {
                "extends": "host-c",
                "uri": f"ssh://127.0.0.1:{server.port}",
                "host_key": (server.folder / f"{known}.pub").read_text().strip(),
                "identity": str(server.folder / "user"),
                "triple": HERE[0].name,
                "folder": str(tmp_path / name),
            }
            tables.append(f"[boards.{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items()))
        (tmp_path / "boards.toml").write_text("".join(tables))
        (tmp_path / "lab.toml").write_text(
            'bundles = ["b"]\nboards = ["left", "right", "other"]\ninventory = "boards.toml"\n'
            "[plan]\nwindows = 2\nwindow_s = 0.02\nwarmup_s = 0\n"
        )
        lab = read_lab(tmp_path / "lab.toml")
        sweep, said = plan_sweep(lab), list[str]()
        assert {job.transport for job in sweep.jobs} == {"ssh"}
        # No command could start a process of a job: these run in this one.
        executor, journal = LocalExecutor(1, ("/nowhere/python",)), open_journal(tmp_path / "store")
        swept = run_sweep(sweep, lab, executor, journal, said.append)
        wrong = replace(sweep.jobs[0], digest="00" * 32)
        assert "that was asked for" in str(collected(executor, [wrong], sweep.slots)[0][1].reason)
    assert [job.board for job in swept.finished] in (["left", "right"], ["right", "left"])
    assert [failure.job.board for failure in swept.failed] == ["other"]
    for job in swept.finished:
        (found,) = journal.measurements(job)
        assert (found.board, found.method) == (job.board, "measured")
        assert found.latency_s is not None and len(found.latency_s) == 2
    assert any(text.startswith("b on left, single-stream: ") for text in said)
