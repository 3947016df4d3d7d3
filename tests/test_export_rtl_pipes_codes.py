"""Pipes from codes to codes against the reference: all pairs where there are few, corners and random ones else."""

from __future__ import annotations

import numpy as np
import pytest

from export.rtl.stream.pipes.add import add
from export.rtl.stream.pipes.divide import divide
from export.rtl.stream.pipes.linear import linear
from export.rtl.stream.pipes.mul import mul
from export.rtl.stream.pipes.table import minimum, requantize, table
from export.rtl.stream.pipes.wide_add import wide_add
from quant import operators as ops
from quant.fixedpoint import wide_multiplier
from quant.formats import find_format
from quant.graph import Graph, Node, Quant, Tensor
from quant.program import Program, _step
from quant.reference import _divide, execute
from quant.steps import AddStep, AveragePoolStep, MinimumStep, TableStep, WideAddStep
from tests.rtl_pipes import Drive, lint, needs_icarus, needs_verilator, simulate

#: operator, formats of a, b and y, their scales, their zero points, clip
PAIRS = (
    ("add", "int8 int8 int8", (0.05, 0.03, 0.07), (3, -5, 7), None),
    ("add", "int8 int8 int8", (0.05, 0.05, 0.1), (0, 0, 0), None),
    ("add", "int8 int8 int8", (0.05, 0.05, 0.05), (-128, 0, -128), (0.0, 6.0)),
    ("add", "int8 int8 int8", (0.0011, 3.7, 4.1), (0, 1, -1), None),
    ("add", "uint8 int8 uint8", (0.02, 0.03, 0.02), (0, -5, 128), None),
    ("add", "int4 int4 int4", (0.5, 0.4, 0.6), (0, 0, 0), None),
    ("add", "int4 int4 int4", (0.5, 0.5, 1.0), (0, 0, 0), None),
    ("add", "int8 int4 int5", (0.05, 0.4, 0.2), (1, 2, 3), (0.0, 6.0)),
    ("add", "int8 int8 int8", (0.05, 0.03, 0.07), (3, -5, 7), (-9.0, -1.0)),
    ("add", "int16 int16 int16", (0.001, 0.0007, 0.0013), (0, 0, 0), None),
    ("add", "int12 int8 int8", (0.001, 0.02, 0.04), (0, 9, -9), None),
    ("add", "int16 int16 int16", (0.001, 0.001, 0.002), (0, 0, 0), None),
    ("add", "e4m3 e4m3 e4m3", (0.05, 0.03, 0.06), (0, 0, 0), None),
    ("add", "e4m3 e4m3 e4m3", (0.5, 0.5, 0.5), (0, 0, 0), (0.0, 1e9)),
    ("add", "e5m2 e5m2ocp e5m2", (0.5, 0.8, 0.7), (0, 0, 0), None),
    ("add", "e3m2 e3m2 e3m2", (0.5, 0.8, 0.7), (0, 0, 0), None),
    ("add", "e2m1 e2m1 e2m1", (0.5, 0.8, 0.7), (0, 0, 0), (-2.0, 3.0)),
    ("add", "int8 e4m3fn e4m3fn", (0.5, 0.08, 0.07), (7, 0, 0), None),
    ("mul", "int8 int8 int8", (0.05, 0.03, 0.07), (3, -5, 7), None),
    ("mul", "uint8 int8 int8", (0.01, 0.05, 0.05), (0, 0, -128), (0.0, 3.0)),
    ("mul", "int16 int16 int16", (0.001, 0.001, 0.01), (0, 0, 0), None),
    ("mul", "int4 int4 int4", (0.5, 0.4, 0.9), (0, 1, 0), None),
    ("mul", "e4m3 e4m3 e4m3", (0.05, 0.03, 0.1), (0, 0, 0), None),
    ("mul", "e2m3 e3m2 e3m4", (0.5, 0.3, 0.6), (0, 0, 0), (0.0, 4.0)),
    ("mul", "e2m1 e2m1 e2m1", (0.5, 0.3, 0.6), (0, 0, 0), None),
    ("mul", "int8 e2m1 e4m3", (0.5, 0.3, 0.6), (4, 0, 0), None),
    ("mul", "e1m6 e2m0 e4m1", (0.5, 0.3, 0.6), (0, 0, 0), None),
)
SINGLES = (
    ("int8 int8", (0.05, 0.07), (3, -2)),
    ("int8 int4", (0.05, 0.7), (3, 1)),
    ("int16 int8", (0.0005, 0.07), (0, -2)),
    ("int12 e4m3", (0.0005, 0.07), (0, 0)),
    ("e4m3 int8", (0.05, 0.07), (0, -2)),
    ("e5m2 e4m3", (0.05, 0.07), (0, 0)),
    ("e2m1 e3m2", (0.5, 0.07), (0, 0)),
)


def _quants(names, scales, zeros):
    formats = [find_format(name) for name in names.split()]
    scales = [float(np.float32(scale)) for scale in scales]
    return [Quant(fmt, (scale,), zero) for fmt, scale, zero in zip(formats, scales, zeros, strict=True)]


def _program(operator, quants, clip=None):
    tensors = {name: Tensor((1, 2), quant) for name, quant in zip("aby"[-len(quants) :], quants, strict=True)}
    names = tuple(tensors)
    node = Node("n", operator, names[:-1], "y", clip)
    graph = Graph("g", names[0], "y", (node,), tensors)
    step = _step(graph, node)
    return Program("g", names[0], "y", (step,), tensors), step


def _codes(rng, fmt, shape):
    codes = fmt.from_ordinals(rng.integers(fmt.min_ordinal, fmt.max_ordinal + 1, shape)).astype(np.int64)
    ends = [fmt.min_ordinal, fmt.max_ordinal]
    codes[:2] = fmt.from_ordinals(np.array(ends))[:, None]
    codes[2:4] = fmt.from_ordinals(np.array(ends[::-1]))[:, None] if shape[1] == 1 else codes[2:4]
    if fmt.is_minifloat:
        codes[4] = 1 << (fmt.bits - 1)
    return codes.astype(fmt.dtype)


def _pair(rng, index, row):
    kind, names, scales, zeros, clip = row
    quants = _quants(names, scales, zeros)
    program, step = _program(ops.Add() if kind == "add" else ops.Mul(), quants, clip)
    formats = (quants[0].format, quants[1].format)
    make = {AddStep: add, WideAddStep: wide_add}.get(type(step), mul)
    lanes = 1 + index % 3
    codes = [_codes(rng, fmt, (3000 // lanes, lanes)) for fmt in formats]
    codes[0][2], codes[1][2] = codes[0][0], codes[1][1]
    ports = tuple((f"in_{name}", fmt.bits, code) for name, fmt, code in zip("ab", formats, codes, strict=True))
    drive = Drive(make(f"p{index}", step, *formats, lanes), ports, quants[2].format.bits, lanes)
    return drive, execute(program, step, dict(zip("ab", codes, strict=True)))


@needs_icarus
def test_sums_and_products_are_exact(tmp_path):
    rng = np.random.default_rng(3)
    made = [_pair(rng, index, row) for index, row in enumerate(PAIRS)]
    _compare(tmp_path, PAIRS, made)


def _compare(folder, rows, made):
    results = simulate(folder, [drive for drive, _ in made])
    for row, got, (drive, codes) in zip(rows, results, made, strict=True):
        want = codes.astype(np.int64) & ((1 << drive.out_bits) - 1)
        assert got.shape == want.shape, row
        assert np.array_equal(got, want), (row, np.argwhere(got != want)[:5])
        assert len(np.unique(want)) > 4, row


def _single(rng, index, row):
    names, scales, zeros = row
    quants = _quants(names, scales, zeros)
    program, step = _program(ops.Requantize(), quants)
    lanes = 1 + index % 2
    codes = _codes(rng, quants[0].format, (1500, lanes))
    drive = Drive(
        requantize(f"s{index}", step, quants[0].format, lanes),
        (("in_data", quants[0].format.bits, codes),),
        quants[1].format.bits,
        lanes,
    )
    return drive, execute(program, step, {"b": codes})


@needs_icarus
def test_other_formats_are_exact(tmp_path):
    rng = np.random.default_rng(4)
    _compare(tmp_path, SINGLES, [_single(rng, index, row) for index, row in enumerate(SINGLES)])


def _look_up(rng, index, names):
    x, y = (find_format(name) for name in names)
    entries = tuple(rng.integers(y.min_ordinal, y.max_ordinal + 1, 1 << x.bits).tolist())
    step = TableStep("n", "x", "y", entries, 0)
    program = Program(
        "g", "x", "y", (step,), {"x": Tensor((1, 2), Quant(x, (1.0,))), "y": Tensor((1, 2), Quant(y, (1.0,)))}
    )
    codes = _codes(rng, x, (1000, 2))
    drive = Drive(table(f"t{index}", step, x, y, 2), (("in_data", x.bits, codes),), y.bits, 2)
    return drive, execute(program, step, {"x": codes})


def _least(rng, index, name):
    fmt = find_format(name)
    limits = tuple(rng.integers(fmt.min_ordinal, fmt.max_ordinal + 1, 6).tolist()) if index else (2,) * 6
    step = MinimumStep("n", "x", "y", limits)
    program = Program("g", "x", "y", (step,), {"x": Tensor((1, 6), Quant(fmt, (1.0,)))})
    codes = fmt.from_ordinals(rng.integers(fmt.min_ordinal, fmt.max_ordinal + 1, (200, 6)))
    drive = Drive(minimum(f"m{index}", step, fmt, 2), (("in_data", fmt.bits, codes.reshape(-1, 2)),), fmt.bits, 2)
    return drive, execute(program, step, {"x": codes}).reshape(-1, 2)


@needs_icarus
def test_tables_and_limits_are_exact(tmp_path):
    rng = np.random.default_rng(5)
    formats = (("int8", "int8"), ("int4", "e4m3"), ("e4m3", "int8"), ("e2m1", "e2m1"), ("uint8", "int4"))
    tables = [_look_up(rng, index, names) for index, names in enumerate(formats)]
    names = ("int8", "uint8", "e4m3", "e2m1", "int16")
    least = [_least(rng, index, name) for index, name in enumerate(names)]
    _compare(tmp_path, formats + names, tables + least)


def _mean(rng, index, name, most, counts):
    fmt = find_format(name)
    multipliers = tuple(wide_multiplier(1 / count) for count in range(1, most + 1)) if fmt.is_minifloat else ()
    step = AveragePoolStep("n", "x", "y", ops.AveragePool(kernel=(1, 1), strides=(1, 1)), multipliers)
    lanes, reach = 1 + index % 3, max(fmt.max_units, -fmt.units_of_ordinal(fmt.min_ordinal))
    count = rng.choice(counts or range(1, most + 1), (1500, 1))
    total = (
        rng.integers(-reach if fmt.signed else 0, reach, (1500, lanes))
        * count
        // rng.choice([1, 3, 50, 1000], (1500, lanes))
    )
    total[0], total[1] = reach * count[0], (-reach if fmt.is_minifloat else fmt.min_ordinal) * count[1]
    bits = (reach * most).bit_length() + 1
    pipe = divide(f"d{index}", fmt, multipliers, most, bits, lanes, reach * most, counts)
    ports = (("in_acc", bits, total), ("in_count", most.bit_length(), count))
    return Drive(pipe, ports, fmt.bits, lanes), fmt.from_ordinals(_divide(fmt, step, total, count))


@needs_icarus
def test_means_are_exact(tmp_path):
    rng = np.random.default_rng(6)
    rows = (
        ("int8", 9, ()), ("uint8", 9, (4, 6, 9)), ("int4", 4, (4,)), ("int8", 49, ()), ("int16", 36, ()),
        ("e4m3", 9, ()), ("e5m2", 9, ()), ("e2m1", 4, (4,)), ("e3m2", 49, ()), ("e2m0", 2, ()),
    )  # fmt: skip
    made = [_mean(rng, index, *row) for index, row in enumerate(rows)]
    _compare(tmp_path, rows, made)


@pytest.mark.parametrize("row", [row for row in PAIRS if row[0] == "add" and "8 int8 " in row[1]][:4], ids=str)
def test_sums_of_eight_bits_need_no_multiplier(row):
    _, names, scales, zeros, clip = row
    quants = _quants(names, scales, zeros)
    _, step = _program(ops.Add(), quants, clip)
    assert linear(step, (quants[0].format, quants[1].format)) is not None


@needs_verilator
def test_pipes_are_clean(tmp_path):
    rng = np.random.default_rng(3)
    drives = [_pair(rng, index, row)[0] for index, row in enumerate(PAIRS)]
    drives += [_single(rng, index, row)[0] for index, row in enumerate(SINGLES)]
    drives += [_look_up(rng, 0, ("int8", "int8"))[0], _least(rng, 2, "e4m3")[0]]
    drives += [_mean(rng, 0, "int8", 9, ())[0], _mean(rng, 1, "e4m3", 9, ())[0]]
    assert lint(tmp_path, [drive.pipe for drive in drives]) == ""
