"""A person's own boards: `boards.toml`, read strictly, beside the boards that are built in.

[boards.kitchen-pi]
extends = "host-c"                # what runs there: see KINDS
uri = "ssh://pi@192.168.1.20:22"  # or local:// for this machine
host_key = "SHA256:..."           # the server's key; without the right one nothing is sent
triple = "aarch64-linux-gnu"      # for the C runner
meters = ["ina3221"]
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from devices import boards, boards_jetson
from devices.board import Board
from devices.dut.board import SCHEME, serial_board
from devices.errors import DeviceError
from devices.remote.build import TRIPLES, Triple, check_cpu
from devices.remote.job import BOOT_ID, Site
from devices.remote.ssh import Address, fingerprint
from quant.names import find, suggestion

#: Names the file where `--boards` does not.
VARIABLE = "EDGEMILL_BOARDS"
#: How a remote board is reached. Android's adb would be another; serial:// is `devices.dut`'s.
SCHEMES = ("ssh", "local")
#: Meters that a runner reads on the board itself; after a colon the rails to add up.
METERS = ("ina3221", "ina2xx")
#: The transport of local:// boards.
SHELL = "shell"
SSH_PORT = 22

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
_PATH = re.compile(r"[A-Za-z0-9_./-]{1,200}")
_KEYS = (
    "extends",
    "uri",
    "host_key",
    "identity",
    "triple",
    "cpu",
    "python",
    "trtexec",
    "folder",
    "slots",
    "meters",
    "cooling",
    "power_mode",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a remote board can extend: a built-in board, and which runner brings its runtime to another machine.

    `runner` is `c` (a static program with the part's generated C), `python` (one file, and the runtime there) or
    `trtexec` (what JetPack brings).
    """

    name: str
    runner: str
    runtime: str


KINDS = (
    Kind("host-c", "c", "c-linux"),
    Kind("host-ort", "python", "onnxruntime"),
    Kind("host-openvino", "python", "openvino"),
    Kind("host-litert", "python", "litert"),
    Kind("host-tflite", "python", "tflite-runtime"),
    *(Kind(board.name, "trtexec", board.runtime) for board in boards_jetson.BOARDS),
)


@dataclass(frozen=True, slots=True)
class RemoteBoard:
    """One board of the inventory.

    Attributes:
        board: what it can measure, as of a built-in board; its transport is `ssh` or SHELL.
        kind: which runner goes there.
        site: our folder, slots and boot id there.
        address: where it answers; None for this machine.
        triple, cpu: what the C runner is compiled for; the triple is None for the Python runner.
        python: the interpreter that has numpy and the runtime.
        trtexec: where a Jetson has it, if neither on its PATH nor where JetPack puts it.
        meters: what the runner reads: one of METERS, or none.
        cooling, power_mode: in the owner's words, kept with every measurement; None where unsaid.
    """

    board: Board
    kind: Kind
    site: Site
    address: Address | None
    triple: Triple | None
    cpu: str | None
    python: str
    meters: tuple[str, ...]
    cooling: str | None
    power_mode: str | None
    trtexec: str | None = None

    @property
    def name(self) -> str:
        """What a person types."""
        return self.board.name


def default_path() -> Path:
    """Return where the inventory is: `$EDGEMILL_BOARDS`, else `edgemill/boards.toml` among the user's settings."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "edgemill" / "boards.toml"


def remote_boards(path: Path | None = None) -> tuple[RemoteBoard, ...]:
    """Read the boards of the inventory that are other machines, or this one's shell; see `_read`."""
    place, found = _read(path)
    return tuple(_board(name, body, place) for name, body in found.items() if not _is_serial(body))


def serial_boards(path: Path | None = None) -> tuple[Board, ...]:
    """Read the boards of the inventory that are on serial lines; see `_read`."""
    place, found = _read(path)
    return tuple(_serial(name, body, place) for name, body in found.items() if _is_serial(body))


def _read(path: Path | None) -> tuple[Path, dict[str, object]]:
    """Read the inventory: the file, and what it says of each board.

    Args:
        path: the file; None takes `default_path()`, which need not exist.

    Raises:
        DeviceError: naming the file, the board and the key: a named file is missing, it is no TOML, a key is unknown,
            missing or of a wrong type, or a name is a built-in board's.
    """
    named = path is not None or VARIABLE in os.environ
    path = path or default_path()
    if not named and not path.exists():
        return path, {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DeviceError(f"the inventory {path} cannot be read: {error}.") from error
    unknown = sorted(set(table) - {"boards"})
    if unknown or not isinstance(table.get("boards", {}), dict):
        raise DeviceError(f"{path}: '{(unknown or ['boards'])[0]}' is no table of boards; write [boards.NAME].")
    found: dict[str, object] = table.get("boards", {})
    return path, found


def all_boards(path: Path | None = None) -> tuple[Board, ...]:
    """Return the built-in boards and those of the inventory; see `remote_boards`."""
    return (*boards.BOARDS, *(remote.board for remote in remote_boards(path)), *serial_boards(path))


def find_any(name: str, path: Path | None = None) -> Board | RemoteBoard:
    """Return the built-in board or the board of the inventory that is called `name`, or the one at serial://...

    Raises:
        DeviceError: there is none; the message lists the known names. Or as `remote_boards`.
    """
    if name in {board.name for board in boards.BOARDS}:
        return boards.find_board(name)
    if name.startswith(SCHEME):
        return serial_board(name, name)
    every: tuple[Board | RemoteBoard, ...] = (*boards.BOARDS, *remote_boards(path), *serial_boards(path))
    return find(name, every, "board", DeviceError)


def _is_serial(body: object) -> bool:
    return isinstance(body, dict) and str(body.get("uri", "")).startswith(SCHEME)


def _serial(name: str, body: object, path: Path) -> Board:
    where = _where(name, path)
    given = _checked(body, where)
    extra = sorted(set(given) - {"uri"})
    if extra:
        raise DeviceError(f"{where}: a board on a serial line has only a uri, no {', '.join(extra)}.")
    try:
        return serial_board(name, _Keys(given, where).required("uri"))
    except DeviceError as error:
        raise DeviceError(f"{where}: {error}") from error


def _where(name: str, path: Path) -> str:
    """Say where a board stands, once its name is one."""
    where = f"{path}: [boards.{name}]"
    if not _NAME.fullmatch(name):
        raise DeviceError(f"{where}: a board's name is made of lower-case letters, digits and '-'.")
    if name in {board.name for board in boards.BOARDS}:
        raise DeviceError(f"{where}: '{name}' is a built-in board; take another name.")
    return where


def _board(name: str, body: object, path: Path) -> RemoteBoard:
    where = _where(name, path)
    keys = _Keys(_checked(body, where), where)
    kind = find(keys.required("extends"), KINDS, f"kind of remote board in {where}", DeviceError)
    scheme, address = _reach(keys, where)
    base = boards.find_board(kind.name)
    triple = _triple(keys, kind, where)
    cpu = keys.text("cpu")
    board = replace(
        base,
        name=name,
        summary=f"{keys.required('uri')}, {kind.runtime}",
        transport=SHELL if scheme == "local" else scheme,
        runtime=kind.runtime,
        cpu=cpu,
        packages=(),
        tools=(),
    )
    return RemoteBoard(
        board=board,
        kind=kind,
        site=Site(keys.path("folder", Site().folder), keys.count("slots", 1), BOOT_ID),
        address=address,
        triple=triple,
        cpu=None if cpu is None else check_cpu(cpu, f"{where}: cpu"),
        python=keys.path("python", "python3"),
        meters=keys.meters(),
        cooling=keys.text("cooling"),
        power_mode=keys.text("power_mode"),
        trtexec=_trtexec(keys, kind, where),
    )


def _checked(body: object, where: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise DeviceError(f"{where} is no table.")
    for key in body:
        if key not in _KEYS:
            near = suggestion(key, _KEYS) or f" Known: {', '.join(_KEYS)}."
            raise DeviceError(f"{where}: the key '{key}' is unknown.{near}")
    return body


def _triple(keys: _Keys, kind: Kind, where: str) -> Triple | None:
    if kind.runner == "c":
        return find(keys.required("triple"), TRIPLES, f"triple in {where}", DeviceError)
    extra = [key for key in ("triple", "cpu") if keys.text(key)]
    if extra:
        raise DeviceError(f"{where}: {extra[0]} is for the C runner; '{kind.name}' runs {kind.runtime} in Python.")
    return None


def _trtexec(keys: _Keys, kind: Kind, where: str) -> str | None:
    if keys.text("trtexec") is None:
        return None
    if kind.runner != "trtexec":
        raise DeviceError(f"{where}: trtexec is for Jetson boards; '{kind.name}' runs {kind.runtime}.")
    return keys.path("trtexec", "")


def _reach(keys: _Keys, where: str) -> tuple[str, Address | None]:
    """Return the scheme and the address."""
    uri = keys.required("uri")
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        raise DeviceError(f"{where}: uri '{uri}' begins with none of {', '.join(f'{name}://' for name in SCHEMES)}.")
    try:
        port = parts.port or SSH_PORT
    except ValueError as error:
        raise DeviceError(f"{where}: uri '{uri}' has a port that is no number up to 65535.") from error
    if parts.password or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise DeviceError(f"{where}: uri '{uri}' holds more than user, host and port; passwords are not taken.")
    if parts.scheme == "local":
        extra = [key for key in ("host_key", "identity") if keys.text(key)]
        if extra or parts.netloc:
            raise DeviceError(f"{where}: local:// is this machine: no host and no {', '.join(extra) or 'user'}.")
        return parts.scheme, None
    if not parts.hostname:
        raise DeviceError(f"{where}: uri '{uri}' names no host.")
    identity = keys.text("identity")
    return parts.scheme, Address(
        host=parts.hostname,
        port=port,
        user=parts.username,
        fingerprint=fingerprint(keys.required("host_key"), f"{where}: host_key"),
        identity=None if identity is None else Path(identity).expanduser(),
    )


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys of one board."""

    body: dict[str, Any]
    where: str

    def text(self, key: str) -> str | None:
        """Return a text, or None where it is not there."""
        value = self.body.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise DeviceError(f"{self.where}: {key} is {value!r}; it must be a text that is not empty.")
        return value

    def required(self, key: str) -> str:
        """Return a text that has to be there."""
        value = self.text(key)
        if value is None:
            raise DeviceError(f"{self.where}: the key '{key}' is missing.")
        return value

    def path(self, key: str, default: str) -> str:
        """Return a path on the board, plain enough to be passed to a shell."""
        value = self.text(key) or default
        if not _PATH.fullmatch(value) or value.startswith("-") or ".." in value.split("/"):
            raise DeviceError(
                f"{self.where}: {key} '{value}' must be made of letters, digits and _./- and hold no '..'."
            )
        return value

    def count(self, key: str, default: int) -> int:
        """Return a whole number above 0."""
        value = self.body.get(key, default)
        if type(value) is not int or not 1 <= value <= 64:
            raise DeviceError(f"{self.where}: {key} is {value!r}; it must be a whole number from 1 to 64.")
        return value

    def meters(self) -> tuple[str, ...]:
        """Return the meters, each a known word and perhaps rails after a colon."""
        value = self.body.get("meters", [])
        if not isinstance(value, list) or any(not isinstance(word, str) for word in value) or len(value) > 1:
            raise DeviceError(f"{self.where}: meters must be a list of one text at most.")
        for word in value:
            name = word.partition(":")[0]
            if name not in METERS:
                near = suggestion(name, METERS)
                raise DeviceError(f"{self.where}: meters names '{name}'.{near} Known: {', '.join(METERS)}.")
        return tuple(value)
