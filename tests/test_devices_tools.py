"""Running system tools: errors in words, nothing left running."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from devices import tools
from devices.errors import DeviceError
from devices.tools import Tool

NOWHERE = Tool("no-such-tool-here", "some-package")


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_call_returns_stdout(tmp_path: Path) -> None:
    assert tools.call(_python("import os; print(os.getcwd())"), "asking", 20.0, tmp_path).strip() == bytes(tmp_path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit(3)", "work: .* failed with exit code 3: it wrote nothing"),
        ("import sys; sys.exit('first\\nx.c:7: error: no such thing\\nlast')", "x.c:7: error: no such thing"),
        ("import sys; sys.exit('first\\nlast')", "exit code 1: last"),
        ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
    ],
)
def test_a_failure_says_how_and_why(code: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        tools.call(_python(code), "work", 20.0)


def test_a_tool_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceError, match="cannot be started: No such file"):
        tools.call([NOWHERE.name], "work", 5.0)
    assert tools.missing_tool(NOWHERE) == "no-such-tool-here is not installed (apt-get install some-package)"
    with pytest.raises(DeviceError, match=r"apt-get install some-package other"):
        tools.require([NOWHERE, Tool("nor-this", "other")])


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes")
def test_a_hang_is_stopped_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = "import time; time.sleep(60)"
    code = (
        "import subprocess, sys, pathlib\n"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(p.pid))\n"
        "p.wait()"
    )
    with pytest.raises(DeviceError, match="did not end within 2 s"):
        tools.call(_python(code), "work", 2.0)
    deadline = time.monotonic() + 5
    while _alive(int(note.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(int(note.read_text()))


def test_an_interrupt_stops_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def interrupted(self: subprocess.Popen[bytes], timeout: float | None = None) -> tuple[bytes, bytes]:
        started.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tools.call(_python("import time; time.sleep(60)"), "work", 30.0)
    assert started[0].returncode == -9


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tools.cache_folder() == tmp_path / "edgemill"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tools.cache_folder() == tmp_path / ".cache" / "edgemill"
