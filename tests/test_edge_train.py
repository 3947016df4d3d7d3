"""Training: accuracy on real data, repeatability, weight files that survive, refusals."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from edge.dataset import Dataset  # noqa: E402
from edge.errors import EdgeError  # noqa: E402
from edge.models.models import build, find_model  # noqa: E402
from edge.recipes.recipe import Recipe  # noqa: E402
from edge.recipes.recipes import RECIPES, find_recipe  # noqa: E402
from edge.train import Schedule, logits, train  # noqa: E402
from edge.weights import load_weights, save_weights  # noqa: E402
from export.errors import ExportError  # noqa: E402
from export.preprocess import Preprocess  # noqa: E402

QUICK = Schedule(epochs=2, batch=32, rate=0.1, seed=3)


def _digits():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    from edge.data import load

    return load("digits")


def _dscnn(seed=0):
    return build(find_model("dscnn"), (1, 8, 8), 10, seed=seed)


def _noise(count=64):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8), rng.integers(0, 10, count)
    labels = tuple("abcdefghij")
    return Dataset("noise", x, y, x, y, labels, Preprocess(1, 8, 8, 1 / 255, (0.5,), (0.25,)))


def test_digits_reach_96_percent():
    module = _dscnn()
    reached = train(
        module, _digits(), find_recipe("cross-entropy"), Schedule(epochs=20, batch=64, rate=0.2), show=False
    )
    assert reached >= 0.96
    assert not module.training


def test_same_seed_same_weights_bit_for_bit():
    data, states = _digits(), []
    for _ in range(2):
        module = _dscnn(seed=3)
        train(module, data, RECIPES[0], QUICK, show=False)
        states.append({name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()})
        torch.rand(3)  # foreign random numbers must not matter
    assert states[0] == states[1]
    other = _dscnn(seed=4)
    train(other, data, RECIPES[0], Schedule(epochs=2, batch=32, rate=0.1, seed=4), show=False)
    assert other.state_dict()["fc.weight"].numpy().tobytes() != states[0]["fc.weight"]


def test_training_leaves_torch_settings_as_they_were():
    threads, strict, state = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state(),
    )
    train(_dscnn(), _noise(), RECIPES[0], QUICK, show=False)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (threads, strict)
    assert torch.equal(torch.get_rng_state(), state)


def test_logits_do_not_depend_on_the_batch_and_keep_the_mode():
    data, module = _noise(), _dscnn()
    module.train()
    together = logits(module, data, data.x_test)
    alone = np.concatenate([logits(module, data, data.x_test[k : k + 1]) for k in range(8)])
    assert module.training
    np.testing.assert_allclose(together[:8], alone, rtol=0, atol=1e-5)
    assert np.ptp(together, axis=0).min() > 0


def test_too_large_a_batch_is_refused():
    with pytest.raises(EdgeError, match=r"64 training images.*lower 'batch'"):
        train(_dscnn(), _noise(), RECIPES[0], Schedule(epochs=1, batch=65, rate=0.1), show=False)


def test_a_loss_that_blows_up_is_named():
    broken = Recipe("broken", "a loss that is not a number", lambda module, x, y: module(x).sum() * float("nan"))
    with pytest.raises(EdgeError, match="loss is nan in epoch 1; lower 'rate'"):
        train(_dscnn(), _noise(), broken, QUICK, show=False)


def test_ctrl_c_passes_and_restores_torch():
    def interrupt(module, x, y):
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        train(_dscnn(), _noise(), Recipe("stop", "ctrl-C", interrupt), QUICK, show=False)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_weights_round_trip(tmp_path):
    module, path = _dscnn(seed=1), tmp_path / "w.npz"
    save_weights(module, path)
    other = _dscnn(seed=2)
    assert not torch.equal(other.fc.weight, module.fc.weight)
    load_weights(other, path)
    assert all(
        torch.equal(a, b) for a, b in zip(other.state_dict().values(), module.state_dict().values(), strict=True)
    )
    first = path.read_bytes()
    save_weights(other, path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


@pytest.mark.parametrize("change", ["width", "blocks"])
def test_weights_of_another_size_are_refused(tmp_path, change):
    save_weights(_dscnn(), tmp_path / "w.npz")
    other = build(find_model("dscnn"), (1, 8, 8), 10, seed=0, **{change: 4})
    with pytest.raises(EdgeError, match=r"w\.npz: weight '"):
        load_weights(other, tmp_path / "w.npz")


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    arrays = {name: np.full(tuple(t.shape), "x") for name, t in _dscnn().state_dict().items()}
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(EdgeError, match="holds <U1; it must hold numbers"):
        load_weights(_dscnn(), tmp_path / "w.npz")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not a zip", np.array([{}], dtype=object)])
def test_damaged_weight_files_are_refused(tmp_path, data):
    path = tmp_path / "w.npz"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        np.savez(path, a=data)
    with pytest.raises(EdgeError, match=r"not a readable \.npz file"):
        load_weights(_dscnn(), path)


def test_safetensors_files_load_and_damaged_ones_do_not(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="the oracle that writes the file")
    module, other, path = _dscnn(seed=1), _dscnn(seed=2), tmp_path / "w.safetensors"
    safetensors.save_file(module.state_dict(), path)
    load_weights(other, path)
    assert all(
        torch.equal(a, b) for a, b in zip(other.state_dict().values(), module.state_dict().values(), strict=True)
    )
    whole = path.read_bytes()
    for data in (
        b"",
        whole[:100],
        whole[:-1],
        whole.replace(b'"F32"', b'"F99"', 1),
        whole.replace(b"[10]", b"[11]", 1),
    ):
        path.write_bytes(data)
        with pytest.raises(EdgeError, match=r"w\.safetensors"):
            load_weights(other, path)


def test_writing_into_a_missing_folder_is_one_clear_error(tmp_path):
    with pytest.raises(ExportError, match="is not a folder"):
        save_weights(_dscnn(), tmp_path / "no" / "w.npz")
