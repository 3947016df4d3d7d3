"""A `.tflite` file cut behind a tensor: the operators before it stay as they are, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.arm_a_original import left_over
from export import arm_a
from export.errors import ExportError
from export.runtimes.tflite_part import node_outputs
from export.target import Source
from export.tflite_flat import ending_at, read
from quant.formats import INT8
from quant.program import lower
from quant.reference import run
from quant.tflite_import import load_tflite
from tests.toys import random_codes, toy_graph


def _file(folder: Path) -> tuple[bytes, tuple[str, ...]]:
    graph = toy_graph(INT8, INT8, 1)
    arm_a.TARGET.write(Source("net", graph, random_codes(graph, 2), random_codes(graph, 0)), folder)
    return (folder / "net.tflite").read_bytes(), node_outputs(graph)


def test_what_comes_before_computes_the_same(tmp_path: Path) -> None:
    graph = toy_graph(INT8, INT8, 1)
    data, names = _file(tmp_path)
    (tmp_path / "cut.tflite").write_bytes(ending_at(data, names[0]))
    cut = load_tflite(tmp_path / "cut.tflite")
    codes = random_codes(graph, 4)
    made = run(lower(cut), codes)[cut.output]
    assert np.array_equal(made, run(lower(graph), codes)[names[0]])
    assert len(np.unique(made)) > 10
    assert len({tuple(image.ravel()) for image in made}) == 4


def test_the_last_tensor_cuts_nothing(tmp_path: Path) -> None:
    data, names = _file(tmp_path)
    whole, first = read(ending_at(data, names[-1])), read(ending_at(data, names[0]))
    count = len(read(data).subgraphs[0].operators)
    assert len(whole.subgraphs[0].operators) == count > len(first.subgraphs[0].operators) == 1


def test_no_such_tensor_and_no_such_operator(tmp_path: Path) -> None:
    data, _ = _file(tmp_path)
    with pytest.raises(ExportError, match="no tensor 'nobody'"):
        ending_at(data, "nobody")
    given = read(data).subgraphs[0]
    name = given.tensors[given.inputs[0]].name.decode()
    with pytest.raises(ExportError, match=r"no operator .* makes the tensor"):
        ending_at(data, name)


def test_what_delegates_left_over() -> None:
    own = [
        ("CONV_2D", [0, 1, 2], [3]),
        ("CONV_2D", [3, 4, 5], [6]),
        ("POOL", [6], [7]),
        ("CONV_2D", [7, 8, 9], [10]),
        ("SOFTMAX", [10], [11]),
    ]
    assert left_over(own) == ("CONV_2D", "CONV_2D", "POOL", "CONV_2D", "SOFTMAX")
    first, second = ("DELEGATE", [0, 1, 2, 4, 5], [6]), ("DELEGATE", [8, 9, 7], [10])
    assert left_over([*own, first]) == ("POOL", "CONV_2D", "SOFTMAX")
    assert left_over([*own, first, second]) == ("POOL", "SOFTMAX")
    assert left_over([*own, ("DELEGATE", [0], [11])]) == ()
