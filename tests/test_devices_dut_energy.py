"""Energy mode over two lines: a device that pulls a pin, and an LPM01A (simulated) that replays a published trace."""

from __future__ import annotations

import pytest

from devices.boards import HOST_C
from devices.dut.accuracy import load_vectors
from devices.dut.driver import Dut
from devices.dut.energy import energy
from devices.dut.profile import profile_dut
from devices.errors import DeviceError
from devices.meters.lpm01a import Lpm01a
from devices.meters.simulated.lpm01a import Simulated, on_terminal
from devices.plan import plans
from tests.dut_port import Made
from tests.embedded import bundle, spec
from tests.golden_traces import INFERENCES, golden, published
from tests.test_devices_dut import INPUTS, EdgeMeter

PATIENCE_S = 120.0


class Replayed(Made):
    """A device whose windows lie where the published trace has them, once the meter has sent it all."""

    def infer(self, count: int, warmup: int) -> list[str]:
        lines = super().infer(count, warmup)
        self.edges_s = self.edges_s[:-2]
        assert self.instrument.sent.wait(PATIENCE_S)
        self.now_us = round(self.instrument.trace.marks_s[2 + 2 * self.windows] * 1e6) + 150_000
        self.windows += 1
        return lines


@pytest.mark.parametrize("name", ["kws", "ic"])
def test_the_published_energy_comes_out(name):
    pytest.importorskip("serial", reason="pyserial is not installed")
    instrument = Simulated(golden(name))
    made = Replayed(energy=True, now_us=0)
    made.instrument, made.windows = instrument, 0
    with on_terminal(instrument) as port:
        # The meter's clock stands at the end of the trace: its samples lie where the recording has them.
        end_ns = round(float(instrument.trace.times_s[-1]) * 1e9)
        meter = Lpm01a(f"{port},1800m", clock=lambda: end_ns)
        dut = Dut(made, clock=lambda: made.now_us / 1e6)
        found = energy(dut, meter, INPUTS, lambda _: INFERENCES[name])
    joules = [value * INFERENCES[name] for value in found.energy.gross_j]
    assert [round(j / p - 1, 3) for j, p in zip(joules, published(name), strict=True)] == [0.0] * 5
    assert max(abs(j / p - 1) for j, p in zip(joules, published(name), strict=True)) < 5e-4
    assert len(set(joules)) == 5 and found.energy.method == "simulated"
    assert all(10 < end - start < 20 for start, end, _ in found.windows)


def test_a_profile_with_a_meter_holds_energy_and_latency(tmp_path):
    made = bundle(tmp_path / "b", spec())
    vectors = load_vectors(made.parts[0].folder)
    answers = {
        data: ",".join(map(str, row)) for data, row in zip(vectors.inputs, vectors.outputs.tolist(), strict=True)
    }
    device = Made(answer=answers.__getitem__, takes=len(vectors.inputs[0]), energy=True)
    (plan,) = plans(made, HOST_C, windows=5, window_s=0.5, images=8)
    address = "serial:///dev/ttyACM0"
    found = profile_dut(
        plan, address, meter=EdgeMeter(device), open_line=lambda _: device, clock=lambda: device.now_us / 1e6
    ).found
    assert found.latency_s is not None and found.energy is not None
    assert [round(window[0], 6) for window in found.latency_s] == [1e-3] * 5
    assert found.energy.median_j == pytest.approx(0.042e-3, rel=0.02)
    assert "on the clock of meter edge" in found.source
    with pytest.raises(DeviceError, match="built for energy mode"):
        profile_dut(plan, address, open_line=lambda _: Made(device.answer, device.takes, energy=True))
