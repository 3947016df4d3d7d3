"""Data: every source that is here loads whole and right; everything damaged is refused with one clear line."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from edge.data import load, relative_to, with_preprocess
from edge.dataset import split
from edge.errors import EdgeError
from edge.sources import FASHION_FOLDER

CIFAR10 = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10"
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (40, 3, 4, 5), dtype=np.uint8)
Y = np.arange(40) % 4


def _npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def _idx(array):
    return (
        bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


def _fashion(folder, count=(20, 10), change=None):
    files = {}
    for part, n in zip(("train", "t10k"), count, strict=True):
        files[f"{part}-images-idx3-ubyte"] = _idx(RNG.integers(0, 256, (n, 6, 7)))
        files[f"{part}-labels-idx1-ubyte"] = _idx(np.arange(n) % 10)
    files |= change or {}
    for name, data in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    return f"fashion-mnist:{folder}"


def _images(folder, sizes=((4, 5), (4, 5)), mode="RGB"):
    image = pytest.importorskip("PIL.Image", reason="image folders need pillow")
    for label, size in zip(("cat", "dog"), sizes, strict=True):
        (folder / label).mkdir(parents=True)
        for k in range(4):
            shape = (*size, 3) if mode == "RGB" else size
            pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
            image.fromarray(pixels, mode=None).save(folder / label / f"{k}.png")
    return folder


# ---- sources that load


def test_digits():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    data, again = load("digits"), load("digits")
    assert data.x_train.dtype == data.x_test.dtype == np.uint8
    assert len(data.x_train) + len(data.x_test) == 1797
    assert abs(len(data.x_test) / 1797 - 0.3) < 0.005
    assert set(data.y_test) == set(data.y_train) == set(range(10))
    assert data.x_train.max() == 16
    np.testing.assert_array_equal(data.x_test, again.x_test)
    x = data.preprocess.apply(data.x_train)
    assert (x.dtype, x.shape[1:]) == (np.float32, (1, 8, 8))
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02


def test_fashion_mnist_of_the_system():
    if not FASHION_FOLDER.is_dir():
        pytest.skip("dataset-fashion-mnist is not installed")
    data = load("fashion-mnist")
    assert data.x_train.shape == (60_000, 1, 28, 28)
    assert data.x_test.shape == (10_000, 1, 28, 28)
    assert np.bincount(data.y_test).tolist() == [1000] * 10
    x = data.preprocess.apply(data.x_train[::100])
    assert abs(x.mean()) < 0.1
    assert abs(x.std() - 1) < 0.1


def test_fashion_mnist_of_a_folder(tmp_path):
    data = load(_fashion(tmp_path))
    assert data.x_train.shape == (20, 1, 6, 7)
    assert data.y_test.tolist() == list(range(10))
    assert data.preprocess.shape == (1, 6, 7)


def test_cifar10_exact_subset():
    if not CIFAR10.is_dir():
        pytest.skip("CIFAR-10 is not beside the checkout")
    data = load(f"cifar10:{CIFAR10}")
    assert (data.x_train.shape, data.x_test.shape) == ((2796, 3, 32, 32), (466, 3, 32, 32))
    with np.load(CIFAR10 / "cifar10_test_lossless_466.npz", allow_pickle=False) as file:
        assert tuple(file["labels"]) == data.labels
        np.testing.assert_array_equal(file["x"], data.x_test)


def test_cifar10_binary_version(tmp_path):
    for k, name in enumerate([f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]):
        record = np.concatenate([[k], np.arange(3072) % 251]).astype(np.uint8)
        (tmp_path / name).write_bytes(record.tobytes() * 2)
    data = load(f"cifar10:{tmp_path}")
    assert data.y_train.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert data.y_test.tolist() == [5, 5]
    assert data.x_test[0, 1, 0, :3].tolist() == [(1024 + k) % 251 for k in range(3)]


def test_npz_is_split_by_class(tmp_path):
    data = load(_npz(tmp_path / "a.npz", x=X, y=Y, labels=np.array(["a", "b", "c", "d"])))
    assert np.bincount(data.y_test).tolist() == [3, 3, 3, 3]
    assert np.bincount(data.y_train).tolist() == [7, 7, 7, 7]
    assert data.labels == ("a", "b", "c", "d")
    assert data.preprocess.scale == pytest.approx(1 / 255)
    joined = np.concatenate([data.x_train, data.x_test])
    assert {image.tobytes() for image in joined} == {image.tobytes() for image in X}


@pytest.mark.parametrize(("share", "train", "test"), [(0.0, 40, 0), (1.0, 0, 40)])
def test_npz_can_be_taken_whole(tmp_path, share, train, test):
    data = load(_npz(tmp_path / "a.npz", x=X, y=Y), test_share=share)
    assert (len(data.x_train), len(data.x_test)) == (train, test)


def test_npz_with_its_own_test_part_and_grey_images(tmp_path):
    grey = X[:, 0]
    data = load(_npz(tmp_path / "a.npz", x_train=grey[:30], y_train=Y[:30], x_test=grey[30:], y_test=Y[30:]))
    assert data.x_train.shape == (30, 1, 4, 5)
    np.testing.assert_array_equal(data.x_test[:, 0], grey[30:])


def test_npz_of_features_keeps_their_values(tmp_path):
    x = RNG.normal(size=(10, 2, 3, 4))
    data = load(_npz(tmp_path / "a.npz", x=x, y=np.arange(10)), test_share=1.0)
    np.testing.assert_array_equal(data.preprocess.apply(data.x_test), x.astype(np.float32))


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_image_folder(tmp_path, mode, channels):
    data = load(str(_images(tmp_path / "pets", mode=mode)), test_share=0.5)
    assert data.labels == ("cat", "dog")
    assert data.x_train.shape == data.x_test.shape == (4, channels, 4, 5)
    assert data.y_train.tolist() == [0, 0, 1, 1]


def test_image_folder_with_train_and_test(tmp_path):
    _images(tmp_path / "train")
    _images(tmp_path / "test", mode="L")
    data = load(str(tmp_path))
    assert data.x_train.shape == data.x_test.shape == (8, 3, 4, 5)
    np.testing.assert_array_equal(data.x_test[:, 0], data.x_test[:, 2])


def test_split_keeps_shares_and_loses_nothing():
    y = RNG.integers(0, 7, 500)
    train, test = split(y, 0.25, seed=5)
    assert sorted([*train, *test]) == list(range(500))
    for label in range(7):
        assert (y[test] == label).sum() == round(0.25 * (y == label).sum())
    assert split(y, 0.25, seed=6)[1].tolist() != test.tolist()


def test_another_preprocessing():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    data = with_preprocess(load("digits"), scale=1.0, mean=(0.0,), std=(1.0,))
    np.testing.assert_array_equal(data.preprocess.apply(data.x_test), data.x_test.astype(np.float32))
    with pytest.raises(EdgeError, match="3 values of 'mean' for 1 channels"):
        with_preprocess(data, mean=(0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("digits", "digits"),
        ("fashion-mnist", "fashion-mnist"),
        ("cifar10:c", "cifar10:/base/c"),
        ("cifar10:/c", "cifar10:/c"),
        ("a.npz", "/base/a.npz"),
        ("./pets", "/base/pets"),
        ("digit", "digit"),
    ],
)
def test_relative_sources(source, expected):
    assert relative_to(source, Path("/base")) == expected


# ---- sources that are refused

BAD_ARRAYS = {
    "empty": ({"x": X[:0], "y": Y[:0]}, r"a\.npz: x has shape \(0, 3, 4, 5\)"),
    "two axes": ({"x": X[:, 0, 0], "y": Y}, "allowed are .N, height, width. and"),
    "nan": ({"x": np.where(np.arange(40) == 7, np.nan, 1.0)[:, None, None], "y": Y}, "NaN or infinity in image 7"),
    "infinity": ({"x": np.full((40, 1, 2, 2), np.inf, np.float32), "y": Y}, "NaN or infinity in image 0"),
    "int32": ({"x": X.astype(np.int32), "y": Y}, "holds int32; allowed are uint8, int8 and float32"),
    "short labels": ({"x": X, "y": Y[:-1]}, r"y has shape \(39,\) for 40 images"),
    "one-hot labels": ({"x": X, "y": np.eye(4)[Y]}, r"one label per image is needed"),
    "float labels": ({"x": X, "y": Y.astype(float)}, "labels must be whole numbers"),
    "negative label": ({"x": X, "y": Y - 1}, "holds label -1; allowed are 0"),
    "label too large": ({"x": X, "y": Y, "labels": np.array(["a", "b", "c"])}, "holds label 3; allowed are 0 to 2"),
    "labels no names": ({"x": X, "y": Y, "labels": np.arange(4)}, "must be a list of names"),
    "no y": ({"x": X}, "holds x; needed are x and y"),
    "nothing": ({}, "holds nothing; needed are x and y"),
    "pickled": ({"x": np.array([{}] * 40, dtype=object), "y": Y}, "not a readable .npz file of plain arrays"),
    "test of another size": (
        {"x_train": X, "y_train": Y, "x_test": X[:, :, :3], "y_test": Y},
        r"training images are uint8 \(3, 4, 5\), test images uint8 \(3, 3, 5\)",
    ),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_refused(tmp_path, case):
    arrays, message = BAD_ARRAYS[case]
    with pytest.raises(EdgeError, match=message):
        load(_npz(tmp_path / "a.npz", **arrays))


@pytest.mark.parametrize("keep", [0, 10, 400, -30])
def test_truncated_npz_is_refused(tmp_path, keep):
    whole = Path(_npz(tmp_path / "a.npz", x=X, y=Y)).read_bytes()
    (tmp_path / "b.npz").write_bytes(whole[:keep])
    with pytest.raises(EdgeError, match=r"b\.npz is not a readable"):
        load(str(tmp_path / "b.npz"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", "no data 'digit'.*Did you mean 'digits'"),
        ("digits:/x", "no data 'digits:/x'"),
        ("cifar10", "no data 'cifar10'.*cifar10:FOLDER"),
        ("cifar10:/none", "no folder /none"),
        ("none.npz", "no file none.npz"),
        (
            "fashion-mnist:/none",
            "no Fashion-MNIST at /none.*apt-get install dataset-fashion-mnist.*fashion-mnist:FOLDER",
        ),
    ],
)
def test_missing_sources(source, message):
    with pytest.raises(EdgeError, match=message):
        load(source)


def test_pickled_cifar10_is_refused_unread(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"cposix\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(EdgeError, match=r"is pickled.*binary version"):
        load(f"cifar10:{tmp_path}")
    with pytest.raises(EdgeError, match="holds no CIFAR-10"):
        load(f"cifar10:{tmp_path.parent}")


@pytest.mark.parametrize(
    ("record", "message"), [(b"\x00" * 3072, "records of 3073"), (b"\x0a" + b"\x00" * 3072, "holds label 10")]
)
def test_damaged_binary_cifar10(tmp_path, record, message):
    for name in [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]:
        (tmp_path / name).write_bytes(record)
    with pytest.raises(EdgeError, match=message):
        load(f"cifar10:{tmp_path}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t10k-labels-idx1-ubyte": _idx(np.arange(9))}, r"\(9,\) for 10 images"),
        ({"t10k-labels-idx1-ubyte": _idx(np.arange(10) + 1)}, "holds label 10; allowed are 0 to 9"),
        ({"train-images-idx3-ubyte": _idx(np.zeros((20, 6, 7)))[:-1]}, "not a complete IDX file"),
        ({"train-images-idx3-ubyte": b"\x00\x00\x08"}, "not a complete IDX file"),
        ({"train-images-idx3-ubyte": _idx(np.zeros((20, 6, 8)))}, r"\(1, 6, 8\), test images uint8 \(1, 6, 7\)"),
    ],
)
def test_damaged_fashion_mnist(tmp_path, change, message):
    with pytest.raises(EdgeError, match=message):
        load(_fashion(tmp_path, change=change))


def test_fashion_mnist_cut_short_or_missing(tmp_path):
    source, file = _fashion(tmp_path), tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(EdgeError, match=r"cannot read .*train-images"):
        load(source)
    file.unlink()
    with pytest.raises(EdgeError, match=r"cannot read .*train-images"):
        load(source)


def test_bad_image_folders(tmp_path):
    with pytest.raises(EdgeError, match="0 class folders"):
        load(str(tmp_path))
    mixed = _images(tmp_path / "mixed", sizes=((4, 5), (6, 5)))
    with pytest.raises(EdgeError, match=r"dog/0\.png is 5x6, the first image 5x4"):
        load(str(mixed))
    broken = _images(tmp_path / "broken")
    (broken / "dog" / "1.png").write_bytes(b"no image")
    with pytest.raises(EdgeError, match=r"dog/1\.png is not a readable image"):
        load(str(broken))
    (broken / "eel").mkdir()
    with pytest.raises(EdgeError, match=r"eel holds no image|dog/1"):
        load(str(broken))
