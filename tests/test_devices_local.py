"""The worker process: its records, its death, its silence, and what stays behind (nothing)."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from devices import conversation, timing, worker
from devices.errors import DeviceError
from devices.found import Found
from devices.local import WORKER, run_worker
from devices.plan import Plan, to_json
from devices.protocol import RECORDS, decode, encode
from tests.parts import short_plan, write_part

GOOD = {
    "hello": {"protocol": 2, "runner": "python", "pid": 1},
    "caps": {"runtime": "null", "versions": {"python": "3"}},
    "warm": {"side": "a", "open_ns": 1, "first_ns": 2, "total_ns": 3, "runs": 1},
    "window": {"i": 0, "side": "a", "t0_ns": 0, "t1_ns": 9, "samples_per_query": 1, "samples_ns": [4, 5]},
    "sensor": {"name": "VDD_IN", "t_ns": [1, 2], "values": [4800, -0.5]},
    "mark": {"name": "window 0", "t_ns": 5},
    "progress": {"done": 1, "of": 3},
    "loadgen": {"valid": True, "reasons": "", "figures": {"result_query_count": "64"}, "version": "6"},
    "self_test": {"vectors": 4, "codes_equal": 4, "top1_equal": 4, "max_steps": 0},
    "end": {"windows": 3},
    "error": {"kind": "DeviceError", "message": "no"},
}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return short_plan(write_part(tmp_path / "part", None), "null", "any")


def _fake(script: str) -> tuple[str, ...]:
    """A worker that is a few lines of Python; `say(kind, **changes)` writes the next record."""
    head = (
        "import json, sys, time, os, signal\n"
        "sys.stdin.read()\n"
        f"good = {GOOD!r}\n"
        "seq = 0\n"
        "def say(kind, **changes):\n"
        "    global seq\n"
        "    print(json.dumps({'seq': seq, 'type': kind, **good[kind], **changes}), flush=True)\n"
        "    seq += 1\n"
        "def begin():\n"
        "    say('hello'); say('caps'); say('warm')\n"
        "def windows(n):\n"
        "    for i in range(n): say('window', i=i)\n"
    )
    return (sys.executable, "-c", head + script)


def test_the_null_device_is_the_same_every_time(plan: Plan) -> None:
    first, second = (run_worker(plan, "made up") for _ in range(2))
    assert first == second
    assert first.latency_s is not None
    assert [len(window) > 100 for window in first.latency_s] == [True] * 3
    assert len({s for window in first.latency_s for s in window}) > 5
    assert all(sum(window) >= 0.01 for window in first.latency_s)


def test_records_of_the_real_worker_are_contiguous(plan: Plan) -> None:
    argv = [sys.executable, "-m", "devices.worker"]
    root = Path(worker.__file__).parent.parent
    done = subprocess.run(argv, input=to_json(plan).encode(), capture_output=True, cwd=root, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(len(lines)))
    assert [json.loads(line)["type"] for line in lines] == ["hello", "caps", "warm", *["window"] * 3, "end"]
    for seq, line in enumerate(lines):
        decode(line, seq)


def test_a_good_conversation() -> None:
    plan = short_plan(Path("/x"), "null", "any")
    found = run_worker(plan, "a fake", _fake("begin(); windows(3); say('end')"))
    assert found.latency_s == ((4e-9, 5e-9),) * 3
    assert (found.source, found.versions) == ("a fake", (("python", "3"),))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("begin(); windows(1); sys.exit('out of memory, line 2')", "exit code 1: out of memory, line 2"),
        ("begin(); windows(1); os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL: it wrote nothing"),
        ("begin(); windows(3)", "exit code 0: it wrote nothing"),
        ("begin(); windows(3); say('end'); sys.exit(3)", "failed with exit code 3"),
        ("begin(); print('{\"seq\": 3, \"ty', end='')", "exit code 0: it wrote nothing"),
        ("print('Segmentation fault')", "record 0 of the worker is not readable JSON"),
        ("say('hello', protocol=9)", "protocol 9"),
        ("say('hello'); seq = 5; say('caps')", "number 5; a record was lost"),
        ("say('hello'); say('hello')", "sent 'hello' after 'hello'"),
        ("say('caps')", "sent 'caps' after 'None'"),
        ("begin(); say('end', windows=0)", "sent 'end' after 'warm'"),
        ("begin(); say('window', i=1)", "does not fit"),
        ("begin(); windows(2); say('end')", "does not fit the 2 windows"),
        ("begin(); windows(2); say('end', windows=2)", "ran 2 windows; the plan asks for 3"),
        ("begin(); windows(3); say('end'); say('window', i=3)", "sent 'window' after 'end'"),
        ("begin(); say('window', samples_ns=[])", "holds no samples"),
        ("begin(); say('window', samples_ns=[1, -2])", "samples_ns is -2"),
        ("begin(); say('window', extra=1)", "unknown key 'extra'"),
        ("say('error', message='the part is broken')", "null: the part is broken"),
        ('say(\'surprise\') if 0 else print(\'{"seq": 0, "type": "surprise"}\')', "unknown type 'surprise'"),
    ],
)
def test_a_bad_conversation_is_an_error(script: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        run_worker(short_plan(Path("/x"), "null", "any"), "a fake", _fake(script))


def test_a_silent_worker_is_stopped() -> None:
    plan = short_plan(Path("/x"), "null", "any", limit_s=0.5)
    begin = time.monotonic()
    with pytest.raises(DeviceError, match=r"did not end within 0\.5 s"):
        run_worker(plan, "a fake", _fake("begin(); time.sleep(60)"))
    assert time.monotonic() - begin < 10


def test_a_worker_that_never_reads_its_plan() -> None:
    with pytest.raises(DeviceError, match="exit code 7"):
        run_worker(short_plan(Path("/x"), "null", "any"), "a fake", (sys.executable, "-c", "raise SystemExit(7)"))
    with pytest.raises(DeviceError, match="cannot be started"):
        run_worker(short_plan(Path("/x"), "null", "any"), "a fake", ("/no/such/worker",))


def _children() -> set[int]:
    listing = Path(f"/proc/{threading.get_native_id()}/task/{threading.get_native_id()}/children")
    return {int(pid) for pid in listing.read_text().split()} if listing.exists() else set()


def test_an_interrupt_leaves_no_worker_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    before = _children()
    monkeypatch.setattr(conversation, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_worker(short_plan(Path("/x"), "null", "any"), "a fake", _fake("begin(); time.sleep(60)"))
    assert _children() == before


def test_a_library_that_prints_does_not_disturb_the_records(plan: Plan) -> None:
    code = WORKER[-1].replace("sys.exit(main())", "")
    noisy = (
        f"{code}\nimport devices.worker as w, os\n"
        "old = w.load_graph\n"
        "def loud(folder):\n"
        "    os.write(1, b'INFO: created a delegate\\n'); print('and from Python', flush=True)\n"
        "    return old(folder)\n"
        "w.load_graph = loud\n"
        "sys.exit(main())"
    )
    found = run_worker(plan, "made up", (*WORKER[:-1], noisy))
    assert isinstance(found, Found)
    assert found.latency_s is not None


@pytest.mark.parametrize("kind", RECORDS)
def test_every_record_survives_the_wire(kind: str) -> None:
    line = encode(4, kind, GOOD[kind])
    assert line.endswith("\n")
    assert decode(line, 4)[0] == kind
    with pytest.raises(DeviceError, match="lost or sent twice"):
        decode(line, 5)
    with pytest.raises(DeviceError, match="lacks the key"):
        decode(json.dumps({"seq": 4, "type": kind}), 4)


def test_the_worker_reports_a_part_it_cannot_open(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"host-c: .*toy\.c is not there"):
        run_worker(short_plan(write_part(tmp_path / "p", None), "host-c", "arm-m"), "none")


def test_a_window_lasts_as_long_as_asked_and_keeps_every_sample() -> None:
    now = 0

    def infer() -> None:
        nonlocal now
        now += 7

    found = timing.window(infer, lambda: now, 100e-9)
    assert found.samples_ns == [7] * 15
    assert (found.t0_ns, found.t1_ns) == (0, 105)
    assert timing.window(infer, lambda: now, 0.0).samples_ns == [7]
    assert len(timing.window(infer, lambda: now, 1.0).samples_ns) == timing.MAX_SAMPLES


def test_the_writer_counts_and_refuses_wrong_records() -> None:
    stream = io.StringIO()
    writer = worker.Writer(stream)
    writer.write("end", {"windows": 1})
    writer.write("end", {"windows": 2})
    assert [json.loads(line)["seq"] for line in stream.getvalue().splitlines()] == [0, 1]
    with pytest.raises(DeviceError, match="windows must be of type int"):
        writer.write("end", {"windows": "three"})
