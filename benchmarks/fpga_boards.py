"""Whole networks on FPGA boards: resources by layer, clock and bitstream by open tools, exact clocks of a frame.

    python -m benchmarks.fpga_boards --data DATA --work WORK      results to results/fpga_boards.{json,md}

Needs yosys and Verilator; nextpnr-ecp5 for the boards that it places. WORK keeps trained networks and finished rows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.fpga_boards_table import table
from benchmarks.fpga_parity_nets import RealCase
from benchmarks.results import environment, write_results
from devices.boards import find_board
from devices.boards_fpga import find_fpga
from devices.synthesis.core import core_of
from devices.synthesis.flow import synthesise
from edge.circuits import circuit_request
from export.fpga import TARGET
from export.runtimes.verilator import open_session
from export.target import Source


@dataclass(frozen=True, eq=False)
class Case:
    """A network in a scheme on a board, at so many frames per second at the clock the board's tools are asked for."""

    network: RealCase
    board: str
    rate: float

    @property
    def key(self) -> str:
        """What the row is kept under."""
        return f"{self.network.name}_{self.network.scheme}_{self.board}_{self.rate:g}"


def cases(data: Path, work: Path) -> tuple[Case, ...]:
    """Return the networks: a small one in two schemes that is placed, and ResNet-8 within a Pynq-Z2."""

    def case(name: str, scheme: str, load: Callable[[], networks.Network], board: str, rate: float) -> Case:
        return Case(RealCase(name, scheme, load), board, rate)

    def digits() -> networks.Network:
        return networks.digits(work)

    def resnet8() -> networks.Network:
        return networks.resnet8(data)

    return (
        case("digits", "w8a8", digits, "ulx3s-85k", 25_000),
        case("digits", "w4a4", digits, "ulx3s-85k", 25_000),
        case("resnet8", "w8a8", resnet8, "pynq-z2", 2_000),
        case("resnet8", "w8a8", resnet8, "pynq-z2", 5_000),
    )


def main() -> None:
    """Make every row that is not there yet, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real networks")
    parser.add_argument("--work", type=Path, default=Path("build/fpga_boards"), help="where finished rows are kept")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rows = [_kept(given.work, case) for case in cases(given.data, given.work)]
    write_results("fpga_boards", {"environment": environment(), "rows": rows}, table(rows))


def _kept(work: Path, case: Case) -> dict[str, Any]:
    path = work / f"{case.key}.json"
    if not path.exists():
        path.write_text(json.dumps(_row(case), indent=1))
    found: dict[str, Any] = json.loads(path.read_text())
    print(case.key, {key: value for key, value in found.items() if key not in ("layers", "circuit")}, flush=True)
    return found


def _row(case: Case) -> dict[str, Any]:
    """Export as a user does, simulate 16 frames against the reference, and let the board's tools take the core."""
    graph, codes, outputs, labels = case.network.load()
    name = case.network.name
    with tempfile.TemporaryDirectory(prefix="edgemill-") as scratch:
        request = circuit_request(case.board, case.rate, None, sequential=False)
        facts = TARGET.write(Source(name, graph, codes, outputs, circuit=request), Path(scratch))
        session = open_session(Path(scratch), name, graph)
        try:
            exact = bool(np.array_equal(session.run_with_waits(codes, 7), outputs))
            cycles = session.cycles(codes)
        finally:
            session.close()
        made = synthesise(core_of(Path(scratch), name), find_fpga(find_board(case.board)), say=print)
    return {
        "network": name,
        "scheme": case.network.scheme,
        "board": case.board,
        "rate": case.rate,
        "frames": len(codes),
        "labels": labels,
        "exact": exact,
        "cycles": cycles,
        "cycles_stated": facts["cycles"],
        "interval_cycles": facts["interval_cycles"],
        "steps": {layer["instance"]: layer for layer in facts["layers"]},  # type: ignore[attr-defined]
        "circuit": asdict(made.circuit),
        "versions": dict(made.versions),
    }


if __name__ == "__main__":
    main()
