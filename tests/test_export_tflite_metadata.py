"""Metadata of `.tflite` files (labels, normalisation) and files that end in probabilities."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.arm_a import TARGET
from export.errors import ExportError
from export.preprocess import Preprocess
from export.runtimes.litert import LITERT_REF, TFLITE_RUNTIME
from export.runtimes.tflm import TFLITE_MICRO, MicroSession
from export.target import Source
from export.tflite import encode
from export.tflite_metadata import IDENTIFIER, About
from quant import operators as ops
from quant.flatbuffer import Table, root
from quant.graph import Tensor
from quant.program import lower
from quant.reference import run
from quant.tflite_import import graph_of, load_tflite
from quant.tflite_read import parse
from tests import tflite_cases as cases
from tests import tflite_files as files
from tests.tflite_files import DATA
from tests.toys import random_codes, toy_graph

pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")
PREPROCESS = Preprocess(3, 8, 8, 1 / 255, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
LABELS = ("zero", "one", "two words", "three\nlines", "four", "five", "six", "seven", "Größe", "nine")


def source(**changes: object) -> Source:
    graph = toy_graph()
    codes = random_codes(graph, 4)
    made = Source("toy", graph, codes, run(lower(graph), codes)[graph.output], preprocess=PREPROCESS, labels=LABELS)
    return replace(made, **changes)


def written(folder: Path, **changes: object) -> bytes:
    facts = TARGET.write(source(**changes), folder)
    return (folder / str(facts["file"])).read_bytes()


def told(data: bytes) -> Table:
    """The metadata's root table."""
    model = root(data, b"TFL3", "file")
    (entry,) = (entry for entry in model.tables(6, "metadata") if entry.text(0) == "TFLITE_METADATA")
    content = model.tables(4, "buffer")[entry.integer(1, "I")].array(0, "u1").tobytes()
    return root(content, IDENTIFIER, "metadata")


def ends(data: bytes) -> tuple[Table, Table]:
    """Metadata of the input and of the output tensor."""
    (graph,) = told(data).tables(3, "subgraph")
    (first,), (last,) = (graph.tables(field, "tensor") for field in (2, 3))
    return first, last


def structure(data: bytes) -> dict[str, object]:
    """What apps look for, in the words of the schema."""
    first, last = ends(data)
    content, (unit,), (file,) = first.table(3, "content"), first.tables(4, "unit"), last.tables(6, "file")
    image, options = content.table(1, "image"), unit.table(1, "options")
    return {
        "content": (content.integer(0, "B"), image.integer(0, "b")),
        "unit": unit.integer(0, "B"),
        "normalisation": [options.array(field, "f4").size for field in (0, 1)],
        "output": last.table(3, "content").integer(0, "B"),
        "labels": (file.integer(2, "b"), file.text(0).endswith(".txt")),
        "parser": told(data).text(7)[:2],
    }


def test_normalisation_is_told_in_raw_values(tmp_path: Path):
    first, last = ends(written(tmp_path))
    (unit,) = first.tables(4, "unit")
    options = unit.table(1, "options")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8)).astype(np.uint8)
    mean, std = (options.array(field, "f4").reshape(1, 3, 1, 1) for field in (0, 1))
    np.testing.assert_allclose((pixels - mean) / std, PREPROCESS.apply(pixels), rtol=1e-5, atol=1e-5)
    assert (first.text(0), last.text(0)) == ("image", "logits")
    assert told(written(tmp_path)).text(0) == "toy"


def test_labels_are_a_file_in_a_zip_behind_the_network(tmp_path: Path):
    data = written(tmp_path)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.testzip() is None
        lines = archive.read("labels.txt").decode().splitlines()
        (info,) = archive.infolist()
    assert lines == [label.replace("\n", " ") for label in LABELS]
    # Readers without Python's leniency take the offset as it stands.
    assert data[info.header_offset : info.header_offset + 4] == b"PK\x03\x04"
    assert info.compress_type == zipfile.ZIP_STORED
    assert written(tmp_path) == data


def test_the_structure_is_that_of_corals_files(tmp_path: Path):
    path = DATA / "imagenet" / "mobilenet_v1_0.25_128_quant.tflite"
    if not path.exists():
        pytest.skip(f"there is no {path.name}")
    ours, theirs = structure(written(tmp_path)), structure(path.read_bytes())
    assert ours.pop("normalisation") == [3, 3]
    assert theirs.pop("normalisation") == [1, 1]
    assert ours == theirs


def test_features_without_labels_and_parts_in_between(tmp_path: Path):
    features = Preprocess(2, 8, 8, 1.0, (0.0, 0.0), (1.0, 1.0))
    first, last = ends(written(tmp_path, preprocess=features, labels=()))
    assert (first.text(0), first.table(3, "content").integer(0, "B"), last.has(6)) == ("features", 1, False)
    assert not zipfile.is_zipfile(io.BytesIO(written(tmp_path, labels=())))
    first, last = ends(written(tmp_path, preprocess=None))
    assert (first.has(4), last.has(6)) == (False, True)
    bare = written(tmp_path, preprocess=None, labels=())
    assert bare == encode(toy_graph())
    assert not root(bare, b"TFL3", "file").has(6)


def test_runtimes_and_the_importer_read_on(tmp_path: Path):
    data = written(tmp_path)
    again = load_tflite(tmp_path / "toy.tflite")
    codes = random_codes(again, 4)
    expected = cases.expected(toy_graph(), codes)["y"]
    np.testing.assert_array_equal(cases.expected(again, codes)["y"], expected)
    if TFLITE_MICRO.missing() is None:
        session = MicroSession(data, toy_graph())
        np.testing.assert_array_equal(session.run(codes), expected)
        np.testing.assert_array_equal(session.tensors(codes)["c"], cases.expected(toy_graph(), codes)["c"])


MAKERS = (
    (TFLITE_MICRO, lambda data: files.micro(data, 1, 1 << 22)),
    (LITERT_REF, files.reference_kernels),
    (TFLITE_RUNTIME, files.old_reference_kernels),
)


@pytest.mark.parametrize(("runtime", "maker"), MAKERS, ids=[runtime.name for runtime, _ in MAKERS])
def test_a_file_may_end_in_probabilities(runtime, maker):
    reason = runtime.missing()
    if reason is not None:
        pytest.skip(reason)
    graph = toy_graph()
    codes = random_codes(graph, 16)
    logits = cases.expected(graph, codes)["y"]
    real = (logits.astype(float) - graph.quant("y").zero) * graph.quant("y").scale[0]
    raised = np.exp(real - real.max(1, keepdims=True))
    invoke = maker(encode(graph, softmax=True))
    found = np.concatenate([invoke(image[None])[0] for image in np.ascontiguousarray(codes.transpose(0, 2, 3, 1))])
    steps = found.astype(float) + 128 - 256 * raised / raised.sum(1, keepdims=True)
    # All of 1 is one step above the largest code.
    assert np.abs(steps).max() <= 1
    np.testing.assert_array_equal(found.argmax(1), logits.argmax(1))
    assert np.unique(logits.argmax(1)).size > 2
    again = graph_of(parse(encode(graph, softmax=True), "again"))
    np.testing.assert_array_equal(cases.expected(again, codes)["y"], logits)


def test_the_second_file_is_written_on_request(tmp_path: Path):
    facts = TARGET.write(source(probabilities=True), tmp_path)
    assert facts["softmax_file"] == "toy_softmax.tflite"
    assert facts["output_scale"] == toy_graph().quant("y").scale[0]
    assert ends((tmp_path / "toy_softmax.tflite").read_bytes())[1].text(0) == "probability"
    assert {path.name for path in tmp_path.iterdir()} == {"toy.tflite", "toy_softmax.tflite"}


def test_probabilities_need_logits():
    x = Tensor((1, 4, 5, 5), cases.quant(0.1))
    with pytest.raises(ExportError, match=r"the output has shape \[1, 4, 5, 5\]"):
        encode(cases.one(ops.Clip(low=0.0, high=6.0), x, x), softmax=True)


def test_equal_facts_give_equal_bytes():
    about = About("toy", PREPROCESS, LABELS, "logits")
    assert encode(toy_graph(), about=about) == encode(toy_graph(), about=about)
    assert encode(toy_graph(), about=about) != encode(toy_graph(), about=replace(about, name="other"))
