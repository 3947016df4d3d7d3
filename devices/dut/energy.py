"""Energy mode: the device pulls a pin at both ends of every window; a meter records power and edges on one clock."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devices.dut.dialect import Inference
from devices.dut.driver import INFER_S, Dut
from devices.dut.windows import MLPERF, MOST_INFERENCES, Rule, check
from devices.errors import DeviceError
from devices.meters.energy import Energy, EnergyWindow, energy_of
from devices.meters.meter import Meter
from devices.meters.trace import HOST_CLOCK

#: Windows of the same number of inferences differ by less than this share; more means that an edge is missing.
UNLIKE = 0.2


@dataclass(frozen=True, slots=True)
class Metered:
    """What energy mode gave: the energy, and the windows on the meter's clock."""

    energy: Energy
    windows: tuple[EnergyWindow, ...]


def energy(
    dut: Dut,
    meter: Meter,
    inputs: Sequence[bytes],
    prepare: Callable[[Dut], int],
    rule: Rule = MLPERF,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Metered:
    """Measure energy on a device built for energy mode.

    Args:
        dut: the device; it may get its power from the meter, so it is greeted while the meter records.
        meter: records power or energy, and the edges of the device's pin.
        inputs: an input for every window, in turns where there are fewer.
        prepare: called when the device answers; returns the number of inferences of a window, such as `enough_here`.
        rule: how many windows and how long.
        say: told what is being done.

    Raises:
        DeviceError: the firmware was built for performance mode, an edge was lost, the rule is broken, or the trace
            does not allow the integral.
    """
    if not inputs:
        raise DeviceError("there is no input for the device.")
    ends: list[float] = []
    with meter.record() as recording:
        began = dut.clock()
        dut.greet()
        count = prepare(dut)
        for index in range(rule.windows):
            say(f"window {index + 1} of {rule.windows}: {count} inferences")
            dut.load(inputs[index % len(inputs)])
            _without_marks(dut.infer(count, rule.warmup, INFER_S + 6 * rule.least_s))
            ends.append(dut.clock())
    trace = recording.trace()
    zero = 0.0 if trace.clock == HOST_CLOCK else began
    spans = pair(trace.marks_s, [end - zero for end in ends], rule)
    windows = tuple((start, end, count) for start, end in spans)
    found = energy_of(
        trace,
        windows,
        None,
        recording.spec(),
        meter=meter.name,
        method=recording.method,
        rails=recording.rails(),
        notes=recording.notes,
    )
    return Metered(found, windows)


def enough_here(dut: Dut, data: bytes, rule: Rule = MLPERF) -> int:
    """Return how many inferences last a window of the rule and a tenth more, by this machine's clock.

    What the line and the command take falls out: it is the same for n and for 2n inferences.

    Raises:
        DeviceError: the device answers at once, however many inferences it is asked for.
    """
    dut.load(data)
    count = 1
    while count <= MOST_INFERENCES:
        once, twice = (_took_s(dut, n, rule) for n in (count, 2 * count))
        if twice - once >= rule.least_s / 20:
            return math.ceil(1.1 * rule.least_s / (twice - once) * count)
        count *= 4
    raise DeviceError(f"the device answers {count} inferences as fast as one; it does not run them.")


def _took_s(dut: Dut, count: int, rule: Rule) -> float:
    began = dut.clock()
    _without_marks(dut.infer(count, 0, INFER_S + 6 * rule.least_s))
    return dut.clock() - began


def _without_marks(answer: Inference) -> None:
    if answer.marks_us:
        raise DeviceError("the device sends time marks as text, so its firmware was built for performance mode.")


def pair(marks_s: Sequence[float], ends_s: Sequence[float], rule: Rule = MLPERF) -> tuple[tuple[float, float], ...]:
    """Return begin and end of every window from the edges that a meter saw; the last ones count.

    The pin may twitch while the device starts, so edges before the windows are dropped. An edge that is missing, or one
    too many among the windows, shows as windows of unlike lengths, since all have the same number of inferences, or as
    windows that end at another time than the device's answers came (`ends_s`, give or take half a window, as the
    clocks of a meter and of this machine begin at different times).

    Raises:
        DeviceError: an edge was lost, or the rule is broken.
    """
    if len(marks_s) < 2 * rule.windows:
        raise DeviceError(
            f"a time mark was lost: the meter saw {len(marks_s)} edges; {rule.windows} windows have {2 * rule.windows}."
        )
    last = list(marks_s)[-2 * rule.windows :]
    spans = tuple(zip(last[::2], last[1::2], strict=True))
    lengths = [end - start for start, end in spans]
    middle = statistics.median(lengths)
    unlike = [index for index, length in enumerate(lengths) if abs(length - middle) > UNLIKE * middle]
    if unlike:
        raise DeviceError(
            f"a time mark was lost: window {unlike[0]} lasts {lengths[unlike[0]]:.3f} s, the others about {middle:.3f} "
            "s for as many inferences. Check the pin's wire and that each edge is low for at least 1 us."
        )
    for index, ((_, end), answered) in enumerate(zip(spans, ends_s, strict=True)):
        if abs(answered - end) > rule.least_s / 2:
            raise DeviceError(
                f"a time mark was lost: window {index} ends at {end:.1f} s of the trace, but the device was done at "
                f"{answered:.1f} s."
            )
    check(lengths, rule)
    return spans
