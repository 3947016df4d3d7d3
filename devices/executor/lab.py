"""A lab file: which bundles run on which boards in which scenarios. Strict TOML, paths relative to the file.

name = "nightly"
bundles = ["runs/digits/bundles/arm-m-*"]     # folders; * and ? as in a shell
boards = ["mps2-an386", "host-c"]
scenarios = ["single-stream"]                 # this one by default
inventory = "boards.toml"                     # a person's own boards; the usual file by default

[plan]                                        # as the options of `edgemill profile`
windows = 10
window_s = 0.2

[slots]                                       # jobs of a board at once; else what the inventory says, or 1
mps2-an386 = 2
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices.errors import DeviceError
from devices.scenario import SCENARIOS, SINGLE_STREAM, find_scenario
from quant.names import suggestion

_KEYS = ("name", "bundles", "boards", "scenarios", "inventory", "plan", "slots")
#: The keys of [plan], what each is by default, and the type it has.
_PLAN: Mapping[str, object] = {"windows": 10, "window_s": 0.2, "warmup_s": 0.3, "images": 2, "complete": False}
MAX_SLOTS = 1024


@dataclass(frozen=True, slots=True)
class Lab:
    """What a lab file says.

    Attributes:
        name: of the sweep.
        bundles: folders, absolute.
        boards, scenarios: by name.
        plan: `windows`, `window_s`, `warmup_s`, `images`, `complete` of every job.
        slots: jobs at once, by board, where the file says so.
        inventory: the file with a person's own boards, absolute, or None.
    """

    name: str
    bundles: tuple[Path, ...]
    boards: tuple[str, ...]
    scenarios: tuple[str, ...] = (SINGLE_STREAM.name,)
    plan: Mapping[str, Any] = field(default_factory=lambda: dict(_PLAN))
    slots: Mapping[str, int] = field(default_factory=dict)
    inventory: Path | None = None


def read_lab(path: Path) -> Lab:
    """Read a lab file.

    Raises:
        DeviceError: naming the file and the key: it is no TOML, a key is unknown, missing or of a wrong type, a pattern
            matches no folder, or a name comes twice.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DeviceError(f"the lab file {path} cannot be read: {error}.") from error
    _known(table, _KEYS, str(path))
    boards = _words(table, "boards", path)
    inventory = table.get("inventory")
    if inventory is not None and (not isinstance(inventory, str) or not inventory):
        raise DeviceError(f"{path}: inventory is {inventory!r}; it must be the name of a file.")
    return Lab(
        name=_name(table, path),
        bundles=tuple(found for pattern in _words(table, "bundles", path) for found in _folders(pattern, path)),
        boards=boards,
        scenarios=_scenarios(table, path),
        plan=_plan(table, path),
        slots=_slots(table, boards, path),
        inventory=None if inventory is None else (path.parent / inventory).absolute(),
    )


def _known(table: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in keys:
            near = suggestion(key, keys) or f" Known: {', '.join(keys)}."
            raise DeviceError(f"{where}: the key '{key}' is unknown.{near}")


def _name(table: Mapping[str, Any], path: Path) -> str:
    name = table.get("name", path.stem)
    if not isinstance(name, str) or not name.strip():
        raise DeviceError(f"{path}: name is {name!r}; it must be a text that is not empty.")
    return name


def _words(table: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    if key not in table:
        raise DeviceError(f"{path}: the key '{key}' is missing.")
    value = table[key]
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        raise DeviceError(f"{path}: {key} must be a list of texts with at least one.")
    twice = next((word for word in value if value.count(word) > 1), None)
    if twice is not None:
        raise DeviceError(f"{path}: {key} names '{twice}' twice.")
    return tuple(value)


def _folders(pattern: str, path: Path) -> tuple[Path, ...]:
    """Return the folders that a pattern names, sorted; hidden ones are still being written."""
    try:
        base = Path(pattern) if Path(pattern).is_absolute() else path.parent.absolute() / pattern
        found = sorted(base.parent.glob(base.name)) if any(c in base.name for c in "*?[") else [base]
    except (ValueError, OSError) as error:
        raise DeviceError(f"{path}: bundles: '{pattern}' is no path: {error}.") from error
    folders = tuple(place for place in found if place.is_dir() and not place.name.startswith("."))
    if not folders:
        raise DeviceError(f"{path}: bundles: '{pattern}' names no folder.")
    return folders


def _scenarios(table: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    names = _words(table, "scenarios", path) if "scenarios" in table else (SINGLE_STREAM.name,)
    for name in names:
        if name not in {scenario.name for scenario in SCENARIOS}:
            find_scenario(name)
    return names


def _plan(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    given = table.get("plan", {})
    if not isinstance(given, dict):
        raise DeviceError(f"{path}: plan is no table; write [plan].")
    _known(given, tuple(_PLAN), f"{path}: [plan]")
    return {key: _typed(given.get(key, default), default, f"{path}: [plan] {key}") for key, default in _PLAN.items()}


def _typed(value: object, default: object, where: str) -> object:
    """Return a value of the default's type; a whole number also serves as a float."""
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        raise DeviceError(f"{where} is {value!r}; it must be of the kind of {default!r}.")
    return value


def _slots(table: Mapping[str, Any], boards: tuple[str, ...], path: Path) -> dict[str, int]:
    given = table.get("slots", {})
    if not isinstance(given, dict):
        raise DeviceError(f"{path}: slots is no table; write [slots].")
    _known(given, boards, f"{path}: [slots]")
    for board, count in given.items():
        if type(count) is not int or not 1 <= count <= MAX_SLOTS:
            raise DeviceError(f"{path}: [slots] {board} is {count!r}; it must be a whole number from 1 to {MAX_SLOTS}.")
    return dict(given)
