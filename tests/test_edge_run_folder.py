"""A run folder: one process at a time, cleared of what a killed one left, gone again when nothing came of it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from edge.errors import EdgeError
from edge.run_folder import hold
from tests.tiny import surroundings

HOLDER = (
    "import sys, time; from pathlib import Path; from edge.run_folder import hold\n"
    "with hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def test_it_is_made_with_its_parents_and_kept_when_something_came_of_it(tmp_path):
    folder = tmp_path / "runs" / "one"
    with hold(folder):
        (folder / "stages" / "model.json").write_text("{}")
    assert sorted(path.name for path in folder.iterdir()) == ["stages"]


@pytest.mark.parametrize("error", [EdgeError, KeyboardInterrupt])
def test_it_goes_again_when_nothing_came_of_it(tmp_path, error):
    with pytest.raises(error), hold(tmp_path / "runs" / "one"):
        raise error("stopped")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_that_was_there_stays(tmp_path):
    with hold(tmp_path / "."):
        pass
    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_and_nothing_else(tmp_path):
    for name in ("stages", "bundles", "bundles/.host-w8a8.0123abcd.part", "bundles/host-w8a8"):
        (tmp_path / name).mkdir()
    for name in (".model.onnx.89abcdef.part", "mine.part", ".hidden", "bundles/.host-w8a8.0123abcd.part/f"):
        (tmp_path / name).write_text("x")
    with hold(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "bundles", "mine.part", "stages"]
        assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["host-w8a8"]


def test_two_processes_do_not_share_it_and_a_killed_one_lets_go(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=surroundings()
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(EdgeError, match="another edgemill works in"), hold(tmp_path):
            pass
        holder.kill()
        holder.wait(10)
    time.sleep(0.01)
    with hold(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EdgeError, match="cannot be used: Not a directory"), hold(tmp_path / "file" / "run"):
        pass
    with pytest.raises(EdgeError, match="cannot be used: File exists"), hold(tmp_path / "file"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_read_only_folder_is_refused(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o555)
    with pytest.raises(EdgeError, match="read-only"), hold(folder):
        pass
    with pytest.raises(EdgeError, match="read-only"), hold(folder / "deeper"):
        pass
    folder.chmod(0o755)
    assert list(folder.iterdir()) == []
