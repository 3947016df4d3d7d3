"""Windows of inferences under MLPerf Tiny's rule: exactly five, each at least 10 s, the result is their median.

`error 1` and `error 2` are the names that its runner gives to a wrong number of windows and to one that is too short.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devices.dut import dialect
from devices.dut.driver import INFER_S, Dut
from devices.errors import DeviceError

#: A device's clock may differ so much from this machine's: a share, and seconds for what the line adds.
CLOCK_SHARE = 0.1
CLOCK_SPARE_S = 1.0
#: Bits of a byte on the line, start and stop bit included.
BITS = 10
#: How often windows begin anew because the number of inferences that was found turns out too small.
TRIES = 5
#: More inferences than this in one window means that the device says it takes no time.
MOST_INFERENCES = 10**8


@dataclass(frozen=True, slots=True)
class Rule:
    """How many windows there must be, how long each must be, and how many inferences warm up before each.

    MLPerf Tiny's is the default; another one is for trying things out, and its figures are none of MLPerf Tiny's.
    """

    windows: int = 5
    least_s: float = 10.0
    warmup: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no rule."""
        if self.windows < 1 or not self.least_s > 0 or self.warmup < 0:
            raise DeviceError(f"{self} is no rule: windows from 1, seconds above 0, warm-ups from 0.")


MLPERF = Rule()


@dataclass(frozen=True, slots=True)
class Timed:
    """One window: its inferences, the seconds between its marks, and the results of its last inference."""

    count: int
    elapsed_s: float
    results: tuple[float, ...]

    @property
    def per_inference_s(self) -> float:
        """Mean seconds of one inference."""
        return self.elapsed_s / self.count


@dataclass(frozen=True, slots=True)
class Performance:
    """Windows that passed the rule."""

    windows: tuple[Timed, ...]
    rule: Rule

    @property
    def median_s(self) -> float:
        """Median over the windows of the seconds of one inference."""
        return statistics.median(window.per_inference_s for window in self.windows)

    @property
    def throughput_hz(self) -> float:
        """Inferences per second in the median window."""
        return 1 / self.median_s


def check(elapsed_s: Sequence[float], rule: Rule = MLPERF) -> None:
    """Raise DeviceError with `error 1` or `error 2` when windows break the rule."""
    if len(elapsed_s) != rule.windows:
        raise DeviceError(f"error 1: {len(elapsed_s)} windows; the rule asks for exactly {rule.windows}.")
    for index, seconds in enumerate(elapsed_s):
        if seconds < rule.least_s:
            raise DeviceError(
                f"error 2: window {index} ended after {seconds:.3f} s, before {rule.least_s:g} s; run more inferences."
            )


def performance(
    dut: Dut,
    inputs: Sequence[bytes],
    rule: Rule = MLPERF,
    *,
    count: int | None = None,
    baud: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Performance:
    """Measure latency on a device built for performance mode.

    Args:
        dut: the device, greeted.
        inputs: an input for every window, in turns where there are fewer; the device's own bytes.
        rule: how many windows and how long.
        count: inferences of a window; None finds how many last `rule.least_s` and a little more.
        baud: of the line, so that the device's timer can be held against this machine's clock; None does not check,
            which is for devices that are simulated.
        say: told what is being done.

    Raises:
        DeviceError: the rule is broken, a time mark is lost, or the device's timer is wrong.
    """
    if not inputs:
        raise DeviceError("there is no input for the device.")
    dut.load(inputs[0])
    chosen = enough(dut, rule) if count is None else count
    found: list[Timed] = []
    tries = 1
    while len(found) < rule.windows:
        say(f"window {len(found) + 1} of {rule.windows}: {chosen} inferences")
        dut.load(inputs[len(found) % len(inputs)])
        found.append(_window(dut, chosen, rule, baud))
        if count is None and found[-1].elapsed_s < rule.least_s and tries < TRIES:
            chosen = math.ceil(1.05 * rule.least_s / found[-1].elapsed_s * chosen)
            found, tries = [], tries + 1
    check([window.elapsed_s for window in found], rule)
    return Performance(tuple(found), rule)


def enough(dut: Dut, rule: Rule) -> int:
    """Return how many inferences last a window of the rule and five per cent more.

    Raises:
        DeviceError: the device's clock does not move.
    """
    count = 1
    while True:
        elapsed = dialect.elapsed_s(dut.infer(count, 0, INFER_S + 3 * rule.least_s))
        if elapsed >= rule.least_s / 20:
            return math.ceil(1.05 * rule.least_s / elapsed * count)
        count *= max(2, min(50, math.ceil(rule.least_s / 10 / elapsed)))
        if count > MOST_INFERENCES:
            raise DeviceError(f"{count} inferences in {elapsed:g} s: the device's timer hardly moves.")


def _window(dut: Dut, count: int, rule: Rule, baud: int | None) -> Timed:
    began, before = dut.clock(), dut.traffic_bytes
    answer = dut.infer(count, rule.warmup, INFER_S + 3 * rule.least_s * (1 + rule.warmup / count))
    here_s, sent = dut.clock() - began, dut.traffic_bytes - before
    elapsed = dialect.elapsed_s(answer)
    if baud is not None:
        _check_timer(elapsed, here_s, rule.warmup / count * elapsed + sent * BITS / baud)
    return Timed(count, elapsed, answer.results)


def _check_timer(elapsed_s: float, here_s: float, beside_s: float) -> None:
    """Hold the device's timer against this machine's clock, which also saw `beside_s` of warm-up and line."""
    least, most = elapsed_s * (1 - CLOCK_SHARE), elapsed_s * (1 + CLOCK_SHARE) + beside_s + CLOCK_SPARE_S
    if not least <= here_s <= most:
        raise DeviceError(
            f"the device's timer shows {elapsed_s:.3f} s for what took {here_s:.3f} s on this machine's clock: its "
            "counter does not run in microseconds."
        )
