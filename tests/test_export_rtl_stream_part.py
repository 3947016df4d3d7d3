"""The benches that come with a streaming core: they pass as written, and fail when what they look at is broken."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from export.rtl.stream.build import Core, build
from export.rtl.stream.folds import Fold
from export.rtl.stream.part import part_files, stream_facts
from quant.program import lower
from quant.reference import run
from tests.stream_cores import FRAMES, needs_icarus, needs_verilator
from tests.toys import random_codes, toy_graph

FOLDS = {"conv": Fold(4, 3, "dsp"), "dw": Fold(2), "add": Fold(4), "fc": Fold(2, 2)}
LANES = 3
#: What to break in the Verilog, and what Icarus says. Each must be there once or more; all are broken.
UNKNOWN = {
    "a FIFO that is not reset": ("count <= {(BITS + 1) {1'b0}};", "", "an unknown ready, valid or error"),
    "a walk that is not reset": ("fresh <= 1'b1;", "", "nothing moves any more"),
    "an accumulator that is never cleared": ("if (rst || done) acc", "if (1'b0) acc", "an unknown bit came out"),
    "padding that is read": ("inside_2 ? read :", "1'b1 ? read :", "is "),
    "a refused beat is lost": ("wire pop = out_valid && out_ready;", "wire pop = out_valid;", "FAILED"),
}
#: The same for Verilator's bench.
FAULTS = {
    "tlast comes early": ("assign m_last = last;", "assign m_last = 1'b1;", "tlast or tuser is wrong"),
    "a long frame is taken": (
        "dropping <= dropping ? !(s_valid && s_last) : late;",
        "dropping <= 1'b0;",
        "wrong length",
    ),
}


@pytest.fixture
def part(tmp_path: Path) -> Path:
    for name, text in part_files(*_toy()).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def _toy() -> tuple[Core, object, object]:
    graph = toy_graph()
    program, codes = lower(graph), random_codes(graph, FRAMES)
    return build("part", program, FOLDS, LANES), codes, run(program, codes)[graph.output]


def _make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, timeout=900, check=False)


def _broken(folder: Path, old: str, new: str) -> None:
    source = folder / "part.v"
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))


def test_files_of_a_part(part: Path) -> None:
    names = {"part.v", "part_tb.cpp", "part_vectors.h", "part_icarus_tb.v", "part_cocotb.py", "part_in.hex"}
    names |= {"part_out.hex", "Makefile", "folding.json"}
    assert {path.name for path in part.iterdir() if path.suffix != ".mem"} == names
    for path in part.iterdir():
        assert not re.search(r"@[A-Z_]+@", path.read_text()), path.name
    assert len((part / "part_in.hex").read_text().split()) == FRAMES * 8 * 8
    compile((part / "part_cocotb.py").read_text(), "part_cocotb.py", "exec")


def test_facts_state_the_clocks_of_every_layer() -> None:
    core = _toy()[0]
    facts = stream_facts(core)
    assert facts["cycles"] == core.schedule.latency and facts["interval_cycles"] == core.schedule.interval
    layers = facts["layers"]
    assert isinstance(layers, list) and [layer["step"] for layer in layers] == ["conv", "dw", "add", "mean", "fc"]
    assert max(layer["cycles"] for layer in layers) == facts["bottleneck_cycles"] == facts["interval_cycles"]


@needs_icarus
def test_icarus_finds_no_unknown_bit(part: Path) -> None:
    done = _make(part, "icarus", f"FRAMES={FRAMES}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"part: {10 * FRAMES} of {10 * FRAMES} codes of {FRAMES} frames exact, no unknown bit" in done.stdout
    header = part / "part_out.hex"
    first, rest = header.read_text().split("\n", 1)
    header.write_text(f"{int(first, 16) ^ 1:02x}\n{rest}")
    done = _make(part, "icarus")
    assert done.returncode != 0 and "frame 0, code 0 is" in done.stdout


@needs_icarus
@pytest.mark.parametrize("fault", UNKNOWN)
def test_icarus_notices(fault: str, part: Path) -> None:
    old, new, message = UNKNOWN[fault]
    _broken(part, old, new)
    done = _make(part, "icarus", f"FRAMES={FRAMES}")
    assert done.returncode != 0 and message in done.stdout, done.stdout + done.stderr


@needs_verilator
def test_lint_is_clean_of_gates_and_of_fast_products(part: Path) -> None:
    for define in ("", "-DEDGEMILL_FAST"):
        done = _make(part, "lint", f"VERILATOR=verilator {define}")
        assert done.returncode == 0, done.stderr
        assert "%Warning" not in done.stderr


@needs_verilator
def test_bench_passes_and_says_how_many_clocks(part: Path) -> None:
    done = _make(part, "run", "OPTIMISE=-MAKEFLAGS OPT_FAST=-O0")
    found = re.search(rf"^part: {FRAMES} of {FRAMES} vectors bit-exact, (\d+) cycles$", done.stdout, re.MULTILINE)
    assert done.returncode == 0 and found, done.stdout + done.stderr
    assert int(found[1]) > (FRAMES - 1) * int(str(stream_facts(_toy()[0])["interval_cycles"]))


@needs_verilator
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_bench_notices(fault: str, part: Path) -> None:
    old, new, message = FAULTS[fault]
    _broken(part, old, new)
    done = _make(part, "run", "OPTIMISE=-MAKEFLAGS OPT_FAST=-O0")
    assert done.returncode != 0 and message in done.stdout, done.stdout + done.stderr


@needs_icarus
@pytest.mark.skipif(find_spec("cocotb") is None, reason="cocotb is not installed; pip install cocotb")
def test_cocotb_bench_passes(part: Path) -> None:
    done = _make(part, "cocotb", f"PYTHON={sys.executable}")
    assert done.returncode == 0 and "part: 2 of 2 cocotb tests passed" in done.stdout, done.stdout + done.stderr
