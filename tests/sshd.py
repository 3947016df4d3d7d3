"""A real OpenSSH server on loopback for tests: own port, own keys, own folder; the user is whoever runs the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devices.remote.ssh import Address, fingerprint

SSHD = Path("/usr/sbin/sshd")
#: Where OpenSSH wants a folder when root starts it.
SEPARATION = Path("/run/sshd")


def reason_to_skip() -> str | None:
    """Say why no server can be started here, or None."""
    try:
        import asyncssh  # noqa: F401
    except ImportError:
        return "asyncssh is not installed"
    if not SSHD.exists() or shutil.which("ssh-keygen") is None:
        return f"{SSHD} is not installed (apt-get install openssh-server)"
    if os.geteuid() == 0:
        try:
            SEPARATION.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            return f"{SEPARATION} cannot be made: {error}"
    return None


@dataclass
class Server:
    """One server. `folder` holds its keys and is where tests keep what the board would hold."""

    folder: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it and wait until it answers. SHLVL keeps bash from reading the user's settings for each command."""
        settings = {
            "Port": str(self.port),
            "ListenAddress": "127.0.0.1",
            "HostKey": str(self.folder / "host"),
            "AuthorizedKeysFile": str(self.folder / "authorized"),
            "UsePAM": "no",
            "StrictModes": "no",
            "PidFile": "none",
            "PermitRootLogin": "yes",
            "MaxStartups": "200",
            "MaxSessions": "200",
            "SetEnv": " ".join(f"{name}={value}" for name, value in ({"SHLVL": "2"} | self.environment).items()),
        }
        words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        log = (self.folder / "sshd.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [str(SSHD), "-D", "-e", "-f", "/dev/null", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            assert self.process is not None
            if self.process.poll() is not None:
                pytest.fail(f"sshd ended: {(self.folder / 'sshd.log').read_text()[-500:]}")
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        pytest.fail("sshd did not answer within 30 s")

    def stop(self) -> None:
        """Kill the listener and every connection, as when a board loses power; what runs detached goes on."""
        for pid in self.connections():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def drop(self) -> int:
        """Kill the server's side of every connection; return how many there were."""
        count = len(_sshd_children(self.process.pid)) if self.process else 0
        for pid in self.connections():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return count

    def connections(self) -> list[int]:
        """Return the processes that serve connections, one or two for each, the listener not among them."""
        return [] if self.process is None else _sshd_below(self.process.pid)

    def address(self, host_key: str | None = None) -> Address:
        """Where and as whom to reach it; `host_key` replaces the right one."""
        known = host_key or (self.folder / "host.pub").read_text()
        return Address("127.0.0.1", self.port, None, fingerprint(known, "test"), self.folder / "user")


def _sshd_below(pid: int) -> list[int]:
    """Return the children of a process, and theirs, that are sshd themselves."""
    return [process for child in _sshd_children(pid) for process in (child, *_sshd_below(child))]


def _sshd_children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children = (thread / "children").read_text().split()
            found += [int(c) for c in children if Path(f"/proc/{c}/comm").read_text().startswith("sshd")]
    return found


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def key(path: Path) -> None:
    """Make a key pair."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True, timeout=60
    )


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[Server]:
    """Run a server in an empty folder, whose commands have this environment; skips where there can be none."""
    reason = reason_to_skip()
    if reason:
        pytest.skip(reason)
    for name in ("host", "user"):
        key(folder / name)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    server = Server(folder, free_port(), environment)
    server.start()
    try:
        yield server
    finally:
        server.stop()
