"""Bundles with rules as one program on emulated boards: the same answers, and instructions by the part that ended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from devices.boards import find_board
from devices.emulators.emulated import MACHINES, RUNTIMES
from devices.emulators.joint import open_joint
from devices.emulators.machine import open_part
from devices.errors import DeviceError
from devices.plan import from_json as plan_from_json
from devices.plan import plans, to_json
from devices.runner import profile
from devices.runtimes import find_runtime
from devices.stops import StopCost, costs_by_stop, expected, shares
from export.bundle import write_bundle
from export.dynamic import DROPPED, stops
from export.errors import ExportError
from export.parity import check_bundle
from export.parity_rules import defined_answers
from export.runtimes import c_host
from export.runtimes.c_joint import nanoseconds_on_host
from export.runtimes.session import Told
from export.targets import find_target
from quant.formats import find_format
from tests import dynamic_bundles as made
from tests.dynamic_bundles import cascade, exits, filtered

M4 = next(machine for machine in MACHINES if machine.name == "mps2-an386")
#: Every bundle runs on the first, one on the others: one core of each instruction set.
CORES, OTHER_CORES = ("c-host", "mps2-an386"), ("mps3-an547", "qemu-aarch64")
COUNT = 20
SPECS = {
    "exits": exits(count=COUNT),
    "cascade": cascade(count=COUNT),
    "filter": filtered(count=COUNT),
    "minifloats": made.in_format(find_format("e4m3"), "difference", COUNT),
    "int16": made.in_format(find_format("int16"), "max_logit", COUNT),
}


def ready(name):
    """The machine, or a skip with the reason."""
    reason = next(runtime for runtime in RUNTIMES if runtime.name == name).missing()
    if reason:
        pytest.skip(reason)
    return next(machine for machine in MACHINES if machine.name == name)


def written(tmp_path, spec):
    return write_bundle(tmp_path / "bundle", spec, find_target("arm-m"))


@pytest.mark.parametrize(
    ("name", "core"), [(name, core) for name in SPECS for core in CORES] + [("exits", core) for core in OTHER_CORES]
)
def test_the_program_answers_as_the_definition(tmp_path, name, core):
    runtime = find_runtime(core)
    if runtime.missing():
        pytest.skip(runtime.missing())
    bundle = written(tmp_path, SPECS[name])
    codes = bundle.parts[0].inputs
    wanted, told = defined_answers(bundle, codes), runtime.joint(bundle, codes)
    np.testing.assert_array_equal(told.part, wanted.part)
    np.testing.assert_array_equal(told.label, wanted.label)
    assert len(set(told.part)) == 2
    assert len(set(told.label[told.label != DROPPED])) > 1


def test_instructions_fall_where_less_runs(tmp_path):
    ready(M4.name)
    bundle = written(tmp_path, SPECS["exits"])
    codes = bundle.parts[0].inputs
    with open_joint(M4, bundle) as session:
        counted, again = session.counted(codes), session.counted(codes)
        footprint, stack_bytes = session.footprint(), session.stack_bytes(codes[:2])
    np.testing.assert_array_equal(counted.instructions, again.instructions)
    stopped = stops(defined_answers(bundle, codes))
    names = [part.name for part in bundle.parts]
    early, late = costs_by_stop(names, stopped, counted.instructions)
    assert (early.part, late.part) == ("exit", "rest")
    assert early.most < 0.8 * late.least
    assert footprint.ram_bytes > 0 and footprint.flash_bytes > 0 and stack_bytes > 0
    mean = expected((early, late), shares((early, late)))
    assert mean == pytest.approx(counted.instructions.mean(), rel=1e-12)


def test_a_program_takes_its_parts_and_little_more(tmp_path):
    """The decision between parts is small beside them."""
    ready(M4.name)
    bundle = written(tmp_path, cascade(np.inf, combine="last", count=4))  # both networks run, the second answers
    codes = bundle.parts[0].inputs
    with open_joint(M4, bundle) as session:
        counted = session.counted(codes)
    alone = np.zeros(len(codes))
    for part in bundle.parts:
        session = open_part(M4, part.folder, part.stem, part.graph)
        alone += session.instructions(codes)
        session.close()
    over = counted.instructions - alone
    assert (counted.part == 1).all()
    assert (over > 0).all() and (over < 2000).all(), over


def test_stops_tell_what_ran_and_not_who_answered(tmp_path):
    bundle = written(tmp_path, SPECS["cascade"])
    answers = defined_answers(bundle, bundle.parts[0].inputs)
    stopped = stops(answers)
    np.testing.assert_array_equal(stopped, answers.ran[1].astype(int))
    assert ((stopped == 1) & (answers.part == 0)).any()  # the second was asked, and the first was surer


def test_a_runtime_whose_program_answers_otherwise_is_wrong(tmp_path):
    if c_host.RUNTIME.missing():
        pytest.skip(c_host.RUNTIME.missing())
    bundle = written(tmp_path, SPECS["exits"])

    def shifted(bundle, codes):
        told = c_host.RUNTIME.joint(bundle, codes)
        return Told(np.where(told.part == 1, 2, told.part), told.label)

    *parts, together = check_bundle(bundle, (replace(c_host.RUNTIME, joint=shifted),))
    assert all(part.status == "bit-exact" for part in parts)
    assert together.status == "wrong" and "as one program" in together.reason
    assert check_bundle(bundle, (c_host.RUNTIME,))[-1].status == "bit-exact"


def test_time_on_this_machine_is_by_input(tmp_path):
    if c_host.RUNTIME.missing():
        pytest.skip(c_host.RUNTIME.missing())
    bundle = written(tmp_path, SPECS["exits"])
    found = nanoseconds_on_host(bundle, bundle.parts[0].inputs[:2], 20)
    assert len(found) == 2 and min(found) > 0


def test_bundles_without_such_a_program_are_refused(tmp_path):
    chain = made.spec(*(replace(part, after=None, source=None) for part in cascade(count=4).parts[:1]))
    bundle = written(tmp_path, chain)
    with pytest.raises(ExportError, match="joins its parts"):
        c_host.RUNTIME.joint(bundle, bundle.parts[0].inputs)


def test_inputs_of_another_shape_are_refused(tmp_path):
    ready(M4.name)
    bundle = written(tmp_path, SPECS["exits"])
    with open_joint(M4, bundle) as session, pytest.raises(DeviceError, match="takes \\[N, 3, 8, 8\\]"):
        session.answers(bundle.parts[0].inputs[:, :, 1:])


def test_expected_costs_need_shares_that_add_up_and_costs_that_are_known():
    found = (StopCost("a", 3, 10.0, 9.0, 11.0), StopCost("b", 1, 30.0, 30.0, 30.0))
    assert shares(found) == {"a": 0.75, "b": 0.25}
    assert expected(found, {"a": 0.5, "b": 0.5}) == 20.0
    assert expected(found, {"a": 1.0, "c": 0.0}) == 10.0
    with pytest.raises(DeviceError, match="add up to 1"):
        expected(found, {"a": 0.5})
    with pytest.raises(DeviceError, match="stopped after c"):
        expected(found, {"a": 0.5, "c": 0.5})
    with pytest.raises(DeviceError, match="2 costs for 1 inputs"):
        costs_by_stop(("a",), np.zeros(1, int), np.zeros(2))


def test_profile_counts_parts_and_whole_inputs(tmp_path):
    ready(M4.name)
    bundle = written(tmp_path, SPECS["exits"])
    *parts, whole = plans(bundle, find_board(M4.name))
    assert [plan.part for plan in parts] == ["stage", "exit", "rest"] and not any(plan.is_joined for plan in parts)
    assert whole.part == "stage+exit+rest" and whole.is_joined and whole.images == COUNT
    assert plan_from_json(to_json(whole)) == whole
    found = profile(whole)
    assert len(found.instructions) == COUNT and len(set(found.instructions)) > 1
    stopped = stops(defined_answers(bundle, bundle.parts[0].inputs))
    assert f"{(stopped == 1).sum()} after exit, {(stopped == 2).sum()} after rest" in found.source
    assert found.arena_bytes == whole.arena_bytes > max(part.arena_bytes for part in parts)
    assert found.stack_bytes > 0 and found.flash_bytes > 0


def test_plans_of_whole_inputs_are_for_boards_that_join(tmp_path):
    bundle = written(tmp_path, SPECS["exits"])
    assert [plan.part for plan in plans(bundle, find_board("host-c"))] == ["stage", "exit", "rest"]


def test_a_bundle_that_changed_is_not_counted(tmp_path):
    ready(M4.name)
    whole = plans(written(tmp_path, SPECS["exits"]), find_board(M4.name))[-1]
    with pytest.raises(DeviceError, match="another bundle"):
        profile(replace(whole, bundle="0" * 64))
