"""Profile a part of a bundle on a device under test: the right answers first, then windows of latency or energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from devices.dut.accuracy import Accuracy, Vectors, accuracy, load_vectors
from devices.dut.board import silent_conditions
from devices.dut.driver import Dut, seconds
from devices.dut.energy import energy, enough_here
from devices.dut.port import Address, Port, open_port, parse_address
from devices.dut.simulate import SIMULATED
from devices.dut.windows import MLPERF, Rule, performance
from devices.errors import DeviceError
from devices.found import Found
from devices.meters.meter import Meter
from devices.plan import Plan
from devices.scenario import SINGLE_STREAM
from devices.state import Conditions
from export.errors import ExportError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Profiled:
    """What a run on a device gave, and what it said of itself."""

    found: Found
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class _Identity:
    """What the device says of itself."""

    name: str
    firmware: str
    model: str

    @property
    def simulated(self) -> bool:
        """Whether it only stands for a board."""
        return SIMULATED in self.firmware


def profile_dut(
    plan: Plan,
    uri: str,
    say: Say = lambda _: None,
    meter: Meter | None = None,
    open_line: Callable[[Address], Port] = open_port,
    clock: Callable[[], float] = seconds,
) -> Profiled:
    """Run a plan on the device at `uri`; its windows and their length are the rule, MLPerf Tiny's being 5 of 10 s.

    The device must run the plan's part: its answers to the test vectors are compared before anything is timed.

    Args:
        plan: `windows` and `window_s` are the rule, `images` how many test vectors are compared.
        uri: such as serial:///dev/ttyACM0?baud=115200.
        say: told what is being done.
        meter: sees the edges of the device's pin, for a firmware in energy mode; None measures latency alone.
        open_line: opens the port; tests give another one.
        clock: seconds; tests give another one.

    Raises:
        DeviceError: the device cannot be reached, breaks the protocol or the rule, or runs another network.
    """
    address = parse_address(uri)
    if plan.scenario != SINGLE_STREAM.name or plan.loadgen or plan.versus is not None:
        raise DeviceError(f"board '{plan.board}' runs one inference after another: only {SINGLE_STREAM.name}.")
    dut = Dut(open_line(address), address.bridged, clock)
    rule = Rule(plan.windows, plan.window_s, MLPERF.warmup)
    try:
        vectors = load_vectors(plan.folder, plan.images)
        if meter is None:
            return _latency(dut, plan, vectors, rule, address.baud, say)
        return _energy(dut, plan, vectors, rule, meter, say)
    except ExportError as error:
        raise DeviceError(str(error)) from error
    finally:
        dut.close()


def _latency(dut: Dut, plan: Plan, vectors: Vectors, rule: Rule, baud: int, say: Say) -> Profiled:
    identity = _checked(dut, plan, vectors, say)
    if dut.timestamp() is None:
        raise DeviceError(
            f"device '{identity.name}' marks time by a pin: its firmware was built for energy mode. Name the meter "
            "that sees the pin (--meter lpm01a:PORT,VOLTAGE), or build the firmware for performance mode."
        )
    found = performance(dut, vectors.inputs, rule, baud=None if identity.simulated else baud, say=say)
    latency = tuple((window.per_inference_s,) for window in found.windows)
    return _profiled(identity, rule, latency, found.windows[0].count, "the device's clock")


def _energy(dut: Dut, plan: Plan, vectors: Vectors, rule: Rule, meter: Meter, say: Say) -> Profiled:
    seen: list[_Identity] = []

    def prepare(device: Dut) -> int:
        seen.append(_checked(device, plan, vectors, say))
        return enough_here(device, vectors.inputs[0], rule)

    made = energy(dut, meter, vectors.inputs, prepare, rule, say=say)
    latency = tuple(((end - start) / count,) for start, end, count in made.windows)
    profiled = _profiled(seen[0], rule, latency, made.windows[0][2], f"the clock of meter {meter.name}")
    return replace(profiled, found=replace(profiled.found, energy=made.energy))


def _checked(dut: Dut, plan: Plan, vectors: Vectors, say: Say) -> _Identity:
    """Return what the device says of itself, once its answers are right."""
    name = dut.greet()
    firmware, model = dut.profile()
    say(f"{name}: firmware '{firmware}', model '{model}'")
    _check_answers(accuracy(dut, vectors), plan, model)
    return _Identity(name, firmware, model)


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


def _profiled(
    identity: _Identity, rule: Rule, latency_s: tuple[tuple[float, ...], ...], count: int, clock: str
) -> Profiled:
    kept = rule.windows == MLPERF.windows and rule.least_s >= MLPERF.least_s
    said = "as MLPerf Tiny asks" if kept else "not MLPerf Tiny's 5 windows of 10 s, so no figure of it"
    source = (
        f"MLPerf Tiny's serial protocol, device '{identity.name}': mean of {count} inferences between two time marks "
        f"on {clock}; {rule.windows} windows of at least {rule.least_s:g} s, {said}"
    )
    found = Found(
        source=source,
        versions=(("dut", identity.name), ("firmware", identity.firmware), ("model", identity.model)),
        latency_s=latency_s,
        method="simulated" if identity.simulated else None,
    )
    return Profiled(found, silent_conditions(identity.name, identity.firmware))
