"""Devices under test: the protocol read strictly, MLPerf Tiny's rule, and every way in which a device can be wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from devices.dut import dialect
from devices.dut.accuracy import Vectors, accuracy
from devices.dut.driver import Dut, open_dut
from devices.dut.energy import energy, enough_here, pair
from devices.dut.port import Address, open_port, parse_address
from devices.dut.windows import MLPERF, Rule, check, performance
from devices.errors import DeviceError
from devices.meters.trace import Trace
from devices.meters.uncertainty import MeterSpec
from tests.dut_port import Made

INPUTS = tuple(bytes((37 * i + seed) % 251 for i in range(40)) for seed in (1, 60, 200))


def dut(**changes) -> tuple[Dut, Made]:
    """A driver on a made-up device whose clock only the device moves."""
    made = Made(**changes)
    return Dut(made, clock=lambda: made.now_us / 1e6), made


def changed(command: str, **lines: str | None):
    """A change of one command's answer: lines by their beginning (`_` for `-`), None takes a line out."""

    def change(given: str, answer: list[str]) -> list[str]:
        if not given.startswith(command):
            return answer
        edited = []
        for line in answer:
            key = next((key for key in lines if line.replace("-", "_").startswith(key)), None)
            edited += [line] if key is None else [text for text in (lines[key],) if text is not None]
        return edited

    return change


def test_an_address_reads_what_it_says():
    assert parse_address("serial:///dev/ttyACM0") == Address("/dev/ttyACM0", 115200, False)
    assert parse_address("serial:///dev/ttyACM0?baud=57600") == Address("/dev/ttyACM0", 57600, False)
    assert parse_address("serial:///dev/ttyS1?bridge=yes") == Address("/dev/ttyS1", 9600, True)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("ssh://a/b", "is no address of a serial device; write it like serial:///dev/ttyACM0"),
        ("serial:", "is no address"),
        ("serial://host/dev/ttyACM0", "is no address"),
        ("serial:///dev/ttyACM0?bauds=9600", "no option 'bauds'. Did you mean 'baud'?"),
        ("serial:///dev/ttyACM0?baud=fast", "baud is 'fast'; it must be a number from 300"),
        ("serial:///dev/ttyACM0?baud=9600&baud=1200", "has an option twice"),
        ("serial:///dev/ttyACM0?bridge=perhaps", "write yes or no"),
    ],
)
def test_an_address_that_makes_no_sense(uri, says):
    with pytest.raises(DeviceError) as caught:
        parse_address(uri)
    assert says in str(caught.value)


def test_a_port_that_is_not_there(tmp_path):
    pytest.importorskip("serial", reason="pyserial is not installed")
    with pytest.raises(DeviceError, match="there is no such port"):
        open_port(Address(str(tmp_path / "ttyACM7")))


def test_commands_and_their_answers():
    device, made = dut()
    assert device.greet() == "made"
    assert device.profile() == ("made up, simulated", "none")
    assert device.timestamp() == 0
    device.load(INPUTS[0])
    assert bytes(made.data) == INPUTS[0]
    assert [command for command in made.commands if command.startswith("db")] == [
        "db load 40",
        f"db {INPUTS[0][:31].hex()}",
        f"db {INPUTS[0][31:].hex()}",
    ]
    assert device.stored(12, 3) == INPUTS[0][3:15]
    answer = device.infer(7, 2)
    assert (answer.count, answer.warmup, answer.marks_us) == (7, 2, (202_000, 209_000))
    assert answer.results == device.results() == (float(sum(INPUTS[0])), float(INPUTS[0][0]))
    device.close()
    assert made.gone


def test_an_interface_board_takes_shorter_commands():
    made = Made()
    device = open_dut("serial:///dev/ttyACM0?bridge=yes", lambda address: made)
    device.load(INPUTS[0])
    assert max(len(command) for command in made.commands if command.startswith("db ")) == len("db ") + 2 * 26


def test_what_a_device_says_before_its_name_is_dropped():
    device, made = dut()
    made.sent += b"\xff\x00boot\r\nm-timestamp-mode-performance\r\nm-lap-us-9\r\nm-init-done\r\nm-ready\r\n"
    assert device.greet() == "made"


def test_a_device_that_says_nothing():
    device, _ = dut(change=lambda command, lines: [])
    with pytest.raises(DeviceError, match="no answer to 'name' within 3 times 5 s"):
        device.greet()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (changed("infer", m_warmup_done=None), "one line 'm-warmup-done'; it has 0"),
        (changed("infer", m_infer_start="m-infer-start-6"), "'m-infer-start-7'; it has 'm-infer-start-6'"),
        (changed("infer", m_infer_done=None), "one line 'm-infer-done'; it has 0"),
        (changed("infer", m_results=None), "0 lines 'm-results-[...]'"),
        (changed("infer", m_results="m-results-[1.0,zwei]"), "no number: '1.0,zwei'"),
        (changed("infer", m_results="m-results-[1.0,nan]"), "NaN or infinity"),
        (changed("infer", m_results="m-results-[]"), "no number"),
        (changed("infer", m_infer_done="e-[Out of memory]"), "refuses 'infer 7 2': Out of memory"),
        (changed("infer", m_infer_done="m-init-done"), "started again during 'infer 7 2'"),
        (changed("infer", m_infer_done="\xff\xfe\x01"), "damaged line"),
        (changed("infer", m_ready=None), "did not answer 'infer 7 2' within 30 s; the last line was 'm-results"),
        (lambda c, a: [a[2], *a[:2], *a[3:]] if c.startswith("infer") else a, "out of order"),
    ],
)
def test_an_answer_that_is_not_right(change, says):
    device, _ = dut(change=change)
    device.load(INPUTS[0])
    with pytest.raises(DeviceError) as caught:
        device.infer(7, 2)
    assert says in str(caught.value)


def test_bytes_lost_on_the_line():
    device, _ = dut(change=changed("db", m_load_done=None))
    with pytest.raises(DeviceError, match="took 31 of 40 bytes"):
        device.load(INPUTS[0])
    with pytest.raises(DeviceError, match="takes 40 bytes"):
        device.load(b"short")


def test_five_windows_of_ten_seconds():
    device, made = dut(inference_us=1234)
    found = performance(device, INPUTS)
    assert len(found.windows) == MLPERF.windows == 5
    assert all(10 <= window.elapsed_s < 12 for window in found.windows)
    assert found.median_s == pytest.approx(1234e-6)
    assert found.throughput_hz == pytest.approx(1 / 1234e-6)
    answers = [window.results for window in found.windows]
    assert len(set(answers)) == 3 and answers[0] == answers[3]
    assert made.commands[-1].endswith(f" {MLPERF.warmup}")


def test_a_counter_of_32_bits_may_wrap():
    device, _ = dut(now_us=(1 << 32) - 12_000_000)
    found = performance(device, INPUTS)
    assert found.median_s == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("seconds", "says"),
    [((11, 11, 11, 11), "error 1: 4 windows"), ((11,) * 6, "error 1: 6 windows"), ((11, 11, 9.99, 11, 11), "error 2")],
)
def test_the_rule(seconds, says):
    check((11.0,) * 5)
    with pytest.raises(DeviceError, match=says):
        check(seconds)


def test_a_window_that_ends_too_early():
    device, _ = dut()
    with pytest.raises(DeviceError, match=r"error 2: window 0 ended after 9\.900 s, before 10 s"):
        performance(device, INPUTS, count=9900)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"energy": True}, "built for energy mode"),
        ({"change": changed("infer 100", m_lap="m-lap-us-5")}, "do not advance"),
        ({"change": lambda c, a: [*a[:3], *a[4:]] if c.startswith("infer 100") else a}, "1 instead of 2"),
        ({"inference_us": 0}, "do not advance"),
    ],
)
def test_time_marks_that_are_none(changes, says):
    device, _ = dut(**changes)
    with pytest.raises(DeviceError, match=says):
        performance(device, INPUTS, Rule(2, 0.05), count=100)


@pytest.mark.parametrize(("speed", "right"), [(1.0, True), (0.5, False), (4.0, False)])
def test_the_devices_timer_is_held_against_this_clock(speed, right):
    made = Made()
    device = Dut(made, clock=lambda: made.now_us * speed / 1e6)
    if right:
        assert performance(device, INPUTS, baud=115200).median_s == pytest.approx(1e-3)
        return
    with pytest.raises(DeviceError, match="does not run in microseconds"):
        performance(device, INPUTS, baud=115200)


def test_accuracy_counts_codes_and_labels():
    device, made = dut(answer=lambda data: f"{data[0]},{data[1]},100")
    wanted = np.array([[data[0], data[1], 100] for data in INPUTS])
    found = accuracy(device, Vectors(INPUTS, wanted))
    assert (found.vectors, found.exact, found.same_label, found.first) == (3, 3, 3, None)
    assert found.labels == len({max(range(3), key=row.__getitem__) for row in wanted.tolist()}) > 1
    made.answer = lambda data: f"{data[0]},{data[1]},100" if data[0] != INPUTS[1][0] else "300,0.5,100"
    found = accuracy(device, Vectors(INPUTS, wanted))
    assert (found.exact, found.first) == (2, 1)
    made.answer = lambda data: "1,2"
    with pytest.raises(DeviceError, match="gives 2 results; the bundle's network has 3"):
        accuracy(device, Vectors(INPUTS, wanted))


class EdgeMeter:
    """Power that follows the device's clock, 42 mW with a ripple, and its edges; `lost` edges never arrive."""

    name = "edge"

    def __init__(self, made: Made, lost: tuple[int, ...] = ()):
        self.made, self.lost = made, lost
        self.method, self.notes = "simulated", ()

    def record(self):
        return self

    def __enter__(self):
        self.made.edges_s.append(0.05)  # the pin twitches while the device starts
        return self

    def __exit__(self, *exception):
        return None

    def trace(self) -> Trace:
        times = np.arange(1, int(self.made.now_us / 1e3) + 2000) * 1e-3
        values = 0.042e-3 * (1 + 0.01 * np.sin(times * 7))
        marks = tuple(m for i, m in enumerate(self.made.edges_s) if i not in self.lost)
        return Trace("energy", "edge", times, values, marks_s=marks)

    def rails(self) -> tuple[Trace, ...]:
        return (self.trace(),)

    def spec(self) -> MeterSpec:
        return MeterSpec(1e-6, 0.02, 1e-3)


def test_energy_between_the_edges_of_a_pin():
    device, made = dut(energy=True)
    made_up = energy(device, EdgeMeter(made), INPUTS, lambda _: 10_500)
    found = made_up.energy
    assert [(round(end - start, 6), count) for start, end, count in made_up.windows] == [(10.5, 10_500)] * 5
    assert len(made.edges_s) == 11
    assert found.median_j == pytest.approx(0.042 * 1e-3, rel=0.01)
    assert (found.method, len(found.gross_j)) == ("simulated", 5)
    assert found.u_a_j is not None


def test_the_number_of_inferences_by_this_clock():
    device, made = dut(energy=True, inference_us=1234)
    assert enough_here(device, INPUTS[0]) == math.ceil(11 / 1234e-6)
    made.inference_us = 0
    with pytest.raises(DeviceError, match="does not run them"):
        enough_here(device, INPUTS[0])
    device, made = dut()
    with pytest.raises(DeviceError, match="built for performance mode"):
        enough_here(device, INPUTS[0])


def test_energy_is_refused_when_an_edge_is_lost():
    for lost in ((4,), (10,)):
        device, made = dut(energy=True)
        with pytest.raises(DeviceError, match="time mark was lost"):
            energy(device, EdgeMeter(made, lost), INPUTS, lambda _: 10_500)
    device, made = dut(energy=True)
    with pytest.raises(DeviceError, match="the meter saw 9 edges; 5 windows have 10"):
        energy(device, EdgeMeter(made, (3, 4)), INPUTS, lambda _: 10_500)
    device, made = dut()
    with pytest.raises(DeviceError, match="built for performance mode"):
        energy(device, EdgeMeter(made), INPUTS, lambda _: 10_500)
    device, made = dut(energy=True)
    with pytest.raises(DeviceError, match="error 2"):
        energy(device, EdgeMeter(made), INPUTS, lambda _: 9_000)


def test_the_last_edges_count():
    edges = [0.1, 0.3, *(start + end for start in (10, 32, 54, 76, 98) for end in (0.0, 11.0))]
    ends = [22.0, 43.5, 66.0, 88.0, 109.5]
    assert pair(edges, ends)[0] == (10.0, 21.0)
    for lost in range(2, len(edges)):  # what lies between two windows is as long as a window here
        with pytest.raises(DeviceError, match="time mark was lost"):
            pair(edges[:lost] + edges[lost + 1 :], ends)


def test_values_of_the_dialect():
    assert dialect.buffer(("m-buffer-00-ff", "m-buffer-07")) == b"\x00\xff\x07"
    assert dialect.mark(()) is None
    with pytest.raises(DeviceError, match="2 time marks"):
        dialect.mark(("m-lap-us-1", "m-lap-us-2"))
    answer = ("m-warmup-start-0", "m-warmup-done", "m-infer-start-1", "m-lap-us-3", "m-lap-us-9", "m-infer-done")
    found = dialect.inference((*answer, "m-results-[1,2]", "m-cycles-77"), 1, 0)
    assert (found.marks_us, found.results, found.notes) == ((3, 9), (1.0, 2.0), ("m-cycles-77",))
