"""Profile a part of a bundle on a device under test: the right answers first, then windows of latency."""

from __future__ import annotations

from collections.abc import Callable

from devices.dut.accuracy import Accuracy, accuracy, load_vectors
from devices.dut.driver import Dut
from devices.dut.port import Address, Port, open_port, parse_address
from devices.dut.simulate import SIMULATED
from devices.dut.windows import MLPERF, Performance, Rule, performance
from devices.errors import DeviceError
from devices.found import Found
from devices.plan import Plan
from export.errors import ExportError


def profile_dut(
    plan: Plan,
    uri: str,
    say: Callable[[str], None] = lambda _: None,
    open_line: Callable[[Address], Port] = open_port,
) -> Found:
    """Run a plan on the device at `uri`; its windows and their length are the rule, MLPerf Tiny's being 5 of 10 s.

    The device must run the plan's part: its answers to the test vectors are compared before anything is timed.

    Args:
        plan: `windows` and `window_s` are the rule, `images` how many test vectors are compared.
        uri: such as serial:///dev/ttyACM0?baud=115200.
        say: told what is being done.
        open_line: opens the port; tests give another one.

    Raises:
        DeviceError: the device cannot be reached, breaks the protocol or the rule, or runs another network.
    """
    address = parse_address(uri)
    dut = Dut(open_line(address), address.bridged)
    try:
        name = dut.greet()
        firmware, model = dut.profile()
        say(f"{name}: firmware '{firmware}', model '{model}'")
        simulated = SIMULATED in firmware
        vectors = load_vectors(plan.folder, plan.images)
        _check_answers(accuracy(dut, vectors), plan, model)
        rule = Rule(plan.windows, plan.window_s, MLPERF.warmup)
        found = performance(dut, vectors.inputs, rule, baud=None if simulated else address.baud, say=say)
    except ExportError as error:
        raise DeviceError(str(error)) from error
    finally:
        dut.close()
    return Found(
        source=_source(found, name),
        versions=(("dut", name), ("firmware", firmware), ("model", model)),
        latency_s=tuple((window.per_inference_s,) for window in found.windows),
        method="simulated" if simulated else None,
    )


def _check_answers(found: Accuracy, plan: Plan, model: str) -> None:
    if found.same_label < found.vectors:
        raise DeviceError(
            f"the device answers {found.vectors - found.same_label} of {found.vectors} test vectors of part "
            f"'{plan.part}' with another label; it runs model '{model}'. Build this bundle into its firmware: "
            "edgemill package BUNDLE --form dut."
        )
    if model == plan.files and found.first is not None:
        raise DeviceError(
            f"the device runs '{model}', but {found.vectors - found.exact} of {found.vectors} answers are not the "
            f"codes that must come out, the first at vector {found.first}: it was built from another bundle."
        )


def _source(found: Performance, name: str) -> str:
    rule = found.rule
    kept = rule.windows == MLPERF.windows and rule.least_s >= MLPERF.least_s
    said = "as MLPerf Tiny asks" if kept else "shorter than MLPerf Tiny's 5 windows of 10 s, so no figure of it"
    return (
        f"MLPerf Tiny's serial protocol, device '{name}': mean of {found.windows[0].count} inferences between two time "
        f"marks of the device; {rule.windows} windows of at least {rule.least_s:g} s, {said}"
    )
