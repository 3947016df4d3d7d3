"""Streaming FPGA cores in Verilator against the reference: real networks in four schemes, and random networks.

Every core is run without waits and with random waits on both sides; every code of every frame is compared, and the
clocks of the simulation with those the core states. Real networks are exported as a user exports them, with the folding
that is chosen by default; random ones are folded at random, many in one binary.

    python -m benchmarks.fpga_parity --data DATA      results to results/fpga_parity.{json,md}
    python -m benchmarks.fpga_parity --networks 100 --first 50 --no-write
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks import fpga_parity_nets as nets
from benchmarks.fpga_batch import Case, Simulated, simulate, wrong
from benchmarks.fpga_parity_table import RandomRow, RealRow, table
from benchmarks.random_folds import random_folds
from benchmarks.random_networks import of_seed, space_of
from benchmarks.results import environment, write_results
from export.errors import ExportError
from export.fpga import TARGET
from export.rtl.stream.build import FRAMES
from export.rtl.stream.device import FAMILIES
from export.rtl.stream.schedule import bottleneck
from export.runtimes.verilator import missing, open_session
from export.target import Source
from quant.program import lower

#: Random networks in one binary.
BATCH = 10
SEED_OF_WAITS = 7


def random_case(seed: int) -> Case:
    """Return the random network of a seed with its inputs, two of them twice, folded at random for one family."""
    example, device = of_seed(space_of(TARGET.capability), seed), FAMILIES[seed % len(FAMILIES)]
    folds, lanes = random_folds(lower(example.graph), device, seed)
    codes = np.concatenate([example.inputs, example.inputs[:2]])
    return Case(example.graph, codes, folds, lanes, device)


def main() -> int:
    args = _arguments()
    reason = missing()
    if reason:
        print(f"not run: {reason}", file=sys.stderr)
        return 2
    args.work.mkdir(parents=True, exist_ok=True)
    real = [_kept(args.work, case) for case in nets.cases(args.data, args.work)] if args.data else []
    seeds = list(range(args.first, args.first + args.networks))
    random = [row for i in range(0, len(seeds), BATCH) for row in _random(args.work, seeds[i : i + BATCH])]
    if args.write:
        record = {
            "environment": environment(),
            "real": [asdict(row) for row in real],
            "random": [asdict(row) for row in random],
        }
        write_results("fpga_parity", record, table(real, random))
    failed = [*(row.name for row in real if row.wrong), *(f"seed {row.seed}" for row in random if row.wrong)]
    print(f"{len(failed)} of {len(real) + len(random)} networks differ {' '.join(failed)}")
    return int(bool(failed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the real networks; without it random ones only")
    parser.add_argument("--work", type=Path, default=Path("build/fpga_parity"), help="where finished rows are kept")
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print, and leave the results alone")
    return parser.parse_args()


def _kept(work: Path, case: nets.RealCase) -> RealRow:
    """Return the row of a network, simulated unless `work` has it."""
    path = work / f"{case.name}_{case.scheme}.json"
    if path.exists():
        return RealRow(**json.loads(path.read_text()))
    row = _real(case)
    path.write_text(json.dumps(asdict(row)))
    print(row, flush=True)
    return row


def _real(case: nets.RealCase) -> RealRow:
    graph, codes, outputs, labels = case.load()
    with tempfile.TemporaryDirectory(prefix="edgemill-") as scratch:
        start, used = time.perf_counter(), _cpu_s()
        facts = TARGET.write(Source(case.name, graph, codes, outputs), Path(scratch))
        exported = time.perf_counter()
        if facts.get("architecture") != "stream":
            raise ExportError(f"{case.name} {case.scheme} does not stream: {facts.get('why_sequential')}")
        session = open_session(Path(scratch), case.name, graph)
        try:
            found = []
            if not np.array_equal(session.run_with_waits(codes, SEED_OF_WAITS), outputs):
                found.append("codes differ with waits")
            checked, used = time.perf_counter(), _cpu_s() - used
            if not np.array_equal(session.run(codes[:FRAMES]), outputs[:FRAMES]):
                found.append("codes differ without waits")
            clocks = (session.cycles(codes), max(session.intervals(codes[:FRAMES])[-2:]))  # type: ignore[union-attr]
        finally:
            session.close()
    stated = (facts["cycles"], facts["interval_cycles"])
    if clocks != stated:
        found.append(f"latency and interval are {clocks}, not {stated}")
    return RealRow(
        name=case.name, scheme=case.scheme, frames=len(codes), labels=labels, latency=clocks[0], interval=clocks[1],
        bottleneck=int(str(facts["bottleneck_cycles"])), export_s=round(exported - start, 1),
        check_s=round(checked - exported, 1), cpu_s=round(used, 1), wrong="; ".join(found),
    )  # fmt: skip


def _cpu_s() -> float:
    """Return the processor time of this process and of those it waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _random(work: Path, seeds: list[int]) -> list[RandomRow]:
    """Return the rows of random networks, simulated unless `work` has them."""
    path = work / f"random_{seeds[0]}_{seeds[-1]}.json"
    if path.exists():
        return [RandomRow(**row) for row in json.loads(path.read_text())]
    with tempfile.TemporaryDirectory(prefix="edgemill-") as scratch:
        simulated = simulate([random_case(seed) for seed in seeds], Path(scratch))
    rows = [_row(seed, one) for seed, one in zip(seeds, simulated, strict=True)]
    path.write_text(json.dumps([asdict(row) for row in rows]))
    for row in rows:
        print(row, flush=True)
    return rows


def _row(seed: int, one: Simulated) -> RandomRow:
    plan = one.core.plan
    return RandomRow(
        seed=seed, family=plan.device.family, units=len(plan.units), frames=len(one.case.codes), latency=one.latency,
        interval=one.interval, bottleneck=bottleneck(plan), wrong=wrong(one),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
