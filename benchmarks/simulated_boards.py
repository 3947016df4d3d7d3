"""Boards that are folders on this machine: one process with an SSH server for each, none of them OpenSSH.

python -m benchmarks.simulated_boards FOLDER COUNT

Writes FOLDER/boards.toml when all of them answer, and ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from pathlib import Path
from typing import Any


async def serve(folder: Path, count: int) -> None:
    """Serve boards until stdin ends."""
    import asyncssh

    folder.mkdir(parents=True, exist_ok=True)
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user.write_private_key(str(folder / "user"))
    (folder / "user").chmod(0o600)
    options: dict[str, Any] = {
        "server_host_keys": [host],
        "authorized_client_keys": asyncssh.import_authorized_keys(user.export_public_key().decode()),
        "process_factory": run,
        "encoding": None,
    }
    servers = [await asyncssh.create_server(asyncssh.SSHServer, "127.0.0.1", 0, **options) for _ in range(count)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    table = [_board(number, port, folder, host.get_fingerprint()) for number, port in enumerate(ports)]
    (folder / "boards.part").write_text("\n".join(table))
    (folder / "boards.part").rename(folder / "boards.toml")
    await asyncio.to_thread(sys.stdin.read)


def _board(number: int, port: int, folder: Path, host_key: str) -> str:
    return (
        f'[boards.simulated-{number}]\nextends = "host-c"\nuri = "ssh://127.0.0.1:{port}"\n'
        f'host_key = "{host_key}"\nidentity = "{folder / "user"}"\ntriple = "{platform.machine()}-linux-gnu"\n'
        f'folder = "{folder / f"board-{number}"}"\n'
    )


async def run(process: Any) -> None:
    """Run a command as a board's shell would."""
    child = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        process.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    out, err = await child.communicate(await process.stdin.read())
    process.stdout.write(out)
    process.stderr.write(err)
    process.exit(child.returncode if child.returncode is not None and child.returncode >= 0 else 255)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).resolve(), int(sys.argv[2])))
