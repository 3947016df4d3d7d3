"""Bundles from Python: any target, files and arrays, batches, and clear refusals."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.app import BATCH, Answer, load
from edge.errors import EdgeError
from export.bundle import write_bundle
from export.bundle_read import Bundle
from export.errors import ExportError
from export.preprocess import Preprocess
from export.resize import resized
from export.targets import find_target
from quant.program import lower
from quant.reference import dequantise, quantise_input, run
from tests.bundles import toy_spec
from tests.embedded import bundle, images, reference, spec
from tests.house import ROOT

HEAVY = {"torch", "onnx", "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "sklearn", "PIL", "rich"}
TARGETS = ("host", "arm-a", "arm-m", "fpga")


def toy(folder: Path, target: str, *, split: bool = False) -> Bundle:
    """A bundle of the toy network whose scores are the outputs themselves."""
    return write_bundle(folder / "b", replace(toy_spec(split=split), postprocess=None), find_target(target))


def outputs(made: Bundle, raw: np.ndarray) -> np.ndarray:
    """What the integer reference makes of raw images, dequantised, [N, labels]."""
    graph, quant = made.parts[0].graph, made.parts[-1].graph.quant(made.parts[-1].graph.output)
    codes = quantise_input(graph.quant(graph.input), made.manifest.preprocess.apply(raw.transpose(0, 3, 1, 2)))
    for part in made.parts:
        codes = run(lower(part.graph), codes)[part.graph.output]
    return dequantise(quant, codes).reshape(len(raw), -1)


@pytest.mark.parametrize("runtime", ["reference", None])
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_answers_as_the_reference_does(tmp_path, target, runtime):
    made, raw = toy(tmp_path, target), images(24, (8, 8, 3))
    expected, step = outputs(made, raw), made.parts[0].record.output.scale
    with load(tmp_path / "b", runtime) as network:
        answers = network.classify_all(raw)
        exact = network.executed_by in ("reference", "c-host")
        assert (network.executed_by == "reference") or runtime is None
    scores = np.stack([answer.scores for answer in answers])
    assert np.abs(scores - expected).max() <= (0 if exact else 2.01 * step)
    assert [answer.label for answer in answers] == [made.manifest.labels[k] for k in scores.argmax(axis=1)]
    assert len({answer.label for answer in answers}) > 1


def test_emulators_and_simulators_are_not_chosen_but_can_be_named(tmp_path):
    toy(tmp_path, "fpga")
    with load(tmp_path / "b") as network:
        assert network.executed_by == "reference"


def test_a_divided_network_is_one_classifier(tmp_path):
    made, raw = toy(tmp_path, "arm-m", split=True), images(5, (8, 8, 3))
    for runtime in ("reference", None):
        with load(tmp_path / "b", runtime) as network:
            scores = np.stack([answer.scores for answer in network.classify_all(raw)])
        assert np.array_equal(scores, outputs(made, raw))


def test_probabilities_files_arrays_and_batches(tmp_path):
    made, raw = bundle(tmp_path / "b", spec()), images(2 * BATCH + 3)
    best = reference(made, raw).astype(int).argmax(axis=1)
    np.save(tmp_path / "one.npy", raw[0])
    with load(made.path, "reference") as network:
        answers = network.classify_all(raw)
        assert [answer.label for answer in answers] == [network.labels[k] for k in best]
        label, scores = network.classify(raw[0])
        assert isinstance(network.classify(raw[0]), Answer)
        assert (scores.dtype, scores.shape) == (np.float32, (5,)) and label == answers[0].label
        assert float(scores.sum()) == pytest.approx(1, abs=1e-5) and scores.min() > 0
        assert np.array_equal(network.classify(str(tmp_path / "one.npy")).scores, scores)
        assert network.classify_all([]) == []


def test_image_files_become_what_the_network_takes(tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    made, raw = bundle(tmp_path / "b", spec(), resize="crop-bilinear"), images(1, (40, 30, 3))[0]
    for name in ("x.png", "x.ppm"):
        pillow.fromarray(raw).save(tmp_path / name)
    pillow.fromarray(raw).convert("L").save(tmp_path / "grey.png")
    small = resized(made.manifest.preprocess, raw)
    with load(made.path, "reference") as network:
        expected = network.classify(small).scores
        for image in (raw, tmp_path / "x.png", tmp_path / "x.ppm"):
            assert np.array_equal(network.classify(image).scores, expected)
        assert not np.array_equal(network.classify(tmp_path / "grey.png").scores, expected)
        with pytest.raises(EdgeError, match=r"gone\.png is not a readable image"):
            network.classify(tmp_path / "gone.png")
        (tmp_path / "bad.npy").write_bytes(b"no")
        with pytest.raises(EdgeError, match=r"bad\.npy is not a readable array"):
            network.classify(tmp_path / "bad.npy")


def test_wrong_images_are_refused_with_what_would_do(tmp_path):
    made = bundle(tmp_path / "b", spec())
    with load(made.path, "reference") as network:
        with pytest.raises(EdgeError, match=r"is float64 \[6, 6, 3\]; the network takes uint8 \[6, 6, 3\]"):
            network.classify(np.zeros((6, 6, 3)))
        with pytest.raises(EdgeError, match="Transpose it: channels come last"):
            network.classify(np.zeros((3, 6, 6), np.uint8))
        with pytest.raises(EdgeError, match=r"uint8 \[6, 6\]; the network takes uint8 \[6, 6, 3\]"):
            network.classify(np.zeros((6, 6), np.uint8))
        with pytest.raises(ExportError, match="of 9x7 pixels; the network takes 6x6, and its pre-processing"):
            network.classify(np.zeros((7, 9, 3), np.uint8))


def test_features_of_another_type_are_taken_as_declared(tmp_path):
    given = Preprocess(3, 6, 6, 0.04, (0.1,) * 3, (1.0,) * 3, raw="int8")
    made = bundle(tmp_path / "b", spec(preprocess=given))
    raw = images(3).view(np.int8)
    with load(made.path, "reference") as network:
        best = reference(made, raw).astype(int).argmax(axis=1)
        assert [answer.label for answer in network.classify_all(raw)] == [network.labels[k] for k in best]
        with pytest.raises(EdgeError, match="takes int8 with 3 channels, which image files do not hold"):
            network.classify("x.png")


def test_runtimes_that_do_not_fit_and_damaged_bundles_are_refused(tmp_path):
    made = bundle(tmp_path / "b", spec())
    with pytest.raises(EdgeError, match=r"'verilator' executes bundles for fpga; .* is for arm-m: reference, c-host"):
        load(made.path, "verilator")
    with pytest.raises(ExportError, match="is not a folder"):
        load(tmp_path / "none")
    (made.path / "labels.txt").write_text("changed\n")
    with pytest.raises(ExportError, match=r"labels\.txt"):
        load(made.path)


def fresh(program: str, cwd: Path) -> str:
    """Run a program in a new interpreter."""
    surroundings = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, env=surroundings, capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_using_a_bundle_loads_nothing_heavy(tmp_path):
    bundle(tmp_path / "b", spec())
    program = (
        "import sys, numpy; from edge.app import load; n = load('b', 'reference'); "
        "n.classify(numpy.zeros((6, 6, 3), numpy.uint8)); print(' '.join(sys.modules))"
    )
    loaded = set(fresh(program, tmp_path).split())
    assert "edge.app" in loaded and loaded & HEAVY == set()


def test_the_example_of_the_readme_runs(tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    folder, image = re.search(r'load\("(.*?)"\)', program)[1], re.search(r'classify\("(.*?)"\)', program)[1]
    (tmp_path / folder).parent.mkdir(parents=True)
    bundle(tmp_path / folder, spec())
    pillow.fromarray(images(1)[0]).save(tmp_path / image)
    label, score = fresh(program, tmp_path).rsplit(maxsplit=1)
    assert label in load(tmp_path / folder, "reference").labels
    assert 0 < float(score) <= 1
