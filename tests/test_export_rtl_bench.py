"""The written bench: it passes as exported, and fails when anything it should notice is changed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from quant.formats import E4M3, INT8
from tests.rtl import needs_verilator, write_core
from tests.toys import toy_graph

#: What to break in the Verilog, and what the bench must say.
MUTANTS = {
    "a refused beat is lost": (
        "assign move = !m_axis_tvalid || m_axis_tready;",
        "assign move = 1'b1;",
        "changed before it was taken",
    ),
    "tlast comes early": (
        "m_axis_tlast <= pending && pending_last;",
        "m_axis_tlast <= pending;",
        "tlast or tuser is wrong",
    ),
    "halves are not rounded up": ("rounding && rest > threshold", "1'b0", "vectors bit-exact"),
    "a long frame is taken": (
        "skip <= !s_axis_tlast && (skip || end_of_frame);",
        "skip <= 1'b0;",
        "wrong length",
    ),
    "the zero point is unsigned": ("{{35{zero[ORDINAL-1]}}, zero}", "{35'b0, zero}", "vectors bit-exact"),
}


def _make(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "run"], cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@needs_verilator
@pytest.mark.parametrize("fmt", [INT8, E4M3], ids=lambda fmt: fmt.name)
def test_bench_passes_and_an_altered_vector_fails(fmt, tmp_path):
    facts = write_core(toy_graph(fmt, fmt), tmp_path, "part", count=4)
    done = _make(tmp_path)
    found = re.search(r"^part: 4 of 4 vectors bit-exact, (\d+) cycles$", done.stdout, re.MULTILINE)
    assert done.returncode == 0 and found
    assert int(found[1]) > 4 * int(str(facts["cycles"]))
    header = tmp_path / "part_vectors.h"
    head, _, tail = header.read_text().partition("kOutputs[] = {\n    ")
    first, _, rest = tail.partition(",")
    header.write_text(f"{head}kOutputs[] = {{\n    {int(first) ^ 1},{rest}")
    done = _make(tmp_path)
    assert done.returncode != 0
    assert "vector 0, code 0 is" in done.stdout and "part: 3 of 4 vectors bit-exact" in done.stdout


@needs_verilator
@pytest.mark.parametrize("fault", MUTANTS)
def test_bench_notices(fault, tmp_path):
    write_core(toy_graph(), tmp_path, "part", count=4)
    old, new, message = MUTANTS[fault]
    source = tmp_path / "part.v"
    text = source.read_text()
    assert text.count(old) == 1
    source.write_text(text.replace(old, new))
    done = _make(tmp_path)
    assert done.returncode != 0 and message in done.stdout and "4 of 4" not in done.stdout


@needs_verilator
def test_core_is_clean_for_lint(tmp_path):
    write_core(toy_graph(E4M3, E4M3), tmp_path, "part")
    done = subprocess.run(["make", "lint"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stderr
