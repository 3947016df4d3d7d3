"""Run a plan: start the worker or the emulator, check what it says, and return the measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from devices import conditions, meters, null
from devices.board import METRICS, Board
from devices.boards import find_board
from devices.dut.profile import profile_dut
from devices.emulators.machine import Machine, open_part
from devices.errors import DeviceError
from devices.estimated import read_estimate
from devices.found import Found
from devices.inventory import RemoteBoard
from devices.jetson.run import run_here
from devices.local import run_pairs, run_worker
from devices.measurement import Measurement, Step
from devices.metering import OWN_METER, Metering, refuse_elsewhere, run_all_metered, run_metered
from devices.part_files import load_graph, load_inputs
from devices.pi import session as pi
from devices.plan import Plan
from devices.remote.profile import Profiled, profile_many
from devices.runtimes import find_machine
from devices.scenario import MULTI_STREAM, OFFLINE
from devices.state import Conditions
from devices.stopping import run_stoppable
from devices.synthesis.flow import silent
from devices.synthesised import read_synthesis
from devices.whole_inputs import count_whole
from devices.worker import versions
from export.errors import ExportError
from export.runtimes import verilator
from quant.graph import macs

#: Transports on which two parts are open in one process.
TAKING_TURNS = ("local", "null")


def profile(
    plan: Plan,
    root: Path = conditions.ROOT,
    say: Callable[[str], None] = silent,
    metering: Metering = OWN_METER,
    board: Board | None = None,
) -> Measurement:
    """Run a plan and return what was measured.

    Args:
        plan: what to run, from `devices.plan.plans`.
        root: where /proc and /sys are read; tests give a recorded tree.
        say: told what is being done, where that takes minutes.
        metering: which meter to read beside a run on this machine; its own where there is one and nobody says.
        board: the plan's, where it is not built in.

    Raises:
        DeviceError: the board cannot be used here, or the run died, hung, or said something that is no record.
    """
    board, started = board or find_board(plan.board), datetime.now(UTC)
    if board.transport == "trtexec":
        refuse_elsewhere(board, metering)
        found, state = run_here(plan, say)
        return _measurement(plan, board, found, started=started, state=state, root=root)
    if board.uri is not None:
        there = profile_dut(plan, board.uri, say, metering.find(root) if metering.meter else None)
        return _measurement(plan, board, there.found, started=started, state=there.conditions, root=root)
    earlier = conditions.before(root)
    found = run_metered(board, root, metering, lambda: _run(board, plan, say), f"{plan.part}-{board.name}")
    state = conditions.after(earlier, root)
    return _measurement(plan, board, found, started=started, state=state, root=root)


def profile_all(
    work: Sequence[tuple[Plan, Board | RemoteBoard]],
    say: Callable[[str], None] = silent,
    metering: Metering = OWN_METER,
) -> tuple[Measurement | DeviceError, ...]:
    """Run plans: those on boards of the inventory first, all boards at once, then the others one after the other.

    Args:
        work: each plan with its board.
        say: told what is being done.
        metering: which meter to read beside runs on this machine.

    Returns:
        For each plan, in order, what was measured, or why nothing was.
    """
    far = [(plan, board) for plan, board in work if isinstance(board, RemoteBoard)]
    if far and metering.meter:
        raise DeviceError(
            f"meter '{metering.meter}' reads this machine, but {far[0][1].name} is another one. Name its meter in the "
            "inventory, or leave --meter out."
        )
    came = iter(run_stoppable(profile_far(far, say, metering.idle_s)) if far else ())
    return tuple(
        next(came) if isinstance(board, RemoteBoard) else _tried(plan, board, say, metering) for plan, board in work
    )


async def profile_far(
    work: Sequence[tuple[Plan, RemoteBoard]], say: Callable[[str], None], idle_s: float = 0.0
) -> tuple[Measurement | DeviceError, ...]:
    """Run plans on boards of the inventory, all boards at once; for each, in order, what was measured or why not."""
    started = datetime.now(UTC)
    came = await profile_many(work, say, idle_s=idle_s)
    return tuple(_brought(plan, remote, there, started) for (plan, remote), there in zip(work, came, strict=True))


def _brought(
    plan: Plan, remote: RemoteBoard, there: Profiled | DeviceError, started: datetime
) -> Measurement | DeviceError:
    if isinstance(there, DeviceError):
        return there
    state, root = there.conditions, conditions.ROOT
    return _measurement(plan, remote.board, there.found, started=started, state=state, root=root)


def _tried(plan: Plan, board: Board, say: Callable[[str], None], metering: Metering) -> Measurement | DeviceError:
    try:
        return profile(plan, say=say, metering=metering, board=board)
    except DeviceError as error:
        return error


def profile_pairs(
    plan: Plan, root: Path = conditions.ROOT, metering: Metering = OWN_METER
) -> tuple[Measurement, Measurement]:
    """Run a plan whose two parts take turns, window by window, in one process on one device, with a meter beside them.

    Returns:
        What was measured of the plan's own part, and of the other one; window i of both make a pair.

    Raises:
        DeviceError: no two parts can take turns on the board, or as `profile`.
    """
    board, versus = find_board(plan.board), plan.versus
    if versus is None:
        raise DeviceError("profile_pairs needs a plan with two parts.")
    if board.transport not in TAKING_TURNS:
        raise DeviceError(f"two bundles cannot take turns on board '{board.name}' ({board.transport}).")
    started, earlier = datetime.now(UTC), conditions.before(root)
    source = f"{_source(board, plan)}, taking turns with another part"
    base, other = run_all_metered(board, root, metering, lambda: run_pairs(plan, source))
    state = conditions.after(earlier, root)
    return (
        _measurement(plan, board, base, started=started, state=state, root=root),
        _measurement(replace(plan, bundle=versus.bundle), board, other, started=started, state=state, root=root),
    )


def _source(board: Board, plan: Plan) -> str:
    """Say in words where latencies come from."""
    if board.transport == "null":
        return null.SOURCE
    queries = {OFFLINE.name: "one query a window", MULTI_STREAM.name: "8 inferences a query"}
    how = queries.get(plan.scenario, "one inference after another")
    put = ", queries put by MLPerf LoadGen" if plan.loadgen else ""
    return f"wall clock of {how}, {board.runtime}, batch 1{put}"


def _run(board: Board, plan: Plan, say: Callable[[str], None]) -> Found:
    machine = find_machine(board)
    if machine is not None and plan.is_joined:
        return count_whole(plan, machine, tuple(sorted(versions(board).items())))
    if machine is not None:
        return _count_instructions(board, machine, plan)
    match board.transport:
        case "local" | "null":
            return run_worker(plan, _source(board, plan))
        case "qemu-root":
            return _count_in_system(board, plan)
        case "estimate":
            return read_estimate(board, plan, versions(board))
        case "synthesis":
            return read_synthesis(board, plan, versions(board), say)
        case "verilator":
            return _count_cycles(board, plan)
        case _:
            raise DeviceError(f"board '{board.name}' has transport '{board.transport}', which nothing here drives.")


def _count_in_system(board: Board, plan: Plan) -> Found:
    graph = load_graph(plan.folder)
    codes = load_inputs(plan.folder, graph)[: plan.images]
    guest, core = pi.find_pair(board.runtime)
    session = pi.open_session(guest, core, plan.folder, plan.files, graph)
    pins = dict(package.split("==") for package in guest.packages)
    return Found(
        source=f"instructions of {board.cpu}, counted in qemu-aarch64: one call of the runtime's Python interface",
        versions=tuple(sorted({**versions(board), **pins}.items())),
        instructions=session.instructions(codes),
    )


def _count_cycles(board: Board, plan: Plan) -> Found:
    reason = verilator.missing()
    if reason:
        raise DeviceError(f"{board.name}: {reason}.")
    graph = load_graph(plan.folder)
    codes = load_inputs(plan.folder, graph)[: plan.images]
    try:
        session = verilator.open_session(plan.folder, plan.files, graph)
        try:
            cycles = tuple(session.cycles(codes[i : i + 1]) for i in range(len(codes)))
        finally:
            session.close()
    except ExportError as error:
        raise DeviceError(str(error)) from error
    return Found(
        source="clock cycles of the simulated RTL, first beat in to last beat out, no waits",
        versions=tuple(sorted(versions(board).items())),
        cycles=cycles,
    )


def _measurement(
    plan: Plan, board: Board, found: Found, *, started: datetime, state: Conditions, root: Path
) -> Measurement:
    arena_bytes = (found.arena_bytes or plan.arena_bytes) if "arena" in board.metrics else None
    values = {
        "latency": found.latency_s,
        "instructions": found.instructions,
        "cycles": found.cycles,
        "energy": found.energy,
        "arena": arena_bytes,
        "flash": found.flash_bytes,
        "code": found.code_bytes,
        "ram": found.ram_bytes,
        "stack": found.stack_bytes,
    }
    return Measurement(
        bundle=plan.bundle,
        part=plan.part,
        target=plan.target,
        board=board.name,
        runtime=board.runtime,
        versions=found.versions,
        scenario=plan.scenario,
        method=found.method or board.method,
        source=found.source,
        started_at=started.isoformat(timespec="seconds"),
        conditions=state,
        warmup=found.warmup,
        latency_s=found.latency_s,
        instructions=found.instructions,
        cycles=found.cycles,
        energy_j=found.energy.gross_j if found.energy else None,
        arena_bytes=arena_bytes,
        flash_bytes=found.flash_bytes,
        code_bytes=found.code_bytes,
        ram_bytes=found.ram_bytes,
        stack_bytes=found.stack_bytes,
        steps=found.steps,
        circuit=found.circuit,
        samples_per_query=found.samples_per_query,
        loadgen=found.loadgen,
        energy=found.energy,
        absent=tuple(
            (name, dict(found.absent).get(name) or _reason(board, name, root))
            for name in sorted(METRICS)
            if values[name] is None
        ),
    )


def _reason(board: Board, metric: str, root: Path) -> str:
    known = dict(board.absent)
    if metric in known:
        return known[metric]
    if metric == "energy":
        return meters.energy_reason(root)
    return f"the bundle does not say how large its {metric} is" if metric == "arena" else f"{board.name} gave none"


def _count_instructions(board: Board, machine: Machine, plan: Plan) -> Found:
    graph = load_graph(plan.folder)
    codes, counts = load_inputs(plan.folder, graph)[: plan.images], macs(graph)
    session = open_part(machine, plan.folder, plan.files, graph, plan.limit_s)
    try:
        instructions, footprint = session.instructions(codes), session.footprint()
        stack_bytes, steps = session.stack_bytes(codes), session.steps(codes[:1])
    finally:
        session.close()
    return Found(
        source=f"instructions of {board.cpu}, counted in {machine.emulator.name}; flags {' '.join(machine.flags)}",
        versions=tuple(sorted(versions(board).items())),
        instructions=instructions,
        flash_bytes=footprint.flash_bytes,
        code_bytes=footprint.code_bytes,
        ram_bytes=footprint.ram_bytes,
        stack_bytes=stack_bytes,
        steps=tuple(Step(name, counts.get(name, 0), number, None) for name, number in steps),
    )
