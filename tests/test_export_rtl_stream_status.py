"""Status registers: the bench counts what they should read, and reads all the time; the driver knows their core."""

from __future__ import annotations

import re
import subprocess
import types
from pathlib import Path

import numpy as np
import pytest

from export import fpga
from export.rtl.stream.build import Core, build
from export.rtl.stream.folds import Fold
from export.rtl.stream.fulfil import core_of, folding_record
from export.rtl.stream.output import Output
from export.rtl.stream.request import CircuitRequest
from export.rtl.stream.status import IDENTITY, registers
from export.runtimes.verilator import open_session
from export.strict_json import canonical
from export.target import Source
from quant.program import lower
from quant.reference import run
from tests.stream_cores import FRAMES, needs_icarus, needs_verilator
from tests.toys import random_codes, toy_graph

GRAPH = toy_graph()
REQUEST = CircuitRequest(
    "stream", folds={"conv": Fold(4, 3), "add": Fold(4)}, input_lanes=3, taps=(Output("m"),), status=True
)
#: What to break in the registers; the bench notices each.
FAULTS = {
    "a count of something else": ("frames_out + {31'd0, left}", "frames_out + {31'd0, begun}"),
    "a wait that is forgotten": ("if (m_valid[k] && !m_ready[k]) waits", "if (m_valid[k]) waits"),
    "counters that are not cleared": ("if (rst || clear) begin", "if (rst) begin"),
}


def _core() -> Core:
    return build(
        "part", lower(GRAPH), REQUEST.folds or {}, REQUEST.input_lanes, results=REQUEST.results("y"), status=True
    )


@pytest.fixture
def part(tmp_path: Path) -> Path:
    codes = random_codes(GRAPH, FRAMES)
    facts = fpga.TARGET.write(Source("part", GRAPH, codes, run(lower(GRAPH), codes)["y"], circuit=REQUEST), tmp_path)
    status = facts["status"]
    assert isinstance(status, dict) and status["digest"] == _core().digest()
    return tmp_path


def _make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, timeout=900, check=False)


@needs_verilator
def test_the_bench_reads_what_it_counts(part: Path) -> None:
    done = _make(part, "lint")
    assert done.returncode == 0 and "%Warning" not in done.stderr, done.stderr
    done = _make(part, "run", "OPTIMISE=-MAKEFLAGS OPT_FAST=-O0")
    assert done.returncode == 0 and f"{FRAMES} of {FRAMES} vectors bit-exact" in done.stdout, done.stdout + done.stderr


@needs_verilator
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_the_bench_notices(fault: str, part: Path) -> None:
    old, new = FAULTS[fault]
    source = part / "part.v"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))
    done = _make(part, "run", "OPTIMISE=-MAKEFLAGS OPT_FAST=-O0")
    assert done.returncode != 0 and "a status register read" in done.stdout, done.stdout + done.stderr


@needs_verilator
def test_registers_cost_no_clock(part: Path) -> None:
    codes, core = random_codes(GRAPH, FRAMES), _core()
    plain = build("part", lower(GRAPH), REQUEST.folds or {}, 3, results=REQUEST.results("y"))
    session = open_session(part, "part", GRAPH)
    try:
        assert np.array_equal(session.run(codes), run(lower(GRAPH), codes)["y"])
        assert session.cycles(codes) == core.schedule.latency == plain.schedule.latency
    finally:
        session.close()


@needs_icarus
def test_icarus_finds_no_unknown_bit(part: Path) -> None:
    done = _make(part, "icarus", f"FRAMES={FRAMES}")
    assert done.returncode == 0 and "no unknown bit" in done.stdout, done.stdout + done.stderr
    assert "warning" not in done.stderr


def test_the_digest_changes_with_the_core(tmp_path: Path) -> None:
    core = _core()
    other = build("part", lower(toy_graph(seed=1)), REQUEST.folds or {}, 3, results=REQUEST.results("y"), status=True)
    assert core.digest() != other.digest() and re.fullmatch("[0-9a-f]{8}", core.digest())
    assert f"32'h{core.digest()}" in core.files()["part.v"]
    path = tmp_path / "folding.json"
    path.write_bytes(canonical(folding_record(core)))
    assert core_of("part", lower(GRAPH), path).files() == core.files()


def test_the_driver_knows_its_core(part: Path) -> None:
    driver = types.ModuleType("part_pynq")
    exec(compile((part / "part_pynq.py").read_text(), "part_pynq.py", "exec"), driver.__dict__)
    values = {register.name: index for index, register in enumerate(registers(_core().plan))}
    values |= {"identity": IDENTITY, "digest": int(_core().digest(), 16), "busy_low": 5, "busy_high": 1}
    memory = {driver.REGISTERS[name]: value for name, value in values.items()}
    core = driver.Core.__new__(driver.Core)
    core.overlay = types.SimpleNamespace(core=types.SimpleNamespace(read=memory.get, write=memory.__setitem__))
    found = core.status()
    assert found["busy"] == (1 << 32) + 5 and found["output_waits_1"] == values["output_waits_1"] == 11
    assert set(found) == set(values) - {"identity", "digest", "busy_low", "busy_high"} | {"busy"}
    core.clear_status()
    assert memory[driver.REGISTERS["control"]] == 1
    memory[driver.REGISTERS["digest"]] ^= 1
    with pytest.raises(ValueError, match="holds another core"):
        core.status()
    assert "core/s_axil]" in (part / "part_pynq.tcl").read_text()
    header = (part / "part_registers.h").read_text()
    assert "#define PART_OUTPUT_WAITS_1 0x2c" in header and f"0x{_core().digest()}u" in header


def test_cores_without_registers_have_no_trace_of_them(tmp_path: Path) -> None:
    codes = random_codes(GRAPH, 2)
    fpga.TARGET.write(Source("part", GRAPH, codes, run(lower(GRAPH), codes)["y"]), tmp_path)
    assert not (tmp_path / "part_registers.h").exists()
    for name in ("part.v", "part_tb.cpp", "part_icarus_tb.v", "part_pynq.tcl"):
        assert "axil" not in (tmp_path / name).read_text()
