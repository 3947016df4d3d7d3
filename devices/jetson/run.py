"""A part on a Jetson, over a link: check that it fits, set power and clocks if asked, build, test, time, read back."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from devices import conditions, snapshot
from devices.errors import DeviceError
from devices.found import Found
from devices.jetson import job, power, result
from devices.jetson.identity import GLOBS, Identity, identify, require_fit
from devices.part_files import load_graph
from devices.plan import Plan
from devices.remote import scripts
from devices.remote.archive import Archive, File, pack
from devices.remote.here import HereLink
from devices.remote.job import Hands, Job, Site, new_name, run_job
from devices.remote.link import Link, Say, Steady
from devices.scenario import SINGLE_STREAM
from devices.state import Conditions
from devices.stopping import run_stoppable
from export.jetson_profiles import Profile, find_profile
from export.jetson_script import run_flags
from export.jetson_shell import build_script, profile_script, run_script
from quant.graph import macs

T = TypeVar("T")

#: Building an engine tries many kernels: minutes on a small board.
BUILD_LIMIT_S = 3600.0
_PATTERNS = tuple(f"/{pattern}" for pattern in (*conditions.GLOBS, *GLOBS))


def run_here(plan: Plan, say: Say, site: Site | None = None) -> tuple[Found, Conditions]:
    """Run a plan on this machine, which is the board; see `run_part`."""

    async def connect() -> Link:
        return HereLink()

    return run_stoppable(run_part(Steady("this machine", connect, say), site or Site(), plan, say))


async def run_part(
    steady: Steady, site: Site, plan: Plan, say: Say, hands: Hands | None = None, tool: str | None = None
) -> tuple[Found, Conditions]:
    """Run a plan on the board at the other end of a link.

    Args:
        steady: the link.
        site: where on the board.
        plan: what to run; its target names the profile.
        say: told what happens.
        hands: clock and sleep of the job, which tests replace.
        tool: path of trtexec there, where it is neither on the PATH nor where JetPack puts it.

    Returns:
        The latencies of `plan.windows` consecutive windows of one run of trtexec with the time of each layer, and the
        state of the board before and after. `method` is `simulated` where a stand-in for trtexec answered.

    Raises:
        DeviceError: the plan asks for what trtexec does not do, the part does not fit the board, or what went wrong.
    """
    _check_plan(plan)
    profile, wish = find_profile(plan.target), power.Wish(plan.power_mode, plan.max_clocks)
    identity = await _look(steady, site, identify)
    require_fit(identity, profile)
    work = _job(plan, profile, tool)
    async with power.powered(steady, site.folder, wish, say) as set_for_run:
        earlier = [await _look(steady, site, conditions.before)]

        async def again() -> None:
            await power.take(steady, site.folder, wish)
            earlier.append(await _look(steady, site, conditions.before))

        ran = await run_job(steady, site, work, _progress(steady, say), say, hands, again)
        state = await _look(steady, site, lambda root: conditions.after(earlier[-1], root))
        mode, reason = await power.current_mode(steady, site.folder)
    found = result.read_result(job.read_records(ran.records), profile, plan.files)
    told = tuple(sorted((*set_for_run, *result.settings(profile))))
    state = replace(conditions.with_power_mode(state, mode, reason), settings=told)
    flags = run_flags(profile, plan.files, **_length(plan))
    return _found(plan, found, identity, (result.source(found, flags), *ran.notes)), state


def _check_plan(plan: Plan) -> None:
    asked = {
        f"scenario {plan.scenario}": plan.scenario != SINGLE_STREAM.name,
        "LoadGen": plan.loadgen,
        "--complete": plan.complete,
        "two bundles that take turns": plan.versus is not None,
    }
    refused = [what for what, wanted in asked.items() if wanted]
    if refused:
        raise DeviceError(f"trtexec times one inference after another; it does no {refused[0]}. Leave that out.")


def _length(plan: Plan) -> dict[str, int]:
    """Return how long trtexec runs: it takes whole seconds and milliseconds."""
    return {
        "duration_s": max(1, math.ceil(plan.windows * plan.window_s)),
        "warmup_ms": max(1, math.ceil(plan.warmup_s * 1e3)),
    }


def _job(plan: Plan, profile: Profile, tool: str | None) -> Job:
    return Job(
        name=new_name(),
        archive=_archive(plan, profile),
        command=(*(("env", f"TRTEXEC={tool}") if tool else ()), "sh", "job.sh", plan.files),
        limit_s=BUILD_LIMIT_S + plan.limit_s,
    )


def _found(plan: Plan, ran: result.Result, identity: Identity, told: tuple[str, ...]) -> Found:
    named = {"jetpack": identity.jetpack, "l4t": identity.l4t, "tensorrt": ran.log.version}
    return Found(
        source="; ".join(told),
        versions=tuple(sorted((name, version) for name, version in named.items() if version)),
        latency_s=result.windows(ran.inferences, plan.windows),
        steps=result.steps(ran, macs(load_graph(plan.folder))),
        method="simulated" if ran.simulated else None,
    )


def _archive(plan: Plan, profile: Profile) -> Archive:
    """Pack the part; the run's script has the plan's durations instead of the part's own."""
    name = plan.files
    vectors = sorted(plan.folder.glob("selftest*"))
    kept = [path for path in (plan.folder / f"{name}.onnx", *vectors) if path.is_file()]
    if not any(path.suffix == ".onnx" for path in kept):
        raise DeviceError(f"{plan.folder} holds no {name}.onnx: is this a part for a Jetson?")
    made = {
        "build.sh": build_script(profile, name),
        "run.sh": run_script(profile, name, **_length(plan)),
        "profile.sh": profile_script(profile, name),
        "job.sh": job.SCRIPT,
    }
    return pack(
        [
            *(File(path.name, path.read_bytes()) for path in kept if path.name != "selftest_result.json"),
            *(File(file, text.encode(), program=True) for file, text in made.items()),
        ]
    )


def _progress(steady: Steady, say: Say) -> Callable[[bytes], None]:
    """Tell of each step that begins."""
    told = {
        b"begin build\n": "building the engine, which may take minutes",
        b"begin selftest\n": "comparing its outputs with the test vectors",
        b"begin run\n": "timing it",
        b"begin profile\n": "timing its layers",
    }

    def check(line: bytes) -> None:
        if line in told:
            say(f"{steady.name}: {told[line]}.")

    return check


async def _look(steady: Steady, site: Site, reader: Callable[[Path], T]) -> T:
    """Fetch the files that conditions and identity read, and read them."""
    answer = await steady.run(scripts.READ, (site.boot_id, site.folder, *_PATTERNS))
    _, _, files = answer.out.partition(b"\n")
    if answer.code != 0:
        raise DeviceError(f"{steady.name}: its state cannot be read (exit code {answer.code}).")
    with tempfile.TemporaryDirectory(prefix="edgemill-") as folder:
        snapshot.unpack(files, Path(folder))
        return reader(Path(folder))
