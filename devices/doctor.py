"""What this machine can export, execute and measure, and how to get the rest; the command prints these values."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from devices import conditions, loadgen, meters, runtimes, tools
from devices.board import Board
from devices.boards import BOARDS
from devices.emulators.trial import cannot_count
from devices.remote import ssh
from devices.synthesis import commands
from export.targets import TARGETS


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for: `detail` says what it is good for, or why it is missing and how to get it."""

    kind: str
    name: str
    available: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Need:
    """What writing the files of a family of targets takes: import names, and how to install them."""

    family: str
    modules: tuple[str, ...]
    install: str


#: By family, the part of a target's name that several boards share. Targets that are not here write plain text.
EXPORT_NEEDS = (
    Need("host", ("onnx", "openvino"), "pip install 'edgemill[quant,host]'"),
    Need("jetson", ("onnx",), "pip install 'edgemill[quant]'"),
    Need("arm-a", ("flatbuffers",), "pip install 'edgemill[arm]'"),
    Need("ethos-u", ("ethosu", "flatbuffers"), "pip install 'edgemill[arm]'"),
)


def examine(root: Path = conditions.ROOT) -> tuple[Finding, ...]:
    """Return what is here and what is not: export, tools, runtimes, boards and meters, in this order.

    Runtimes are tried, not only imported, which takes some seconds.

    Args:
        root: where /sys is read; tests give a recorded tree.
    """
    every = (*runtimes.RUNTIMES, *runtimes.ON_DEMAND)
    found = tuple(_runtime(runtime.name, runtime.target, runtime.missing()) for runtime in every)
    working = {finding.name: finding for finding in found}
    return (
        *(_export(target.name) for target in TARGETS),
        *(_tool(tool) for tool in tools.TOOLS),
        *(_command(command) for command in commands.COMMANDS),
        _loadgen(),
        _ssh(),
        *found,
        *(_board(board, working.get(board.runtime)) for board in BOARDS),
        *(Finding("meter", p.name, p.available, p.detail) for p in meters.probe(root)),
    )


def _export(target: str) -> Finding:
    for need in EXPORT_NEEDS:
        lacking = [module for module in need.modules if importlib.util.find_spec(module) is None]
        if lacking and (target == need.family or target.startswith(f"{need.family}-")):
            return Finding("export", target, False, f"{', '.join(lacking)} not installed: {need.install}")
    return Finding("export", target, True, "its files can be written here")


def _tool(tool: tools.Tool) -> Finding:
    reason = tools.missing_tool(tool)
    return Finding("tool", tool.name, reason is None, reason or f"from Debian's {tool.package.split()[0]}")


def _command(command: commands.Command) -> Finding:
    reason = commands.missing(command)
    return Finding("tool", command.name, reason is None, reason or commands.use(command))


def _ssh() -> Finding:
    reason = ssh.missing()
    return Finding("tool", "asyncssh", reason is None, reason or "reaches the boards of an inventory (boards.toml)")


def _loadgen() -> Finding:
    reason = loadgen.missing()
    return Finding("tool", "loadgen", reason is None, reason or "puts the queries of profile --loadgen")


def _runtime(name: str, target: str, reason: str | None) -> Finding:
    return Finding("runtime", name, reason is None, reason or f"executes parts of target {target}")


def _board(board: Board, runtime: Finding | None) -> Finding:
    if runtime is not None and not runtime.available:
        return Finding("board", board.name, False, runtime.detail)
    if board.transport == "synthesis" and (lack := runtimes.missing(board)):
        return Finding("board", board.name, False, lack)
    machine = runtimes.find_machine(board)
    reason = cannot_count(machine) if machine else None
    if reason:
        return Finding("board", board.name, False, reason)
    return Finding("board", board.name, True, f"{board.summary}: gives {', '.join(board.metrics)}")
