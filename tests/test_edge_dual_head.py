"""Two heads on one feature: semi-supervised training, alignment, mixing, folding, and C of it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("sklearn", reason="the digits come from scikit-learn")


from edge.data import load  # noqa: E402
from edge.errors import EdgeError  # noqa: E402
from edge.recipes import dual_fold  # noqa: E402
from edge.recipes.dhkd import Terms, deployed, train_dhkd  # noqa: E402
from edge.recipes.dho import LABELS_ONLY, Mixed, rate_share, taught, train_dho  # noqa: E402
from edge.recipes.dual_fold import BETAS, RULES, SHARES, Mix, answer, choose_mix, combined  # noqa: E402
from edge.recipes.dual_head import (  # noqa: E402
    SHIFT,
    Taught,
    augmented,
    balanced,
    both_logits,
    endless,
    one_head,
    two_heads,
)
from edge.train import Schedule, logits  # noqa: E402

QUICK = Schedule(epochs=5, batch=64, rate=0.01, seed=3)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def images(digits):
    """A hundred labelled digits and a teacher that is sure of the truth, but for one digit in ten."""
    rng, count = np.random.default_rng(0), len(digits.x_train)
    told = np.where(rng.random(count) < 0.1, rng.integers(0, 10, count), digits.y_train)
    known = (rng.normal(0, 0.5, (count, 10)) + 6 * np.eye(10)[told]).astype(np.float32)
    labelled = balanced(digits.y_train, np.arange(count), 100, 0)
    return Taught(digits, labelled, np.setdiff1d(np.arange(count), labelled), known)


@pytest.fixture(scope="module")
def trained(images):
    """Two heads after DHO, and the mixes that the last hundred training images choose."""
    torch.set_num_threads(1)
    dual, held = two_heads(network(), "fc", seed=1), images.unlabelled[-100:]
    part = replace(images, unlabelled=images.unlabelled[:-100])
    train_dho(dual, part, QUICK, Mixed(labelled=32), show=False)
    found = both_logits(dual, images.dataset, images.dataset.x_train[held])
    y = images.dataset.y_train[held]
    return dual, {rule: choose_mix(*found, y, rule) for rule in RULES}


def network(seed=0, classes=10):
    """Two strided convolutions and a linear layer: learns the digits in a moment."""
    nn = torch.nn
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
        layers += [nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(OrderedDict(units=nn.Sequential(*layers), fc=nn.Linear(64, classes)))


def softmax(values):
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_alignment_changes_training_and_counts_conflicts(images):
    terms = Terms(align=True)
    plain, changed = two_heads(network(), "fc", seed=1), two_heads(network(), "fc", seed=1)
    schedule = Schedule(epochs=4, batch=25, rate=0.05, seed=3)
    assert train_dhkd(plain, images, schedule, replace(terms, align=False), show=False) == 0
    assert 0 < train_dhkd(changed, images, schedule, terms, show=False) < 1
    assert not torch.equal(plain.first.weight, changed.first.weight)


# Images


def test_balanced_images_are_of_every_class_and_of_those_allowed(digits):
    among = np.arange(100, 900)
    picked = balanced(digits.y_train, among, 50, 7)
    assert np.bincount(digits.y_train[picked]).tolist() == [5] * 10
    assert len(set(picked.tolist()) & set(among.tolist())) == 50
    assert np.array_equal(picked, balanced(digits.y_train, among, 50, 7))
    assert not np.array_equal(picked, balanced(digits.y_train, among, 50, 8))
    for count in (0, 55, 5000):
        with pytest.raises(EdgeError, match=f"{count} images cannot be drawn.*a multiple of 10 from 10 to"):
            balanced(digits.y_train, among, count, 0)


def test_endless_batches_pass_over_all_images_again_and_again():
    made = endless(np.arange(10, 15), 3, 0)
    seen = np.concatenate([next(made) for _ in range(10)])
    assert all(sorted(seen[start : start + 5]) == [10, 11, 12, 13, 14] for start in range(0, 30, 5))
    assert len({tuple(seen[start : start + 5]) for start in range(0, 30, 5)}) > 1


def test_augmented_images_are_moved_and_mirrored():
    x = torch.arange(64.0).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    torch.manual_seed(0)
    made = augmented(x)
    known = set()
    for mirror in (x[0, 0], x[0, 0].flip(1)):
        wide = torch.nn.functional.pad(mirror[None, None], (SHIFT,) * 4, mode="replicate")[0, 0]
        known |= {
            tuple(wide[i : i + 8, j : j + 8].flatten().tolist())
            for i in range(2 * SHIFT + 1)
            for j in range(2 * SHIFT + 1)
        }
    seen = {tuple(image.flatten().tolist()) for image in made}
    assert made.shape == x.shape
    assert seen <= known
    assert len(seen) > len(known) // 2


def test_the_rate_rises_over_a_tenth_of_the_steps_and_falls_to_0():
    shares = [rate_share(step, 100) for step in range(100)]
    assert shares[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert all(a > b for a, b in pairwise(shares[10:]))
    assert shares[-1] < 0.001
    assert rate_share(0, 1) == 1


def test_a_teacher_is_asked_once_about_every_image(digits):
    module = network(4).eval()
    found = taught(digits, np.arange(10), np.arange(10, 50), module)
    np.testing.assert_array_equal(found.teacher, logits(module, digits, digits.x_train))
    with pytest.raises(EdgeError, match="training image 9 is labelled and unlabelled"):
        taught(digits, np.arange(10), np.arange(9, 50), module)
    with pytest.raises(EdgeError, match=r"the teacher gives \[3\] logits, the data has 10 labels"):
        taught(digits, np.arange(10), np.arange(10, 50), network(classes=3))


# Training


def test_dho_learns_from_a_teacher_and_reads_no_label_it_must_not(images, trained):
    dual, mixes = trained
    data = images.dataset
    found = both_logits(dual, data, data.x_test)
    right = [(combined(*found, mix).argmax(axis=1) == data.y_test).mean() for mix in mixes.values()]
    assert min(right) > 0.7
    blind = data.y_train.copy()
    blind[images.unlabelled] = -1  # would be an error in cross-entropy
    part = replace(images, dataset=replace(data, y_train=blind), unlabelled=images.unlabelled[:-100])
    again = two_heads(network(), "fc", seed=1)
    train_dho(again, part, QUICK, Mixed(labelled=32), show=False)
    for name, value in dual.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_labels_only_never_looks_at_the_teacher_and_takes_as_many_steps(images):
    nothing = replace(images, teacher=np.full_like(images.teacher, np.nan))
    mixed, short = Mixed(labelled=32, weights=LABELS_ONLY, augment=augmented), replace(QUICK, epochs=2)
    dual = one_head(network(), "fc")
    steps = train_dho(dual, nothing, short, mixed, show=False)
    assert steps == train_dho(one_head(network(), "fc"), images, short, Mixed(labelled=32), show=False)
    assert all(torch.isfinite(value).all() for value in dual.parameters())
    with pytest.raises(EdgeError, match="the loss is nan"):
        train_dho(dual, nothing, short, Mixed(labelled=32), show=False)


@pytest.mark.parametrize("hidden", [None, 12])
def test_dhkd_leaves_a_classifier_like_the_one_it_was_made_of(images, hidden):
    source = network()
    start = {name: value.clone() for name, value in source.state_dict().items()}
    dual = two_heads(source, "fc", seed=1, hidden=hidden)
    every = replace(images, labelled=np.arange(len(images.dataset.x_train)))
    train_dhkd(dual, every, Schedule(epochs=4, batch=64, rate=0.05, seed=1), Terms(), show=False)
    module = deployed(dual)
    data = images.dataset
    assert {name: value.shape for name, value in module.state_dict().items()} == {n: v.shape for n, v in start.items()}
    assert all(torch.equal(value, start[name]) for name, value in source.state_dict().items())
    np.testing.assert_array_equal(logits(module, data, data.x_test), both_logits(dual, data, data.x_test)[0])
    assert (logits(module, data, data.x_test).argmax(axis=1) == data.y_test).mean() > 0.7


def test_one_head_is_one_layer_twice(images):
    dual = one_head(network(), "fc")
    first, second = dual.eval()(torch.zeros(2, 1, 8, 8))
    assert torch.equal(first, second)
    train_dhkd(dual, images, Schedule(epochs=1, batch=50, rate=0.05), Terms(), show=False)
    assert dual.first is dual.second


def test_what_cannot_be_trained_is_refused(images):
    with pytest.raises(EdgeError, match=r"layer 'units.7' does not exist. .*units.*A head is the dotted path"):
        two_heads(network(), "units.7", seed=0)
    with pytest.raises(EdgeError, match=r"layer 'units.0' is Conv2d"):
        one_head(network(), "units.0")
    dual = one_head(network(), "fc")
    with pytest.raises(EdgeError, match="aligned with two heads only"):
        train_dhkd(dual, images, Schedule(epochs=1, batch=50, rate=0.05), Terms(align=True), show=False)
    with pytest.raises(EdgeError, match="100 images are no whole batch of 101"):
        train_dhkd(dual, images, Schedule(epochs=1, batch=101, rate=0.05), Terms(), show=False)
    with pytest.raises(EdgeError, match="at least one labelled image and one whole batch"):
        train_dho(dual, images, replace(QUICK, batch=9999), Mixed(), show=False)


# Mixing and folding


def test_the_mix_is_the_best_of_the_grid_on_the_images_given():
    rng = np.random.default_rng(2)
    first, second, y = rng.normal(0, 3, (60, 4)), rng.normal(0, 3, (60, 4)), rng.integers(0, 4, 60)
    first[:30, :] += 2 * np.eye(4)[y[:30]]
    second[30:, :] += 4 * np.eye(4)[y[30:]]
    for rule in RULES:
        chosen = choose_mix(first, second, y, rule)
        worth = {
            Mix(a, b, rule): (combined(first, second, Mix(a, b, rule)).argmax(axis=1) == y).mean()
            for a in SHARES
            for b in BETAS
        }
        assert worth[chosen] == max(worth.values()) > min(worth.values())
        other = choose_mix(second, first, y, rule)
        assert other != chosen
    assert len(SHARES) == 21
    assert SHARES[0] == 0
    assert SHARES[-1] == 1


@pytest.mark.parametrize("rule", RULES)
def test_the_ends_of_the_share_are_one_head(rule):
    rng = np.random.default_rng(3)
    first, second = rng.normal(0, 2, (5, 4)), rng.normal(0, 2, (5, 4))
    np.testing.assert_allclose(combined(first, second, Mix(1.0, 2.0, rule)), softmax(first))
    np.testing.assert_allclose(combined(first, second, Mix(0.0, 2.0, rule)), softmax(second / 2))
    np.testing.assert_allclose(combined(first, second, Mix(0.3, 2.0, rule)).sum(axis=1), 1)


def test_folded_heads_are_the_two_heads(images, trained):
    dual, _ = trained
    data = images.dataset
    heads = both_logits(dual, data, data.x_test)
    for share, beta in ((0.35, 1.5), (0.0, 0.5), (1.0, 4.0)):
        mean, product = Mix(share, beta), Mix(share, beta, "geometric")
        whole = logits(dual_fold.arithmetic_module(dual, mean), data, data.x_test)
        np.testing.assert_allclose(whole, combined(*heads, mean), rtol=0, atol=1e-5)
        joint = logits(dual_fold.joint_module(dual, mean), data, data.x_test)
        np.testing.assert_allclose(answer(joint, mean), combined(*heads, mean), rtol=0, atol=1e-5)
        small = logits(dual_fold.geometric_module(dual, product), data, data.x_test)
        np.testing.assert_allclose(softmax(small), combined(*heads, product), rtol=0, atol=1e-5)
    assert not dual.training  # asking leaves the mode as it was
    assert joint.shape == (len(data.x_test), 20)
    assert small.shape == (len(data.x_test), 10)
    size = sum(value.numel() for value in network().parameters())
    assert sum(v.numel() for v in dual_fold.geometric_module(dual, product).parameters()) == size


def test_a_head_that_is_not_linear_cannot_be_folded():
    dual = two_heads(network(), "fc", seed=0, hidden=5)
    with pytest.raises(EdgeError, match=r"the second head is Sequential; only torch.nn.Linear heads can be folded"):
        dual_fold.geometric_module(dual, Mix(0.5, 1.0, "geometric"))


def test_the_mean_of_softmaxes_is_float_onnx_and_no_integer_graph(images, trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="executes the float file")
    from edge.onnx_file import to_onnx
    from quant.errors import QuantError
    from quant.onnx_import import load_onnx
    from quant.ptq import quantise
    from quant.scheme import parse_scheme

    dual, mixes = trained
    data, mix = images.dataset, mixes["arithmetic"]
    x = data.preprocess.apply(data.x_test)
    to_onnx(dual_fold.arithmetic_module(dual, mix), (1, 8, 8), tmp_path / "mean.onnx")
    [got] = onnxruntime.InferenceSession(tmp_path / "mean.onnx", providers=["CPUExecutionProvider"]).run(
        None, {"input": x}
    )
    np.testing.assert_allclose(got, combined(*both_logits(dual, data, data.x_test), mix), rtol=0, atol=1e-5)
    assert len(np.unique(got.argmax(axis=1))) == 10
    with pytest.raises(QuantError, match=r"Softmax has no integer form.*End the network at the logits"):
        quantise(load_onnx(tmp_path / "mean.onnx"), parse_scheme("w8a8"), x[:50])


@pytest.mark.parametrize("form", ["joint", "geometric"])
def test_folded_heads_run_as_c_bit_for_bit(images, trained, tmp_path, form):
    pytest.importorskip("onnxruntime", reason="ranges are estimated in onnxruntime")
    from edge.exporting import whole
    from edge.onnx_file import to_onnx
    from export.bundle import BundleSpec, write_bundle
    from export.parity import check_bundle
    from export.runtimes.c_host import RUNTIME
    from export.targets import find_target
    from quant.onnx_import import load_onnx
    from quant.ptq import quantise
    from quant.scheme import parse_scheme

    if (why := RUNTIME.missing()) is not None:
        pytest.skip(why)
    dual, mixes = trained
    data = images.dataset
    mix = mixes["geometric" if form == "geometric" else "arithmetic"]
    module = dual_fold.geometric_module(dual, mix) if form == "geometric" else dual_fold.joint_module(dual, mix)
    to_onnx(module, (1, 8, 8), tmp_path / "net.onnx")
    x = data.preprocess.apply(data.x_test)
    graph = quantise(load_onnx(tmp_path / "net.onnx"), parse_scheme("w8a8"), data.preprocess.apply(data.x_train[:200]))
    parts = whole(graph, x[:200])
    names = tuple(str(k) for k in range(10 if form == "geometric" else 20))
    spec = BundleSpec("dual", "w8a8", data.preprocess, names, parts)
    bundle = write_bundle(tmp_path / "bundle", spec, find_target("arm-m"))
    [result] = check_bundle(bundle, (RUNTIME,))
    assert (result.status, result.vectors, result.max_steps) == ("bit-exact", 200, 0)
    assert result.labels > 5
    assert len(np.unique(parts[0].outputs, axis=0)) > 100
