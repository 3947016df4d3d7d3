"""What surrounds generated C: raw values to codes, resize, labels, and the Python file that calls them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from export.arm_m import TARGET
from export.bundle import write_bundle
from export.preprocess import RESIZES, Preprocess
from export.resize import resized
from quant.formats import find_format
from quant.reference import dequantise, quantise_input
from tests.bundles import toy_spec
from tests.embedded import CHECKED, RGB, STRICT, bundle, images, library, reference, spec

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")

KWS = Preprocess(3, 6, 6, 0.04, (0.1, 0.1, 0.1), (1.0, 1.0, 1.0), raw="int8")
GREY = replace(RGB, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@pytest.mark.parametrize("given", [RGB, GREY, KWS], ids=["rgb", "grey", "int8"])
@pytest.mark.parametrize("act", ["int8", "uint8", "int16", "int4", "e4m3", "e2m1"])
def test_the_table_gives_the_codes_of_the_python_path_for_every_raw_value(tmp_path, given, act):
    made = bundle(tmp_path / "b", spec(preprocess=given, act=find_format(act)))
    part = made.parts[0]
    network = library(part.folder, part.stem).Network()
    # Every value of every channel, and some twice: eight images of 36 pixels.
    raw = np.repeat(np.arange(288).astype(np.uint8), 3).reshape(8, 6, 6, 3).view(given.raw)
    expected = quantise_input(part.graph.quant("x"), given.apply(raw.transpose(0, 3, 1, 2)))
    codes = np.stack([network.preprocess(image) for image in raw])
    assert np.array_equal(codes.transpose(0, 3, 1, 2), expected)
    assert codes.dtype == expected.dtype
    assert all(len(np.unique(codes[..., channel])) > 4 for channel in range(3))


@pytest.mark.parametrize("act", ["int8", "int16", "e4m3", "e3m2"])
def test_raw_images_in_labels_and_scores_out(tmp_path, act):
    made = bundle(tmp_path / "b", spec(act=find_format(act)))
    part, raw = made.parts[0], images(40)
    graph, outputs = part.graph, reference(made, raw)
    network = library(part.folder, part.stem).Network()
    answers = [network.classify(image) for image in raw]
    expected = graph.quant("y").format.to_ordinals(outputs).argmax(axis=1)
    assert [label for label, _ in answers] == [made.manifest.labels[k] for k in expected]
    assert len(set(expected.tolist())) > 1
    values = dequantise(graph.quant("y"), outputs).astype(np.float64)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    np.testing.assert_allclose([s for _, s in answers], powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("act", ["int8", "uint8", "int16", "e4m3", "e2m1", "e4m3fn"])
def test_ties_go_to_the_first_and_every_code_has_its_value(tmp_path, act):
    fmt = find_format(act)
    part = bundle(tmp_path / "b", spec(act=fmt)).parts[0]
    module = library(part.folder, part.stem)
    network, rng = module.Network(), np.random.default_rng(3)
    for _ in range(200):
        ordinals = rng.integers(fmt.min_ordinal, fmt.max_ordinal + 1, 5)
        ordinals[rng.integers(0, 5, 2)] = ordinals.max()
        codes = fmt.from_ordinals(ordinals)
        if fmt.is_minifloat:
            codes = np.where(ordinals == 0, rng.choice([0, 1 << (fmt.bits - 1)], 5), codes).astype(fmt.dtype)
        assert network.label(codes) == module.LABELS[int(fmt.to_ordinals(codes).argmax())]
    every = fmt.from_ordinals(np.arange(fmt.min_ordinal, fmt.max_ordinal + 1)[:: max(1, fmt.max_ordinal // 500)])
    assert np.array_equal(network.values(every), dequantise(part.graph.quant("y"), every))


@pytest.mark.parametrize("method", RESIZES)
def test_resize_in_c_equals_resize_in_python(tmp_path, method):
    made = bundle(tmp_path / "b", spec(), resize=method)
    part, given = made.parts[0], made.manifest.preprocess
    network, rng = library(part.folder, part.stem).Network(), np.random.default_rng(5)
    sides = [(6, 6), (1, 1), (1, 200), (200, 1), (7, 9), (16, 16), (31, 6), (6, 31), (16384, 3), (2, 16384)]
    sides += [tuple(side) for side in rng.integers(1, 300, (60, 2)).tolist()]
    for height, width in sides:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        assert np.array_equal(network.resize(image), resized(given, image)), (height, width)
    label, _ = network.classify(image)
    codes = reference(made, resized(given, image)[None])
    assert label == made.manifest.labels[int(codes.argmax())]
    with pytest.raises(ValueError, match="cannot resize"):
        network.resize(np.zeros((16385, 1, 3), np.uint8))
    with pytest.raises(ValueError, match="takes uint8"):
        network.resize(np.zeros((9, 9, 1), np.uint8))


def test_the_c_is_clean_under_sanitizers_and_in_place(tmp_path):
    folder = bundle(tmp_path / "b", spec(), resize="crop-bilinear").parts[0].folder
    (folder / "main.c").write_text("""
#include <stdio.h>
#include <stdlib.h>
#include "toy_labels.h"
#include "toy_preprocess.h"
static TOY_ARENA(arena);
int main(void)
{
    static const int sides[][2] = {{8, 8}, {1, 1}, {1, 77}, {300, 2}, {120, 160}};
    union { toy_raw_t raw[TOY_INPUT_SIZE]; toy_input_t codes[TOY_INPUT_SIZE]; } both;
    toy_input_t apart[TOY_INPUT_SIZE];
    toy_output_t output[TOY_OUTPUT_SIZE];
    toy_t network;
    int i, k, wrong = 0;
    if (toy_init(&network, arena, sizeof arena) != TOY_OK) {
        return 1;
    }
    for (i = 0; i < 5; i++) {
        const size_t bytes = (size_t)sides[i][0] * (size_t)sides[i][1] * TOY_INPUT_CHANNELS;
        uint8_t *image = malloc(bytes);
        for (k = 0; image && k < (int)bytes; k++) {
            image[k] = (uint8_t)(k * 37 + i);
        }
        wrong += toy_resize(image, sides[i][0], sides[i][1], both.raw) != TOY_OK;
        free(image);
        toy_preprocess(both.raw, apart);
        toy_preprocess(both.raw, both.codes);
        for (k = 0; k < TOY_INPUT_SIZE; k++) {
            wrong += apart[k] != both.codes[k];
        }
        toy_invoke(&network, apart, output);
        wrong += toy_margin(output) < 0.0f || toy_labels[toy_classify(output)] == NULL;
    }
    wrong += toy_resize(both.raw, 0, 5, both.raw) != TOY_ERROR_IMAGE_SIZE;
    puts(toy_labels[1]);
    return wrong;
}
""")
    sources = ("toy.c", "toy_preprocess.c", "toy_labels.c")
    command = ["cc", *STRICT, *CHECKED, "main.c", *sources, "-o", "main"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    done = subprocess.run([folder / "main"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "eins\\n\n", "")


def test_only_the_first_part_takes_raw_values_and_only_the_last_gives_labels(tmp_path):
    made = write_bundle(tmp_path / "b", toy_spec(split=True), TARGET)
    names = [sorted(path.name for path in part.folder.glob("toy_*")) for part in made.parts]
    assert "toy_head_preprocess.c" in names[0] and "toy_head_labels.c" not in names[0]
    assert "toy_tail_labels.c" in names[1] and "toy_tail_preprocess.c" not in names[1]
    assert not any(name.endswith(".hpp") for pair in names for name in pair)
    head, tail = (library(part.folder, part.stem).Network() for part in made.parts)
    assert not hasattr(head, "label") and not hasattr(tail, "preprocess")
    codes = made.parts[0].inputs.transpose(0, 2, 3, 1)
    middle = [head.invoke(image).reshape(4, 4, 8) for image in codes]
    outputs = np.stack([tail.invoke(image) for image in middle])
    assert np.array_equal(outputs, made.parts[1].outputs.reshape(outputs.shape))
    assert tail.label(outputs[0]) == made.manifest.labels[int(outputs[0].argmax())]


def test_float_features_have_no_table(tmp_path):
    made = toy_spec()
    floats = replace(made.preprocess, raw="float32")
    folder = write_bundle(tmp_path / "b", replace(made, preprocess=floats), TARGET).parts[0].folder
    assert not (folder / "toy_preprocess.c").exists()
    module = library(folder, "toy")
    assert module.RAW_DTYPE is None and not hasattr(module.Network, "classify")


def test_the_python_file_refuses_what_is_wrong(tmp_path):
    part = bundle(tmp_path / "b", spec()).parts[0]
    module = library(part.folder, part.stem)
    network = module.Network()
    with pytest.raises(ValueError, match=r"takes uint8 of shape \(6, 6, 3\), not float64"):
        network.classify(np.zeros((6, 6, 3)))
    with pytest.raises(ValueError, match=r"not uint8 \(3, 6, 6\)"):
        network.classify(np.zeros((3, 6, 6), np.uint8))
    with pytest.raises(OSError, match="libnone"):
        module.Network(tmp_path / "libnone.so")
