"""Cores with several outputs: every stream is exact however its reader waits, none stops another, clocks are stated."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export import fpga
from export.errors import ExportError
from export.rtl.stream.build import Core, build
from export.rtl.stream.device import LATTICE_ECP5
from export.rtl.stream.folds import Fold
from export.rtl.stream.fulfil import core_of, folding_record
from export.rtl.stream.output import Output
from export.rtl.stream.part import part_files
from export.rtl.stream.request import CircuitRequest
from export.runtimes.verilator import open_session
from export.runtimes.verilator_stream import StreamSession
from export.strict_json import canonical
from export.target import Source
from quant.formats import Array
from quant.program import lower
from quant.reference import run
from tests.stream_cores import FRAMES, needs_icarus, needs_verilator
from tests.stream_nets import early_exits, wide_pixels
from tests.toys import random_codes, toy_graph

GRAPH = early_exits()
FOLDS = {"n0": Fold(6, 3), "n1": Fold(2), "n3": Fold(1, 3), "n4": Fold(3, 2, "dsp"), "n5": Fold(6), "n6": Fold(2, 3)}
#: An image that a residual block reads, the logits of an exit that nothing else reads, their label, and a mean.
TAPS = (Output("t0"), Output("t3"), Output("t3", True), Output("t2"))
REQUEST = CircuitRequest("stream", LATTICE_ECP5, folds=FOLDS, input_lanes=3, taps=TAPS)
WIDE = wide_pixels()
WIDE_FOLDS = {"n0": Fold(16, 12), "n1": Fold(4, 16), "n2": Fold(4), "n3": Fold(5, 4)}
WIDE_REQUEST = CircuitRequest("stream", folds=WIDE_FOLDS, input_lanes=12, taps=(Output("t0"),))


def _codes() -> Array:
    return random_codes(GRAPH, FRAMES)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamSession]:
    folder, codes = tmp_path_factory.mktemp("exits"), _codes()
    fpga.TARGET.write(Source("exits", GRAPH, codes, run(lower(GRAPH), codes)[GRAPH.output], circuit=REQUEST), folder)
    opened = open_session(folder, "exits", GRAPH)
    assert isinstance(opened, StreamSession)
    yield opened
    opened.close()


def _expected(codes: Array) -> list[Array]:
    values = run(lower(GRAPH), codes)
    return [values[GRAPH.output], values["t0"], values["t3"], values["t3"].argmax(axis=1), values["t2"]]


@needs_verilator
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_stream_is_exact(seed: int, session: StreamSession) -> None:
    codes = _codes()
    got, expected = session.streams(codes, seed), _expected(codes)
    assert [stream.port for stream in got] == [f"m_axis_{index}" for index in range(5)]
    for stream, wanted in zip(got, expected, strict=True):
        assert np.array_equal(stream.values, wanted), stream.port
        assert len({frame.tobytes() for frame in wanted}) > 1, stream.port
    assert np.array_equal(session.run(codes), expected[0])


@needs_verilator
def test_clocks_of_every_stream_are_stated(session: StreamSession) -> None:
    codes, stated = _codes(), session.core.schedule
    assert session.latencies(codes) == stated.latencies
    assert max(session.intervals(codes)[:3][-2:]) == stated.interval
    alone = build(
        "alone", lower(GRAPH), {name: FOLDS[name] for name in ("n0", "n1", "n4", "n5", "n6")}, 3, LATTICE_ECP5
    )
    assert stated.interval == alone.schedule.interval
    assert len(set(stated.latencies)) == 5 and stated.latencies[2] < stated.latencies[0]


def test_an_output_is_as_wide_as_its_core_is_fast() -> None:
    program, results = lower(WIDE), WIDE_REQUEST.results(WIDE.output)
    fast = build("fast", program, WIDE_FOLDS, 12, results=results)
    assert [link.to_lanes for link in fast.plan.ends()] == [1, 16]
    assert fast.schedule.interval == build("alone", program, WIDE_FOLDS, 12).schedule.interval
    slow = build("slow", program, {}, results=results)
    assert [link.to_lanes for link in slow.plan.ends()] == [1, 1]


@needs_verilator
def test_beats_of_more_than_64_bits(tmp_path: Path) -> None:
    codes = random_codes(WIDE, FRAMES)
    values = run(lower(WIDE), codes)
    facts = fpga.TARGET.write(Source("wide", WIDE, codes, values[WIDE.output], circuit=WIDE_REQUEST), tmp_path)
    outputs = facts["outputs"]
    assert isinstance(outputs, list) and [output["beat_bits"] for output in outputs] == [8, 128]
    opened = open_session(tmp_path, "wide", WIDE)
    assert isinstance(opened, StreamSession)
    for seed in (0, 3):
        for stream in opened.streams(codes, seed):
            assert np.array_equal(stream.values, values[stream.tensor]), (seed, stream.port)
    assert list(opened.latencies(codes)) == [output["cycles"] for output in outputs]
    assert max(opened.intervals(codes)[:3][-2:]) == facts["interval_cycles"]
    opened.close()


def test_only_cores_with_several_outputs_keep_a_frame() -> None:
    depths = {(link.tensor, link.labels_of): link.queue_bits for link in _core().plan.ends()}
    assert depths[("t0", 0)] >= (6 * 4 * 3 // 6 - 1).bit_length() and depths[("t3", 5)] == 0
    assert [link.queue_bits for link in build("c", lower(GRAPH), {}).plan.ends()] == [0]


def _core() -> Core:
    return build("exits", lower(GRAPH), FOLDS, 3, LATTICE_ECP5, REQUEST.results(GRAPH.output))


def test_a_folding_file_gives_the_same_core_again(tmp_path: Path) -> None:
    path, core = tmp_path / "folding.json", _core()
    path.write_bytes(canonical(folding_record(core)))
    again = core_of("exits", lower(GRAPH), path)
    assert again.files() == core.files() and again.schedule.latencies == core.schedule.latencies
    assert set(folding_record(build("c", lower(GRAPH), {}))) == {"architecture", "family", "folds", "input_lanes"}


def _part(folder: Path) -> Path:
    graph = toy_graph()
    codes = random_codes(graph, FRAMES)
    results = (Output("y", True), Output("a"), Output("c"), Output("y"))
    core = build("part", lower(graph), {"conv": Fold(4, 3), "add": Fold(4)}, 3, results=results)
    for name, text in part_files(core, codes, run(lower(graph), codes)["y"]).items():
        (folder / name).write_text(text)
    return folder


def _make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, timeout=900, check=False)


@needs_verilator
def test_bench_takes_the_streams_at_random_and_in_turn(tmp_path: Path) -> None:
    part = _part(tmp_path)
    done = _make(part, "run", "OPTIMISE=-MAKEFLAGS OPT_FAST=-O0")
    assert done.returncode == 0 and f"part: {FRAMES} of {FRAMES} vectors bit-exact" in done.stdout, done.stdout
    source = part / "part.v"
    text = source.read_text()
    assert text.count(".BITS(7)) queue_6_0_0") == 1  # a frame of 'a', 8 x 4 x 4 codes
    source.write_text(text.replace(".BITS(7)) queue_6_0_0", ".BITS(3)) queue_6_0_0"))
    done = _make(part, "run", "OPTIMISE=-MAKEFLAGS OPT_FAST=-O0")
    assert done.returncode != 0 and "nothing moves any more" in done.stdout, done.stdout + done.stderr


@needs_verilator
@needs_icarus
def test_lint_and_icarus_find_nothing_and_notice_a_wrong_label(tmp_path: Path) -> None:
    part = _part(tmp_path)
    done = _make(part, "lint")
    assert done.returncode == 0 and "%Warning" not in done.stderr, done.stderr
    done = _make(part, "icarus", f"FRAMES={FRAMES}")
    assert done.returncode == 0, done.stdout + done.stderr
    words = FRAMES * (1 + 128 + 128 + 10)
    assert f"part: {words} of {words} codes of {FRAMES} frames exact, no unknown bit" in done.stdout
    source = part / "part.v"
    assert "if (take && (place == 4'd0 || (" in source.read_text()
    source.write_text(source.read_text().replace("if (take && (place == 4'd0 || (", "if (take && ((", 1))
    done = _make(part, "icarus", f"FRAMES={FRAMES}")
    assert done.returncode != 0 and "m_axis_0: " in done.stdout, done.stdout


def test_the_sequential_core_is_no_answer(tmp_path: Path) -> None:
    codes = _codes()
    source = Source("exits", GRAPH, codes, run(lower(GRAPH), codes)[GRAPH.output])
    for asked in (CircuitRequest("sequential", taps=TAPS), CircuitRequest("sequential", labels=True)):
        with pytest.raises(ExportError, match="leave out --sequential"):
            fpga.TARGET.write(replace(source, circuit=asked), tmp_path)
    assert not list(tmp_path.iterdir())
