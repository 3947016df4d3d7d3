"""Binary networks: the reference against one written number by number, thresholds, files, and what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant.binary import BinaryWeight, signs
from quant.binary_file import load, save, to_bytes
from quant.binary_net import Affine, Threshold, check, run, thresholds
from quant.errors import QuantError
from tests.binary_nets import binary_network, images


def windows(x, kernel, strides, pads, fill):
    """Yield output position and padded window, one by one."""
    top, left, bottom, right = pads
    image = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=fill)
    rows = (image.shape[1] - kernel[0]) // strides[0] + 1
    columns = (image.shape[2] - kernel[1]) // strides[1] + 1
    for i, j in product(range(rows), range(columns)):
        first, left_end = i * strides[0], j * strides[1]
        yield (i, j), image[:, first : first + kernel[0], left_end : left_end + kernel[1]]


def convolved(x, weight, strides, pads, fill=0.0):
    """Convolve one image in double precision."""
    found = {at: (seen * weight).sum(axis=(1, 2, 3)) for at, seen in windows(x, weight.shape[2:], strides, pads, fill)}
    rows, columns = (max(at[axis] for at in found) + 1 for axis in (0, 1))
    return np.stack([found[i, j] for i, j in product(range(rows), range(columns))], -1).reshape(-1, rows, columns)


def pooled(x, strides):
    """Average what is inside of every window."""
    rows, columns = -(-x.shape[1] // strides[0]), -(-x.shape[2] // strides[1])
    made = np.zeros((len(x), rows, columns))
    for i, j in product(range(rows), range(columns)):
        part = x[:, i * strides[0] : (i + 1) * strides[0], j * strides[1] : (j + 1) * strides[1]]
        made[:, i, j] = part.mean(axis=(1, 2))
    return made


def slow(network, x):
    """Run one image in double precision; also the sums of every layer."""
    stem, found = network.stem, {}
    x = np.clip(convolved(x, stem.weight.astype(float), stem.strides, stem.pads) + stem.offset[:, None, None], -1, 1)
    for layer in network.layers:
        weight = signs(layer.weight).astype(float)
        total = convolved(np.where(x >= 0, 1.0, -1.0), weight, layer.strides, layer.pads, layer.pad_value)
        found[layer.name] = total
        if isinstance(layer.finish, Threshold):
            x = np.where(total >= layer.finish.least[:, None, None], 1.0, -1.0)
            continue
        made = layer.finish.gain[:, None, None] * total + layer.finish.offset[:, None, None]
        if layer.skip:
            made[: len(x)] += pooled(x, layer.strides)
        x = np.clip(made, -1, 1)
    return x.mean(axis=(1, 2)) @ network.head.T + network.bias, found


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_equals_one_written_number_by_number(seed):
    network = binary_network(seed)
    x, sums = images(network, 150), {}
    logits = run(network, x, sums)
    assert logits.dtype == np.float32
    assert logits.shape == (150, 3)
    for index in (0, 1, 77, 149):
        expected, totals = slow(network, x[index].astype(float))
        np.testing.assert_allclose(logits[index], expected, rtol=0, atol=1e-4)
        for name, total in totals.items():
            assert np.array_equal(sums[name][index], total), name
    assert np.ptp(logits, axis=0).min() > 0
    assert len(np.unique(logits.argmax(axis=1))) > 1


def test_a_batch_gives_the_bits_of_its_images_alone():
    network = binary_network()
    x = images(network, 130)
    alone = np.concatenate([run(network, x[i : i + 1]) for i in range(len(x))])
    assert np.array_equal(run(network, x), alone)
    assert run(network, x[:0]).shape == (0, 3)


finite = st.floats(-4, 4, width=32)


@settings(deadline=None)
@given(gain=st.one_of(st.just(0.0), st.just(-0.0), finite), offset=finite, terms=st.integers(1, 60))
def test_a_threshold_is_exactly_the_sign_of_the_affine_finish(gain, offset, terms):
    gains, offsets = np.array([gain], np.float32), np.array([offset], np.float32)
    least, flip = thresholds(gains, offsets, terms)
    for total in range(-terms, terms + 1):
        wanted = np.float32(gains[0] * np.float32(total)) + offsets[0] >= 0
        assert ((-total if flip[0] else total) >= least[0]) == wanted


def test_a_network_comes_back_exactly(tmp_path):
    network, path = binary_network(), tmp_path / "n.bnn"
    save(network, path)
    again = load(path)
    assert to_bytes(again) == to_bytes(network) == path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["n.bnn"]
    x = images(network, 20)
    assert np.array_equal(run(again, x), run(network, x))
    stored = [layer.weight.bits.nbytes for layer in again.layers]
    assert stored == [-(-9 * 5 * 9 // 8), -(-4 * 9 * 6 // 8), 3]


def test_the_bytes_depend_on_the_network_alone():
    assert to_bytes(binary_network()) == to_bytes(binary_network())
    assert to_bytes(binary_network(1)) != to_bytes(binary_network())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_refused(tmp_path, data):
    good = to_bytes(binary_network())
    place = data.draw(st.integers(0, len(good) - 1))
    flipped = bytearray(good)
    flipped[place] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(flipped), good[:place], good + b"\0" * (place + 1)):
        (tmp_path / "bad.bnn").write_bytes(bad)
        with pytest.raises(QuantError, match=r"bad\.bnn"):
            load(tmp_path / "bad.bnn")


def forged(path, change):
    """Write the network with another header, spelt as the writer spells it."""
    with zipfile.ZipFile(io.BytesIO(to_bytes(binary_network()))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["network.json"] = json.dumps(change(json.loads(files["network.json"])), indent=1, sort_keys=True).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def layer(index, **values):
    """Change one layer of a header."""
    return lambda h: {**h, "layers": [{**r, **values} if i == index else r for i, r in enumerate(h["layers"])]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: {**h, "schema": 2}, "schema 2; this version reads 1"),
        (lambda h: [h], "not a readable binary network"),
        (lambda h: {**h, "more": 1}, "not spelt as edgemill writes it"),
        (lambda h: {**h, "shape": [2, 7]}, "are not 3 whole numbers"),
        (lambda h: {**h, "shape": [3, 7, 6]}, "stem weight"),
        (lambda h: {**h, "layers": h["layers"][:2]}, "head: finite"),
        (layer(0, pad_value=2), "pads with 2"),
        (layer(0, pad_value=0.0), "are not 1 whole numbers"),
        (layer(0, weight=[9, 5, 3, 2]), "take uint8"),
        (layer(0, pads=[0, 0, 0, 0]), "does not fit the shortcut"),
        (layer(0, strides=[0, 2]), "strides are at least 1"),
        (layer(1, skip=True), "does not fit the shortcut"),
        (layer(2, skip="yes"), "not spelt as edgemill writes it"),
        (layer(2, name="down"), "every layer its own name"),
        (layer(1, finish="affine"), "not a readable binary network"),
    ],
)
def test_forged_headers_are_refused(tmp_path, change, message):
    forged(tmp_path / "f.bnn", change)
    with pytest.raises(QuantError, match=message) as caught:
        load(tmp_path / "f.bnn")
    assert "f.bnn" in str(caught.value)


def test_forging_without_change_is_accepted(tmp_path):
    forged(tmp_path / "f.bnn", lambda header: header)
    assert to_bytes(load(tmp_path / "f.bnn")) == to_bytes(binary_network())


def test_pickles_are_never_opened(tmp_path):
    content = io.BytesIO()
    np.save(content, np.array([{}], object), allow_pickle=True)
    with zipfile.ZipFile(io.BytesIO(to_bytes(binary_network()))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "p.bnn", "w") as archive:
        for name, data in {**files, "head/bias.npy": content.getvalue()}.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    with pytest.raises(QuantError, match="allow_pickle=False"):
        load(tmp_path / "p.bnn")


def with_layer(network, index, **values):
    """Change one layer of a network."""
    layers = list(network.layers)
    layers[index] = replace(layers[index], **values)
    return replace(network, layers=tuple(layers))


def test_networks_that_do_not_fit_together_are_refused(tmp_path):
    good = binary_network()
    nine, six = np.zeros(9, np.float32), np.zeros(6, np.float32)
    bad = [
        (replace(good, head=good.head[:, :5]), "head"),
        (replace(good, bias=good.bias.astype(np.float64)), "bias"),
        (replace(good, stem=replace(good.stem, weight=good.stem.weight[0])), "4 axes"),
        (with_layer(good, 0, finish=Affine(nine * np.nan, nine)), "gain"),
        (with_layer(good, 0, finish=Affine(nine, six)), "offset"),
        (with_layer(good, 0, finish=Threshold(np.zeros(9, np.int32))), "its value is added or averaged"),
        (with_layer(good, 2, finish=Threshold(np.zeros(6, np.int32))), "its value is added or averaged"),
        (with_layer(good, 2, weight=BinaryWeight((6, 5, 1, 1), np.zeros(4, np.uint8))), "it gets 4 channels"),
    ]
    for network, message in bad:
        with pytest.raises(QuantError, match=message):
            check(network)
        with pytest.raises(QuantError, match=message):
            save(network, tmp_path / "n.bnn")
    with pytest.raises(QuantError, match="cannot write"):
        save(good, tmp_path / "no" / "n.bnn")
    assert list(tmp_path.iterdir()) == []


def test_inputs_that_are_none_are_refused():
    network = binary_network()
    x = images(network, 1)
    for bad in (x.astype(np.float64), x[:, :1], x[0]):
        with pytest.raises(QuantError, match=r"takes float32 \[N, 2, 7, 6\]"):
            run(network, bad)
    with pytest.raises(QuantError, match="the input of 'down' holds NaN"):
        run(network, np.full_like(x, np.nan))
