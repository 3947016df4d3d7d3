"""Whole generated models on this machine: bit-exact in many formats, honest self-test, strict headers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from export.arm_m import TARGET
from export.errors import ExportError
from export.runtimes.c_host import RUNTIME
from export.target import Facts, Source
from quant import operators as ops
from quant.formats import FORMATS, INT8, find_format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.program import lower
from quant.reference import quantise_input, run
from tests.single_ops import quant, unary_graph
from tests.toys import random_codes, toy_graph
from tests.toys_fitted import fitted_graph, real_inputs

missing = RUNTIME.missing()
needs_cc = pytest.mark.skipif(missing is not None, reason=str(missing))
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")

#: Formats of activations and weights.
FORMAT_PAIRS = (
    ("int8", "int8"), ("e4m3", "e4m3"), ("e4m3fn", "e4m3fn"), ("e4m3", "int8"), ("int16", "int8"), ("e5m2", "int4"),
    ("int12", "int12"), ("int4", "int4"), ("int6", "int6"), ("uint8", "int8"), ("e2m1", "e2m1"), ("e3m2", "e3m2"),
    ("e2m3", "e2m3"), ("int8", "e2m1"), ("e2m1", "e4m3"), ("e3m4", "e1m2"),
)  # fmt: skip


def written(graph: Graph, folder: Path, count: int = 8) -> tuple[Facts, Source]:
    """Write a graph with `count` random vectors as model `toy`."""
    inputs = random_codes(graph, count)
    source = Source("toy", graph, inputs, run(lower(graph), inputs)[graph.output])
    return TARGET.write(source, folder), source


@needs_cc
@pytest.mark.parametrize(("act", "weight"), FORMAT_PAIRS)
def test_every_tensor_of_every_operator_equals_the_reference(tmp_path, act, weight):
    graph = fitted_graph(find_format(act), find_format(weight), seed=2)
    program, inputs = lower(graph), quantise_input(graph.quant("x"), real_inputs(graph, 24))
    expected = run(program, inputs)
    facts = TARGET.write(Source("toy", graph, inputs, expected["y"]), tmp_path)
    session = RUNTIME.open(tmp_path, "toy", graph)
    made, tensors = session.run(inputs), session.tensors(inputs)
    session.close()
    assert made.dtype == expected["y"].dtype and np.array_equal(made, expected["y"])
    assert list(tensors) == facts["tensors"] == [step.y for step in program.steps]
    for name, codes in tensors.items():
        assert np.array_equal(codes, expected[name]), name
        assert len(np.unique(codes)) > 1, name
    labels = graph.quant("y").format.to_ordinals(made).argmax(axis=1)
    assert len(set(labels.tolist())) > 1


@needs_cc
def test_timed_runs_one_inference_and_nanoseconds_are_positive(tmp_path):
    graph = toy_graph()
    _, source = written(graph, tmp_path)
    session = RUNTIME.open(tmp_path, "toy", graph)
    once = session.timed(source.inputs)
    once()
    assert 0 < session.nanoseconds(source.inputs, 100) < 1e9
    with pytest.raises(ExportError, match="takes codes of shape"):
        session.run(source.inputs[:, :, :4])
    session.close()


def build(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = ["cc", *STRICT, *flags, "toy.c", "toy_test.c", "-o", "toy_test"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@needs_cc
def test_self_test_passes_and_notices_an_altered_vector_and_an_unwritten_output(tmp_path):
    written(toy_graph(), tmp_path, 20)
    assert build(tmp_path).stderr == ""
    good = subprocess.run(["./toy_test"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (good.returncode, good.stdout) == (0, "toy: 16 of 16 vectors bit-exact\n")
    model, vectors = (tmp_path / "toy.c").read_text(), (tmp_path / "toy_vectors.h").read_text()
    head, tail = vectors.split("toy_outputs[][TOY_OUTPUT_SIZE] = {\n    {\n    ", 1)
    first, rest = tail.split(",", 1)
    (tmp_path / "toy_vectors.h").write_text(
        f"{head}toy_outputs[][TOY_OUTPUT_SIZE] = {{\n    {{\n    {int(first) ^ 1},{rest}"
    )
    assert build(tmp_path).stderr == ""
    bad = subprocess.run(["./toy_test"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (1, f"toy: vector 0, output 0 is {int(first)}, expected {int(first) ^ 1}\n")
    (tmp_path / "toy_vectors.h").write_text(vectors)
    call = model.index("    conv_byte(", model.index("/* 4: fc */"))
    (tmp_path / "toy.c").write_text(model[:call] + "    (void)output; " + model[call:].replace("output", "tensor1", 1))
    assert build(tmp_path).stderr == ""
    assert subprocess.run(["./toy_test"], cwd=tmp_path, capture_output=True, check=False).returncode == 1


@needs_cc
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler 'g++' here")
def test_header_is_cpp_and_the_model_links_from_cpp(tmp_path):
    written(toy_graph(), tmp_path)
    text = """
#include "toy.h"
static TOY_ARENA(arena);
int main() {
    static toy_input_t x[TOY_INPUT_SIZE];
    static toy_output_t y[TOY_OUTPUT_SIZE];
    toy_t network;
    if (toy_init(&network, arena, sizeof arena) != TOY_OK) return 1;
    toy_invoke(&network, x, y);
    return TOY_INPUT_SCALE > 0.0f ? 0 : 1;
}
"""
    (tmp_path / "app.cpp").write_text(text)
    subprocess.run(["cc", "-c", "toy.c"], cwd=tmp_path, check=True)
    subprocess.run(["g++", "-std=c++98", "-Wall", "-Werror", "app.cpp", "toy.o", "-o", "app"], cwd=tmp_path, check=True)
    assert subprocess.run(["./app"], cwd=tmp_path, check=False).returncode == 0


#: Where Debian keeps the headers that clang does not bring.
NEWLIB, GLIBC = ("-isystem", "/usr/lib/arm-none-eabi/include"), ("-isystem", "/usr/aarch64-linux-gnu/include")
CROSS = (
    ("arm-none-eabi-gcc", ("-mcpu=cortex-m4", "-mthumb")),
    ("arm-none-eabi-gcc", ("-mcpu=cortex-m0", "-mthumb")),
    ("arm-none-eabi-gcc", ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard")),
    ("aarch64-linux-gnu-gcc", ()),
    ("aarch64-linux-gnu-gcc", ("-mcpu=cortex-a76",)),
    ("cc", ()),
    ("clang", ()),
    ("clang", ("--target=arm-none-eabi", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", *NEWLIB)),
    ("clang", ("--target=arm-none-eabi", "-mcpu=cortex-m3", "-mthumb", *NEWLIB)),
    ("clang", ("--target=arm-none-eabi", "-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard", *NEWLIB)),
    ("clang", ("--target=aarch64-linux-gnu", "-mcpu=cortex-a76", *GLIBC)),
)


@pytest.mark.parametrize(("compiler", "flags"), CROSS)
@pytest.mark.parametrize(("act", "weight"), [("int8", "int8"), ("int8", "int4"), ("e4m3", "e4m3")])
def test_cross_compiles_without_warnings_and_without_libraries(tmp_path, compiler, flags, act, weight):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    absent = next((place for place in flags if place.startswith("/") and not Path(place).is_dir()), None)
    if absent is not None:
        pytest.skip(f"the headers are not at {absent}")
    written(toy_graph(find_format(act), find_format(weight)), tmp_path)
    for tap in ((), ("-DEDGEMILL_TAP",)):
        command = [compiler, *STRICT, "-O2", *flags, *tap, "-c", "toy.c", "-o", "toy.o"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    source = (tmp_path / "toy.c").read_text()
    included = {line for line in source.splitlines() if line.startswith("#include")}
    compilers_own = {"#include <arm_acle.h>", "#include <arm_mve.h>", "#include <arm_neon.h>"}
    assert included <= {'#include "toy.h"', "#include <string.h>"} | compilers_own
    assert "malloc" not in source


@needs_cc
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_builds_and_ctest_runs_the_vectors(tmp_path):
    written(toy_graph(), tmp_path)
    for command in (["cmake", "-S", ".", "-B", "build"], ["cmake", "--build", "build"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run(["ctest", "--test-dir", "build"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "100% tests passed, 0 tests failed out of 1" in done.stdout


def test_facts_count_what_the_files_hold(tmp_path):
    graph = toy_graph()
    facts, _ = written(graph, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["CMakeLists.txt", "toy.c", "toy.h", "toy_python.py", "toy_test.c", "toy_vectors.h"]
    assert facts["layout"] == "NHWC" and facts["sources"] == ["toy.c"]
    assert f"#define TOY_ARENA_BYTES {facts['arena_bytes']}\n" in (tmp_path / "toy.h").read_text()
    # Blocks of four channels by four taps, and a bias, a mantissa and a shift for each channel of a block.
    # Vector loads may read 48 bytes behind the blocks.
    weights = 8 * 28 + 48 + 8 * 9 + 12 * 8 + 48
    assert facts["weight_bytes"] == weights + (8 + 8 + 12) * (4 + 4 + 4) + 2 * (4 + 1)


def test_only_the_kernels_that_are_used_are_written(tmp_path):
    both = quant(INT8, 0.02)
    graph = unary_graph(ops.MaxPool(kernel=(2, 2), strides=(2, 2)), both, (1, 3, 4, 4), both, (1, 3, 2, 2))
    written(graph, tmp_path)
    source = (tmp_path / "toy.c").read_text()
    assert "max_pool(" in source and "requant_int8" not in source and "arena[" not in source


def test_names_of_nodes_cannot_break_the_file(tmp_path):
    both = quant(INT8, 0.02)
    tensors = {"x": Tensor((1, 4), both), "y": Tensor((1, 4), both)}
    nasty = 'a */ evil(); /* "\\\n#error ü'
    graph = check(Graph("g", "x", "y", (Node(nasty, ops.Requantize(), ("x",), "y"),), tensors))
    written(graph, tmp_path)
    source = (tmp_path / "toy.c").read_text()
    assert "*/ evil" not in source and "\n#error" not in source and source.isascii()


def unwritten(graph: Graph, folder: Path, match: str) -> None:
    empty = np.zeros((1, *graph.shape(graph.input)[1:]), graph.quant(graph.input).format.dtype)
    with pytest.raises(ExportError, match=match):
        TARGET.write(Source("toy", graph, empty, empty), folder)
    assert list(folder.iterdir()) == []


def test_what_it_cannot_do_is_refused_by_name_and_nothing_is_written(tmp_path):
    wide = quant(find_format("uint12"), 0.02)
    unwritten(unary_graph(ops.Requantize(), wide, (1, 4), wide, (1, 4)), tmp_path, "activation 'x' is uint12")
    both = quant(INT8, 0.02)
    unwritten(unary_graph(ops.Softmax(), both, (1, 4), both, (1, 4)), tmp_path, "node 'node' is a Softmax")
    far = Quant(INT8, (0.5,), 1 << 20)
    unwritten(unary_graph(ops.Requantize(), far, (1, 4), both, (1, 4)), tmp_path, "zero point 1048576")
    pool = ops.AveragePool(kernel=(1, 1), strides=(1, 1), pads=(1, 1, 1, 1))
    unwritten(unary_graph(pool, both, (1, 1, 2, 2), both, (1, 1, 4, 4)), tmp_path, "window of only padding")
    pad = ops.Pad(before=(0, 1, 0, 0, 0), after=(0, 0, 0, 0, 0))
    unwritten(unary_graph(pad, both, (1, 1, 1, 1, 2), both, (1, 2, 1, 1, 2)), tmp_path, "5 axes")


def test_a_part_without_vectors_is_refused(tmp_path):
    graph = toy_graph()
    none = random_codes(graph, 1)[:0]
    with pytest.raises(ExportError, match="no test vectors"):
        TARGET.write(Source("toy", graph, none, none), tmp_path)


def test_capability_names_every_format_that_one_or_two_bytes_hold():
    assert {fmt.name for fmt in FORMATS if fmt.bits <= 8} <= set(TARGET.capability.activations)
    assert "int16" in TARGET.capability.weights and "uint16" not in TARGET.capability.weights


def test_opening_a_part_of_another_target_says_so(tmp_path):
    with pytest.raises(ExportError, match="export the part for target arm-m first"):
        RUNTIME.open(tmp_path, "toy", toy_graph())
