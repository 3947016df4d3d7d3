"""Are the codes of generated C the reference's on every CPU? Real and random networks, every tensor, bit for bit.

    python -m benchmarks.arm_parity --data ../shared/data --work FOLDER [--networks 200] [--cpu NAME ...]
    python -m benchmarks.arm_parity --cpu NAME --recipe 0.7744.4    one network again, then a shorter one that fails

What was compared stays in `--work` under a digest of the C as the CPU's compiler sees it, of the codes and of the
tools, so that a run that was stopped goes on, and only what changed runs again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import parity_nets
from benchmarks.arm_parity_table import Row, as_json, table
from benchmarks.batch import Case, Verdict, export_case, run_batch
from benchmarks.choices import parse, shrink, spell
from benchmarks.cpus import CPUS, reason_not_to_run, versions
from benchmarks.random_layers import Space
from benchmarks.random_networks import of_recipe, of_seed, space_of
from benchmarks.results import environment, write_results
from devices import tools
from devices.emulators.machine import COMPILE_LIMIT_S, Machine
from export.arm_m import TARGET

#: Networks in one program; real ones are large, and run alone.
BATCH = 20


def main() -> int:
    args = _arguments()
    machines = [m for m in CPUS if not args.cpu or m.name in args.cpu]
    space = space_of(TARGET.capability)
    if args.recipe:
        return _again(machines, space, parse(args.recipe))
    real = list(parity_nets.cases(args.data)) if args.data else []
    seeds = range(args.first, args.first + args.networks)
    drawn = [Case(f"n{seed}", f"seed {seed}", of_seed(space, seed)) for seed in seeds]
    batches = [[case] for case in real] + [drawn[i : i + BATCH] for i in range(0, len(drawn), BATCH)]
    with tempfile.TemporaryDirectory(prefix="edgemill-") as folder:
        for case in (case for batch in batches for case in batch):
            export_case(case, Path(folder))
        rows = [_run(machine, batches, Path(folder), args.work) for machine in machines]
    if args.write:
        titles = [case.recipe for case in real]
        networks = {"real": titles, "random": len(seeds), "first_seed": args.first}
        record = {"environment": environment(), "networks": networks, "cpus": [as_json(row) for row in rows]}
        write_results("arm_parity", record, table(rows, titles, seeds))
    wrong = sum(len(row.wrong) for row in rows)
    print(f"{wrong} networks differ")
    return int(wrong > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the real networks; without it random ones only")
    parser.add_argument(
        "--work", type=Path, default=Path("build/arm_parity"), help="where finished comparisons are kept"
    )
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--cpu", action="append", choices=[m.name for m in CPUS])
    parser.add_argument("--recipe", help="choices of one network, as a failing test prints them")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print, and leave the results alone")
    return parser.parse_args()


def _run(machine: Machine, batches: Sequence[Sequence[Case]], sources: Path, work: Path) -> Row:
    """Compare all networks on one machine, but those that were compared before; their C lies in `sources`."""
    reason = reason_not_to_run(machine)
    if reason:
        print(f"{machine.name}: not executed: {reason}", flush=True)
        return Row(machine.name, reason, "", "", ())
    compiler, emulator = versions(machine)
    store = work / f"{machine.name}.json"
    known = _known(store)
    found: list[Verdict] = []
    for batch in batches:
        keys = {case.name: _key(machine, (compiler, emulator), sources, case) for case in batch}
        todo = [case for case in batch if keys[case.name] not in known]
        fresh = run_batch(machine, todo) if todo else ()
        known |= {keys[verdict.name]: verdict for verdict in fresh}
        _keep(store, known)
        found += [known[keys[case.name]] for case in batch]
        _say(machine, fresh)
    row = Row(machine.name, "", compiler, emulator, tuple(found))
    print(f"{row.cpu}: {len(found)} networks, {row.codes} codes, {len(row.wrong)} networks differ", flush=True)
    return row


def _say(machine: Machine, verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.wrong:
            print(f"{machine.name}: {verdict.recipe}: {verdict.wrong}", flush=True)


def _known(store: Path) -> dict[str, Verdict]:
    if not store.exists():
        return {}
    return {key: Verdict(**fields) for key, fields in json.loads(store.read_text()).items()}


def _keep(store: Path, known: dict[str, Verdict]) -> None:
    store.parent.mkdir(parents=True, exist_ok=True)
    fresh = store.with_suffix(".new")
    fresh.write_text(json.dumps({key: asdict(verdict) for key, verdict in known.items()}))
    fresh.replace(store)


def _key(machine: Machine, versions: tuple[str, str], sources: Path, case: Case) -> str:
    """Return a digest of all that a comparison depends on: C behind the preprocessor, codes, flags and tools."""
    argv = [machine.compiler.name, *machine.flags, "-DEDGEMILL_TAP", "-E", "-P", str(sources / f"{case.name}.c")]
    found = hashlib.sha256(json.dumps([machine.name, machine.flags, versions]).encode())
    found.update(tools.call(argv, f"preprocessing {case.recipe}", COMPILE_LIMIT_S))
    example = case.example
    for name, codes in sorted({**example.values, example.graph.input: example.inputs}.items()):
        found.update(name.encode() + codes.tobytes())
    return found.hexdigest()[:32]


def _again(machines: Sequence[Machine], space: Space, recipe: tuple[int, ...]) -> int:
    """Run one recipe on each machine; where it fails, look for a plainer one that still does."""
    example = of_recipe(space, recipe)
    if example is None:
        print("this recipe makes no network whose outputs vary", file=sys.stderr)
        return 2
    failed = False
    for machine in machines:
        verdict = run_batch(machine, [Case("net", spell(recipe), example)])[0]
        print(f"{machine.name}: {verdict.wrong or 'bit-exact'}", flush=True)
        if verdict.wrong:
            failed = True
            _print_shorter(machine, space, recipe)
    return int(failed)


def _print_shorter(machine: Machine, space: Space, recipe: tuple[int, ...]) -> None:
    def wrong(choices: tuple[int, ...]) -> str:
        example = of_recipe(space, choices)
        return run_batch(machine, [Case("net", spell(choices), example)])[0].wrong if example else ""

    short = shrink(recipe, lambda choices: bool(wrong(choices)))
    print(f"shorter: {spell(short)}: {wrong(short)}")
    example = of_recipe(space, short)
    for node in example.graph.nodes if example else ():
        shapes = [list(example.graph.shape(name)) for name in (*node.inputs, node.output)] if example else []
        print(f"    {node.output} = {node.op} of {', '.join(node.inputs)} {shapes} clip {node.clip}")


if __name__ == "__main__":
    sys.exit(main())
