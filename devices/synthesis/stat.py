"""What yosys says of a netlist: `stat -json`, and `stat` as text in the layouts of old and new versions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from devices import strict
from devices.errors import DeviceError

#: Cells by module, and by kind within a module. A kind can be another module.
Modules = Mapping[str, Mapping[str, int]]

_SECTION = re.compile(r"^=== (.+) ===$")
_NAME_FIRST = re.compile(r"^ +([^\s:]+) +(\d+)$")  # yosys 0.23:  "     LUT4     134"
_COUNT_FIRST = re.compile(r"^ +(\d+) +(?:[\d.e+-]+ +|- +)?([^\s:]+)$")  # yosys 0.70:  "      134   LUT4"
_HEADINGS = frozenset({"wires", "ports", "memories", "processes", "cells", "submodules"})


def parse_json(text: str | bytes, where: str) -> dict[str, dict[str, int]]:
    """Read what `stat -json` wrote.

    Raises:
        DeviceError: it is no such report; the message names `where`.
    """
    body = strict.parse_object(text, where)
    modules = strict.typed(body.get("modules"), dict, f"{where}: modules")
    return {_plain(name): _cells(module, f"{where}: {name}") for name, module in modules.items()}


def _cells(module: object, where: str) -> dict[str, int]:
    """Return the cells of one module; newer versions list instances of modules under a key of their own."""
    body = strict.typed(module, dict, where)
    found: Counter[str] = Counter()
    for key in ("num_cells_by_type", "num_submodules_by_type"):
        for name, value in strict.typed(body.get(key, {}), dict, f"{where}: {key}").items():
            number = value.get("count") if isinstance(value, dict) else value
            found[_plain(name)] = max(found[_plain(name)], strict.count(number, f"{where}: {key} of {name}"))
    return dict(found)


def parse_text(text: str) -> dict[str, dict[str, int]]:
    """Read what `stat` printed, name or count first.

    Raises:
        DeviceError: there is no module in it.
    """
    modules: dict[str, dict[str, int]] = {}
    cells: dict[str, int] | None = None
    for line in text.splitlines():
        section = _SECTION.match(line)
        if section:
            name = _plain(section[1])
            cells = None if name == "design hierarchy" else modules.setdefault(name, {})
        elif cells is not None and (pair := _pair(line)):
            cells[pair[0]] = pair[1]
    if not modules:
        raise DeviceError("this is no output of yosys' stat: no module is named in it.")
    return modules


def _pair(line: str) -> tuple[str, int] | None:
    """Return a kind of cell and its count, or None when the line counts something else."""
    named = _NAME_FIRST.match(line)
    if named:
        return _plain(named[1]), int(named[2])
    counted = _COUNT_FIRST.match(line)
    if counted and counted[2] not in _HEADINGS:
        return _plain(counted[2]), int(counted[1])
    return None


def _plain(name: str) -> str:
    """Return a name without the backslash by which yosys marks public names."""
    return name.removeprefix("\\")


def total(modules: Modules, top: str) -> dict[str, int]:
    """Return the primitive cells of a module and of everything in it.

    Raises:
        DeviceError: there is no such module, or it contains itself.
    """
    return dict(_total(modules, top, ()))


def _total(modules: Modules, name: str, above: tuple[str, ...]) -> Counter[str]:
    if name not in modules or name in above:
        raise DeviceError(f"yosys' report {'has no module' if name not in modules else 'is circular at'} '{name}'.")
    found: Counter[str] = Counter()
    for kind, number in modules[name].items():
        inner = _total(modules, kind, (*above, name)) if kind in modules else Counter({kind: 1})
        for cell, each in inner.items():
            found[cell] += number * each
    return found


def own(modules: Modules, top: str) -> dict[str, int]:
    """Return the primitive cells that stand in a module itself, outside every instance of another module."""
    return {kind: number for kind, number in modules.get(top, {}).items() if kind not in modules}
