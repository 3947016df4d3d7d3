"""The SSH link, with asyncssh: one connection, a channel for each script, a host key that has to be the known one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as BinasciiError
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from devices.errors import DeviceError
from devices.remote.link import Answer, Link, LinkLost, command_line

CONNECT_LIMIT_S = 5.0
KEEPALIVE_S = 2
KEEPALIVE_COUNT = 2


@dataclass(frozen=True, slots=True)
class Address:
    """Where a board answers, and how to know that it is the right one.

    Attributes:
        host, port, user: of the SSH server; no user takes this one's name.
        fingerprint: of the server's public key, `SHA256:...` as `ssh-keygen -lf` prints it.
        identity: file with the private key; None takes an agent's and the usual ones.
    """

    host: str
    port: int
    user: str | None
    fingerprint: str
    identity: Path | None = None


def fingerprint(host_key: str, where: str) -> str:
    """Return the fingerprint `SHA256:...` of a host key given as one, as a public key or as a known_hosts line.

    Raises:
        DeviceError: it is none of these; the message starts with `where`.
    """
    words = host_key.split()
    if len(words) == 1 and words[0].startswith("SHA256:") and len(words[0]) == 50:
        return words[0]
    for kind, blob in pairwise(words):
        if kind.startswith(("ssh-", "ecdsa-", "sk-")):
            try:
                digest = hashlib.sha256(b64decode(blob, validate=True)).digest()
            except (BinasciiError, ValueError):
                break
            return "SHA256:" + b64encode(digest).decode().rstrip("=")
    raise DeviceError(
        f"{where}: '{host_key[:60]}' is no host key; give the fingerprint SHA256:... that 'ssh-keyscan HOST | "
        "ssh-keygen -lf -' prints after you compared it with the board's own, or a line of known_hosts."
    )


def missing() -> str | None:
    """Return None when asyncssh is installed, else what to install."""
    try:
        import asyncssh  # noqa: F401 - looked for, not used
    except ImportError:
        return "the package asyncssh is not installed: pip install 'edgemill[ssh]'"
    return None


async def connect(address: Address) -> Link:
    """Open an SSH link.

    Raises:
        LinkLost: the board does not answer, or hung up.
        DeviceError: asyncssh is not installed, the host key is another one (nothing was sent), or the board does not
            let us in.
    """
    reason = missing()
    if reason:
        raise DeviceError(f"boards at ssh:// addresses cannot be reached here: {reason}.")
    import asyncssh

    where = f"{address.host} port {address.port}"
    seen: list[str] = []
    try:
        connection = await asyncio.wait_for(asyncssh.connect(**_options(address, seen)), 2 * CONNECT_LIMIT_S)
    except asyncssh.HostKeyNotVerifiable as error:
        raise DeviceError(
            f"{where} shows the host key {seen[-1] if seen else 'unknown'}, not {address.fingerprint}: nothing was "
            "sent. Is it another machine, or was it set up again? Put the new key into the inventory when you know why."
        ) from error
    except asyncssh.PermissionDenied as error:
        raise DeviceError(f"{where} does not let {address.user or 'this user'} in: {error.reason}.") from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, FileNotFoundError, ValueError) as error:
        key = address.identity or "of this user"
        raise DeviceError(f"no connection to {where} can be set up with the private key {key}: {error}.") from error
    except (asyncssh.Error, OSError, TimeoutError) as error:
        raise LinkLost(f"no connection to {where}: {error or 'no answer'}.") from error
    return SshLink(where, connection)


def _options(address: Address, seen: list[str]) -> dict[str, Any]:
    import asyncssh

    class Client(asyncssh.SSHClient):  # type: ignore[misc,unused-ignore] # asyncssh asks its questions of a subclass
        """Answers whether a host key is the known one."""

        def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
            """Compare fingerprints."""
            seen.append(key.get_fingerprint())
            return hmac.compare_digest(seen[-1], address.fingerprint)

    options: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "client_factory": Client,
        # Empty lists: no key is known by name, so the client is asked. None would ask nobody.
        "known_hosts": ([], [], []),
        "connect_timeout": CONNECT_LIMIT_S,
        "keepalive_interval": KEEPALIVE_S,
        "keepalive_count_max": KEEPALIVE_COUNT,
        "preferred_auth": ("publickey",),
    }
    if address.user is not None:
        options["username"] = address.user
    if address.identity is not None:
        options |= {"client_keys": [str(address.identity)], "agent_path": None}
    return options


@dataclass(frozen=True, eq=False)
class SshLink:
    """One open connection."""

    where: str
    connection: Any

    async def run(self, script: str, arguments: tuple[str, ...], stdin: bytes, limit_s: float) -> Answer:
        """Run a script on the board; LinkLost when it ended without an exit code."""
        import asyncssh

        line = command_line(script, arguments)
        # Without data asyncssh leaves stdin open, and a server that reads it would wait for ever.
        given: dict[str, Any] = {"input": stdin} if stdin else {"stdin": asyncssh.DEVNULL}
        try:
            done = await asyncio.wait_for(self.connection.run(line, encoding=None, **given), limit_s)
        except TimeoutError as error:
            raise LinkLost(f"{self.where} did not answer within {limit_s:g} s.") from error
        except (asyncssh.Error, OSError) as error:
            raise LinkLost(f"the connection to {self.where} broke: {error}.") from error
        if done.exit_signal is not None or done.exit_status is None or done.exit_status < 0:
            raise LinkLost(f"the connection to {self.where} ended during a command.")
        return Answer(done.exit_status, bytes(done.stdout or b""), bytes(done.stderr or b""))

    async def close(self) -> None:
        """Hang up, without waiting for a server that may be gone."""
        self.connection.abort()
