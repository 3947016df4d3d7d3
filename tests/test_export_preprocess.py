"""Pre-processing: the formula, its JSON form, and what it refuses."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.errors import ExportError
from export.preprocess import Preprocess

RGB = Preprocess(3, 4, 5, 1 / 255, (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))
FINITE = st.floats(-1e3, 1e3)
POSITIVE = st.floats(1e-3, 1e3)


def test_the_formula():
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 5), dtype=np.uint8)
    out = RGB.apply(images)
    assert (out.dtype, out.shape) == (np.float32, images.shape)
    for n, c, h, w in [(0, 0, 0, 0), (6, 2, 3, 4), (3, 1, 2, 2)]:
        expected = (images[n, c, h, w] / 255 - RGB.mean[c]) / RGB.std[c]
        assert out[n, c, h, w] == pytest.approx(expected, abs=1e-5)
    assert np.ptp(out) > 1


@given(scale=POSITIVE, mean=st.lists(FINITE, min_size=2, max_size=2), std=st.lists(POSITIVE, min_size=2, max_size=2))
def test_json_round_trip(scale, mean, std):
    value = Preprocess(2, 8, 9, scale, tuple(mean), tuple(std))
    assert Preprocess.from_record(json.loads(json.dumps(value.to_record()))) == value


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 3, 4, 4), (1, 1, 4, 5), (1, 4, 5, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ExportError, match=r"the network takes \[N, 3, 4, 5\]"):
        RGB.apply(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("channels", 0, "at least 1"),
        ("channels", True, "'channels' is True; it must be a whole number"),
        ("height", 4.0, "'height' is 4.0"),
        ("width", "5", "'width' is '5'"),
        ("scale", 0, "must be greater than 0"),
        ("scale", float("nan"), "must be finite"),
        ("scale", "1", "'scale' holds '1'"),
        ("mean", [0.5], "1 values of 'mean' for 3 channels"),
        ("mean", 0.5, "must be a list"),
        ("mean", [0.5, None, 0.5], "'mean' holds None"),
        ("std", [1, 1, 0], "must be greater than 0"),
        ("std", [1, 1, float("inf")], "must be finite"),
        ("layout", "NHWC", "layout 'NHWC'"),
        ("layout", 3, "must be a string"),
        ("resize", 3, "'resize' is 3; it must be a string"),
        ("resize", "cubic", "resize 'cubic' of uint8; uint8 images take nearest, bilinear"),
        ("raw", "int16", "pre-processing of 'int16' values; raw values are uint8, int8"),
        ("raw", 8, "'raw' is 8; it must be a string"),
        ("rotate", 3, "key 'rotate' is unknown"),
    ],
)
def test_bad_records_name_the_key(key, value, message):
    with pytest.raises(ExportError, match=message):
        Preprocess.from_record({**RGB.to_record(), key: value})


def test_a_missing_key_and_no_object():
    record = RGB.to_record()
    del record["std"]
    with pytest.raises(ExportError, match="key 'std' is missing"):
        Preprocess.from_record(record)
    with pytest.raises(ExportError, match="list; it must be an object"):
        Preprocess.from_record([record])
