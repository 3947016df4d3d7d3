"""Energy per inference with its uncertainty, from a trace and the windows in which inferences ran."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from devices.errors import DeviceError
from devices.meters.curve import PowerCurve, power_curve
from devices.meters.trace import Trace, inside, integrate
from devices.meters.uncertainty import LEAST_WINDOWS, MeterSpec, type_a, type_b

METHODS = ("measured", "replayed", "simulated")
#: Below so many samples in a window a figure would say more about the sampling than about the energy.
LEAST_SAMPLES = 10
#: What a window should have for a figure that sampling does not blur: samples and seconds.
GOOD_SAMPLES = 100
GOOD_WINDOW_S = 10.0
COVERAGE = 2.0

#: When a window began and ended, in seconds on the clock of the trace, and how many inferences ran in it.
EnergyWindow = tuple[float, float, int]


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of one part on one board.

    Attributes:
        gross_j: J per inference, by window: everything that the rails drew.
        net_j: the same with idle power taken off, or None with `net_reason`.
        net_reason: why there is no net energy; None where there is.
        idle_w: mean power of the idle phase, None where none was recorded.
        power_w: mean gross power, by window.
        inferences: how many ran, by window.
        meter: the meter's name.
        rails: what was added up.
        by_rail: pairs of every recorded rail and its median J per inference, also of rails that are in no sum.
        method: one of METHODS.
        u_a_j: type A standard uncertainty of the median gross energy, None below LEAST_WINDOWS windows.
        u_b_j: type B standard uncertainty.
        expanded_j: 2 * sqrt(u_a^2 + u_b^2), None without u_a.
        samples_per_window: how many samples each window has.
        notes: what a reader should know.
        curve: power over time, for a drawing.
    """

    gross_j: tuple[float, ...]
    net_j: tuple[float, ...] | None
    net_reason: str | None
    idle_w: float | None
    power_w: tuple[float, ...]
    inferences: tuple[int, ...]
    meter: str
    rails: tuple[str, ...]
    by_rail: tuple[tuple[str, float], ...]
    method: str
    u_a_j: float | None
    u_b_j: float
    expanded_j: float | None
    samples_per_window: tuple[int, ...]
    notes: tuple[str, ...] = ()
    curve: PowerCurve | None = None

    def __post_init__(self) -> None:
        """Refuse energies that are none: no window, 0 or less, or net energy without a word why not."""
        if self.method not in METHODS:
            raise DeviceError(f"energy of meter {self.meter}: method '{self.method}'; known are {', '.join(METHODS)}.")
        if not self.gross_j or not all(math.isfinite(value) and value > 0 for value in self.gross_j):
            raise DeviceError(f"energy of meter {self.meter}: {self.gross_j} is no energy.")
        if (self.net_j is None) != bool(self.net_reason):
            raise DeviceError(f"energy of meter {self.meter}: net energy or a reason, one of both.")

    @property
    def median_j(self) -> float:
        """The middle of the windows' gross energy per inference."""
        return statistics.median(self.gross_j)

    @property
    def median_net_j(self) -> float | None:
        """The middle of the windows' net energy per inference, None where there is none."""
        return None if self.net_j is None else statistics.median(self.net_j)


def energy_of(
    trace: Trace,
    windows: tuple[EnergyWindow, ...],
    idle: tuple[float, float] | None,
    spec: MeterSpec,
    *,
    meter: str,
    method: str,
    rails: tuple[Trace, ...] = (),
    notes: tuple[str, ...] = (),
) -> Energy:
    """Return the energy per inference.

    Args:
        trace: what counts, the sum of the rails that make up the total.
        windows: begin and end in seconds on the trace's clock, and the number of inferences.
        idle: begin and end of a phase in which the device did nothing; None: only gross energy.
        spec: what is known of the meter's error.
        meter: its name.
        method: `measured`, `replayed` or `simulated`.
        rails: every rail that was recorded, for a share of each.
        notes: what the meter has to say.

    Raises:
        DeviceError: see `integrate`; or there is no window, one without inferences, or one with fewer than
            LEAST_SAMPLES samples.
    """
    if not windows:
        raise DeviceError(f"meter {meter}: there is no window to integrate.")
    counts = tuple(_count(trace, window, meter) for window in windows)
    lengths = tuple(t1 - t0 for t0, t1, _ in windows)
    joules = tuple(integrate(trace, t0, t1) for t0, t1, _ in windows)
    _check_positive(joules, meter)
    gross = tuple(value / n for value, (_, _, n) in zip(joules, windows, strict=True))
    idle_w, reason = _idle(trace, idle)
    net, reason = (None, reason) if idle_w is None else _net(joules, windows, idle_w)
    u_a = type_a(gross)
    u_b = statistics.median(type_b(spec, *window) for window in zip(joules, lengths, _inferences(windows), strict=True))
    return Energy(
        gross_j=gross,
        net_j=net,
        net_reason=reason,
        idle_w=idle_w,
        power_w=tuple(value / length for value, length in zip(joules, lengths, strict=True)),
        inferences=_inferences(windows),
        meter=meter,
        rails=trace.rails or (trace.channel,),
        by_rail=tuple((rail.channel, _median_j(rail, windows)) for rail in rails),
        method=method,
        u_a_j=u_a,
        u_b_j=u_b,
        expanded_j=None if u_a is None else COVERAGE * math.hypot(u_a, u_b),
        samples_per_window=counts,
        notes=(*notes, *_notes(spec, counts, lengths)),
        curve=power_curve(trace, [window[:2] for window in windows], idle if idle_w is not None else None),
    )


def _inferences(windows: tuple[EnergyWindow, ...]) -> tuple[int, ...]:
    return tuple(n for _, _, n in windows)


def _count(trace: Trace, window: EnergyWindow, meter: str) -> int:
    t0, t1, inferences = window
    if inferences < 1:
        raise DeviceError(f"meter {meter}: the window from {t0:.6g} s holds no inference.")
    chosen = inside(trace, t0, t1)
    count: int = chosen.stop - chosen.start
    if count < LEAST_SAMPLES:
        longer_s = 2 * LEAST_SAMPLES * max(trace.step_s, (t1 - t0) / max(count, 1))
        said = f" The meter said: {trace.trouble}." if trace.trouble else ""
        raise DeviceError(
            f"meter {meter} gave {count} samples in a window of {t1 - t0:.3g} s; {LEAST_SAMPLES} are the least.{said} "
            f"Make windows longer (--window-s {longer_s:.2g} or more; "
            "fast parts fill them with --scenario offline)."
        )
    return count


def _check_positive(joules: tuple[float, ...], meter: str) -> None:
    for value in joules:
        if not value > 0:
            raise DeviceError(f"meter {meter} gave {value:g} J in a window; something that runs takes more than 0.")


def _idle(trace: Trace, idle: tuple[float, float] | None) -> tuple[float | None, str | None]:
    if idle is None:
        return None, "no idle phase was recorded"
    try:
        return integrate(trace, *idle) / (idle[1] - idle[0]), None
    except DeviceError as error:
        return None, f"the idle phase has no energy: {error}"


def _net(
    joules: tuple[float, ...], windows: tuple[EnergyWindow, ...], idle_w: float
) -> tuple[tuple[float, ...] | None, str | None]:
    active_w = min(value / (t1 - t0) for value, (t0, t1, _) in zip(joules, windows, strict=True))
    if idle_w >= active_w:
        reason = f"the idle phase took {idle_w:.4g} W, the windows only {active_w:.4g} W: the device was not idle then"
        return None, reason
    return tuple((v - idle_w * (t1 - t0)) / n for v, (t0, t1, n) in zip(joules, windows, strict=True)), None


def _median_j(rail: Trace, windows: tuple[EnergyWindow, ...]) -> float:
    return float(statistics.median(integrate(rail, t0, t1, may_stand_still=True) / n for t0, t1, n in windows))


def _notes(spec: MeterSpec, counts: tuple[int, ...], lengths: tuple[float, ...]) -> tuple[str, ...]:
    found = []
    if min(counts) < GOOD_SAMPLES or min(lengths) < GOOD_WINDOW_S:
        found.append(
            f"windows of {min(lengths):.3g} s with {min(counts)} samples; "
            f"{GOOD_WINDOW_S:g} s and {GOOD_SAMPLES} samples would blur less"
        )
    if len(counts) < LEAST_WINDOWS:
        found.append(f"no type A uncertainty from {len(counts)} windows; it takes {LEAST_WINDOWS}")
    if spec.known is None and spec.lsb_w == spec.gain == 0:
        found.append("resolution and gain of the meter are not known, so that they are not in the uncertainty")
    elif spec.known is None:
        found.append("the meter's errors are assumed, not specified")
    return tuple(found)
