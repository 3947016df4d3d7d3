"""Look-up tables of a streaming core, module by module: every distinct one is synthesised once, wherever it is used.

The units of a core, their windows, products, and requantisation lanes stay modules (`keep_hierarchy`); what is
smaller is flattened into them. A module whose text, with the unit's number left out, was synthesised before (in
another layer, format or network) is a black box in the next run, and is counted from the store.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import tools
from devices.errors import DeviceError
from devices.synthesis import stat
from devices.synthesis.commands import YOSYS, require
from devices.synthesis.family import Family
from export.atomic import write_text

LIMIT_S = 3600.0
#: What stands for the prefix of a unit's modules once its number is left out.
UNIT = "UNIT"
#: Macros that yosys defines.
DEFINED = ("YOSYS", "SYNTHESIS")
_DIRECTIVE = re.compile(r"^\s*`(ifdef|ifndef|else|endif)\b\s*(\w*)")
_MODULE = re.compile(r"^module\s+(\w+).*?^endmodule", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\w+")
_COMMENT = re.compile(r"//[^\n]*")


@dataclass(frozen=True, slots=True)
class Kept:
    """One module that stays a module: its digest, and the kept modules that its text mentions."""

    digest: str
    children: tuple[str, ...]


def seen_by_yosys(verilog: str) -> str:
    """Return the text that is left when yosys has passed over the parts for simulation."""
    lines, alive = list[str](), [True]
    for line in verilog.splitlines():
        found = _DIRECTIVE.match(line)
        if found and found[1] in ("ifdef", "ifndef"):
            alive.append((found[2] in DEFINED) == (found[1] == "ifdef"))
        elif found and found[1] == "else":
            alive[-1] = not alive[-1]
        elif found:
            alive.pop()
        elif all(alive):
            lines.append(line)
    return "\n".join(lines) + "\n"


def kept_modules(core: str, verilog: str, memories: Mapping[str, bytes], flow: str) -> dict[str, Kept]:
    """Return the modules of a core that are kept, by name: the top, and everything that belongs to one unit.

    Args:
        core: name of the top module, the prefix of all others.
        verilog: its text, as `seen_by_yosys`.
        memories: memory files by name; their contents are part of the digest of what reads them.
        flow: what else the counts depend on: tool and options.
    """
    texts = {found[1]: _COMMENT.sub("", found[0]) for found in _MODULE.finditer(verilog)}
    prefix = re.compile(rf"\b{core}_u\d+")
    mentions = {name: tuple(sorted((set(_WORD.findall(text)) & texts.keys()) - {name})) for name, text in texts.items()}
    kept: dict[str, Kept] = {}
    waiting = [core]
    while waiting:
        name = waiting.pop()
        inside, below = _inside(name, mentions, lambda other: prefix.match(other) is not None)
        text = "".join(texts[part] for part in inside)
        plain = text if name == core else prefix.sub(UNIT, text)
        read = b"".join(memories[file] for file in sorted(set(re.findall(rf"{core}_\w+\.mem", text))))
        digest = hashlib.sha256(f"{flow}\0{plain}\0".encode() + read).hexdigest()[:24]
        kept[name] = Kept(digest, below)
        waiting += [child for child in below if child not in kept]
    return kept


def _inside(
    name: str, mentions: Mapping[str, tuple[str, ...]], stays: Callable[[str], bool]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the modules that are flattened into one, itself first, and the kept ones right below it."""
    inside, below = [name], list[str]()
    for part in inside:  # grows on the way
        for child in mentions[part]:
            if stays(child):
                below += [child] if child not in below else []
            elif child not in inside:
                inside.append(child)
    return tuple(inside), tuple(below)


def to_synthesise(modules: Mapping[str, Kept], top: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the modules that a run must keep: those unknown, one of each digest, and all that lead to them."""
    missing, seen = set[str](), set(known)
    for name, module in modules.items():
        if module.digest not in seen:
            seen.add(module.digest)
            missing.add(name)

    def leads(name: str) -> bool:
        return name in missing or any(leads(child) for child in modules[name].children)

    return tuple(name for name in modules if leads(name) or (missing and name == top))


def count(top: str, modules: Mapping[str, Kept], store: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """Return the cells of a core by kind of module: those of every instance, added up.

    Raises:
        DeviceError: a module is not in the store.
    """
    parts: dict[str, Counter[str]] = {}

    def add(name: str, times: int) -> None:
        record = store.get(modules[name].digest)
        if record is None:
            raise DeviceError(f"module {name} was not synthesised.")
        kind = re.sub(rf"^{top}_u\d+_?", "", name) if name != top else "top"
        into = parts.setdefault(kind or "unit", Counter())
        for cell, number in record["cells"].items():
            into[cell] += times * number
        unit = (re.match(rf"{top}_u\d+", name) or [""])[0]
        for child, number in record["children"].items():
            add(child.replace(UNIT, unit), times * number)

    add(top, 1)
    return parts


@dataclass(frozen=True, slots=True)
class Store:
    """Cells of modules by digest, in a file that every run adds to."""

    file: Path

    def read(self) -> dict[str, Any]:
        """Return all that is known."""
        found: dict[str, Any] = json.loads(self.file.read_text()) if self.file.is_file() else {}
        return found

    def add(self, records: Mapping[str, Any]) -> None:
        """Keep more; the file is replaced as a whole, so that a killed run leaves the one before."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.file, json.dumps({**self.read(), **records}, sort_keys=True))


def synthesise(core: str, files: Mapping[str, str], family: Family, tool: str, store: Store) -> dict[str, Any]:
    """Return a core's cells by kind of module, the modules that were new, and the seconds it took.

    Args:
        core: name of the top module.
        files: `CORE.v` and the memory files, by name.
        family: the FPGA family with its options; `-flatten` flattens within what is kept.
        tool: name and version of the tool, part of the digests.
        store: what is known already.

    Raises:
        DeviceError: yosys is missing or fails.
    """
    begin, verilog = time.perf_counter(), seen_by_yosys(files[f"{core}.v"])
    memories = {name: text.encode() for name, text in files.items() if name.endswith(".mem")}
    modules = kept_modules(core, verilog, memories, f"{tool} {family.command}")
    wanted = to_synthesise(modules, core, store.read())
    if wanted:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            for name, content in memories.items():
                (work / name).write_bytes(content)
            (work / f"{core}.v").write_text(verilog)
            store.add(_run(core, modules, wanted, family, work))
    parts = count(core, modules, store.read())
    return {
        "parts": {kind: dict(sorted(cells.items())) for kind, cells in parts.items()},
        "modules": len(modules),
        "new_modules": len(wanted),
        "wall_s": round(time.perf_counter() - begin, 1),
    }


def _run(core: str, modules: Mapping[str, Kept], wanted: tuple[str, ...], family: Family, work: Path) -> dict[str, Any]:
    """Synthesise with all but the wanted modules as black boxes; return their own cells and their instances."""
    boxes = [name for name in modules if name not in wanted]
    script = [
        f"read_verilog {core}.v",
        *(f"blackbox {name}" for name in boxes),
        f"hierarchy -check -top {core}",
        *(f"setattr -mod -set keep_hierarchy 1 {name}" for name in wanted),
        "select -clear",
        f"{family.command} -top {core}",
        "tee -q -o kept.txt stat",
    ]
    (work / "kept.ys").write_text("\n".join(script) + "\n")
    done = tools.run((require(YOSYS), "-q", "kept.ys"), f"synthesis of {core}", LIMIT_S, work)
    if done.code != 0:
        raise DeviceError(f"yosys {tools.ending(done.code)}: {done.stderr.decode(errors='replace')[-500:]}")
    found = stat.parse_text((work / "kept.txt").read_text())
    return {modules[name].digest: _record(core, name, found[name], modules) for name in wanted}


def _record(core: str, name: str, cells: Mapping[str, int], modules: Mapping[str, Kept]) -> dict[str, Any]:
    inside = {kind: number for kind, number in cells.items() if kind in modules}
    own = {kind: number for kind, number in cells.items() if kind not in modules}
    if name != core:
        inside = {re.sub(rf"^{core}_u\d+", UNIT, kind): number for kind, number in inside.items()}
    return {"cells": own, "children": inside}
