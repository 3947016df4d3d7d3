"""What leaving early saves of time on this machine and of instructions on an emulated Cortex-M4."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from devices import tools
from devices.emulators import qemu_system
from devices.emulators.joint import open_joint
from devices.emulators.machine import open_part
from devices.emulators.trial import missing
from edge.exit_parts import last_only
from edge.exits_bundle import ExitNetwork
from export import arm_m
from export.bundle_read import Bundle
from export.parity_rules import defined_answers
from export.runtimes.c_joint import answers_on_host, joint_files, memory_order
from export.target import Source
from quant.formats import Array, IntArray
from quant.program import lower
from quant.reference import fast_dot, run

#: Name of the bundle, and of the same network without exits, in C.
EARLY, PLAIN = "early", "plain"
LIMIT_S = 600.0
HOST_IMAGES, ROUNDS, M4_IMAGES = 1000, 5, 10


def parity(bundle: Bundle, codes: Array) -> dict[str, int]:
    """Compare the C of the bundle with the reference: who answers, and which label."""
    wanted, found = defined_answers(bundle, codes), answers_on_host(bundle, codes)
    if len(set(wanted.label)) < 2 or len(set(wanted.part)) < 2:
        raise SystemExit("every input has the same label or leaves at the same exit; choose other inputs.")
    differ = (wanted.part != found.part) | (wanted.label != found.label)
    return {"images": len(codes), "differ": int(differ.sum())}


def host_times(bundle: Bundle, network: ExitNetwork, codes: Array) -> dict[str, Any]:
    """Return the time of an inference with and without exits: per input the best of several rounds, in turns."""
    with tempfile.TemporaryDirectory(prefix="edgemill-") as place:
        program = _compiled(bundle, network, Path(place))
        data = Path(place) / "codes"
        data.write_bytes(memory_order(bundle, codes).tobytes())
        with data.open("rb") as stream:
            done = subprocess.run(
                [str(program), str(ROUNDS), str(len(codes))],
                stdin=stream,
                capture_output=True,
                check=True,
                timeout=LIMIT_S,
            )
    lines = np.array([line.split() for line in done.stdout.decode().splitlines()], np.int64)
    rounds = lines.reshape(ROUNDS, len(codes), 4)
    early, plain = rounds[:, :, 2].min(axis=0), rounds[:, :, 3].min(axis=0)
    by_round = rounds[:, :, 2].sum(axis=1) / rounds[:, :, 3].sum(axis=1)
    return {
        "images": len(codes),
        "rounds": ROUNDS,
        "early_us": float(early.mean() / 1e3),
        "plain_us": float(plain.mean() / 1e3),
        "ratio": float(early.sum() / plain.sum()),
        "ratio_by_round": [round(float(ratio), 4) for ratio in by_round],
        "by_exit": _by_exit(rounds[0, :, 1], early / 1e3),
    }


def m4_instructions(bundle: Bundle, network: ExitNetwork, codes: Array, taken: IntArray) -> dict[str, Any]:
    """Return Cortex-M4 instructions by the exit that answered, and of the network without exits.

    Args:
        bundle: with exits.
        network: the same, quantised.
        codes: input codes; `M4_IMAGES` of every exit are run.
        taken: the exit of every input.
    """
    reason = missing(qemu_system.M4)
    if reason is not None:
        return {"not_run": reason}
    ends = range(len(network.stages))
    picked = np.concatenate([np.flatnonzero(taken == place)[:M4_IMAGES] for place in ends])
    with open_joint(qemu_system.M4, bundle) as session:
        counted, footprint = session.counted(codes[picked]), session.footprint()
    wanted = defined_answers(bundle, codes[picked])
    if not (np.array_equal(counted.part, wanted.part) and np.array_equal(counted.label, wanted.label)):
        raise SystemExit("the Cortex-M4 answers otherwise than the reference.")
    by_exit = _by_exit(counted.part, counted.instructions.astype(np.float64))
    whole = _plain_instructions(network, codes[picked[:1]])
    shares = {str(place): float((_part_of(network, taken) == place).mean()) for place in _places(network)}
    mean = sum(by_exit[place]["mean"] * share for place, share in shares.items() if place in by_exit)
    return {
        "images": len(picked),
        "by_exit": by_exit,
        "plain": whole,
        "mean": mean,
        "ratio": mean / whole,
        "flash_bytes": footprint.flash_bytes,
    }


def _places(network: ExitNetwork) -> list[int]:
    """Return the part that answers for each exit."""
    return [*(2 * place + 1 for place in range(len(network.leaves))), 2 * len(network.leaves)]


def _part_of(network: ExitNetwork, taken: IntArray) -> IntArray:
    return np.array(_places(network), np.int64)[taken]


def _by_exit(parts: IntArray, values: Array) -> dict[str, dict[str, float]]:
    found = {}
    for place in np.unique(parts):
        here = values[parts == place]
        spread = {"mean": float(here.mean()), "least": float(here.min()), "most": float(here.max())}
        found[str(int(place))] = spread | {"images": len(here)}
    return found


def _write_plain(network: ExitNetwork, folder: Path) -> Source:
    graph = last_only(network.graph)
    shape = graph.shape(graph.input)[1:]
    codes = np.zeros((1, *shape), graph.quant(graph.input).format.dtype)
    source = Source(PLAIN, graph, codes, run(lower(graph), codes, fast_dot)[graph.output])
    arm_m.TARGET.write(source, folder)
    return source


def _plain_instructions(network: ExitNetwork, codes: Array) -> int:
    with tempfile.TemporaryDirectory(prefix="edgemill-") as place:
        source = _write_plain(network, Path(place))
        session = open_part(qemu_system.M4, Path(place), PLAIN, source.graph)
        try:
            return int(session.instructions(codes)[0])
        finally:
            session.close()


def _compiled(bundle: Bundle, network: ExitNetwork, folder: Path) -> Path:
    _write_plain(network, folder)
    files, program = joint_files(bundle), folder / "program"
    main = Path(__file__).with_name("exits_host.c")
    places = [f"-I{place}" for place in (files.folder, *files.places, folder)]
    sources = [str(path) for path in (main, files.own, *files.parts, folder / f"{PLAIN}.c")]
    argv = ["gcc", "-std=c99", "-O2", *places, *sources, "-o", str(program)]
    tools.call(argv, "compiling the networks with and without exits", LIMIT_S)
    return program
