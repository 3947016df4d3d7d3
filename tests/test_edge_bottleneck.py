"""Bottlenecks: the losses by hand, what is frozen stays, and the cut carries exactly the bottleneck's channels."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("sklearn", reason="the digits come from scikit-learn")

from torch import nn  # noqa: E402

from edge.data import load  # noqa: E402
from edge.errors import EdgeError  # noqa: E402
from edge.evaluate import code_labels, reference_codes  # noqa: E402
from edge.exporting import halves  # noqa: E402
from edge.link.codec import Codec, codec_of  # noqa: E402
from edge.link.packing import pack  # noqa: E402
from edge.models import bottleneck  # noqa: E402
from edge.models.models import build, find_model  # noqa: E402
from edge.onnx_file import CUT_TENSOR  # noqa: E402
from edge.recipes import bottleneck as losses  # noqa: E402
from edge.recipes import cross_entropy  # noqa: E402
from edge.recipes.bottleneck_export import quantised, to_graph  # noqa: E402
from edge.recipes.bottleneck_train import FINE_TUNING, METHODS, fine_tune, train_bottleneck  # noqa: E402
from edge.split import cut  # noqa: E402
from edge.train import Schedule, logits, train  # noqa: E402
from export.bundle import BundleSpec, write_bundle  # noqa: E402
from export.targets import find_target  # noqa: E402
from quant.formats import find_format  # noqa: E402
from quant.onnx_write import run_float  # noqa: E402
from quant.scheme import parse_scheme  # noqa: E402

SHAPE = (1, 8, 8)
QUICK = Schedule(epochs=4, batch=32, rate=4e-3, seed=3)


@pytest.fixture(scope="module")
def digits():
    torch.set_num_threads(1)
    whole = load("digits")
    return replace(whole, x_train=whole.x_train[:640], y_train=whole.y_train[:640])


@pytest.fixture(scope="module")
def teacher(digits):
    """A trained teacher; 8x8 inputs are not halved by the stem, so layer2 gives 16x4x4."""
    module = build(find_model("staged"), SHAPE, 10, seed=0, width=8)
    assert train(module, digits, cross_entropy.RECIPE, Schedule(epochs=6, batch=32, rate=0.1), show=False) > 0.9
    return module


@pytest.fixture(scope="module")
def trained(teacher, digits):
    student = student_of(teacher)
    train_bottleneck(student, teacher, "layer2", digits, "ghnd", QUICK, False)
    return student


def student_of(teacher, channels=3, replaced="layer2", seed=0):
    return bottleneck.build(teacher, replaced, SHAPE, channels, seed=seed)


def batch(digits, count=7):
    x = torch.from_numpy(digits.preprocess.apply(digits.x_train[:count]))
    return x, torch.from_numpy(digits.y_train[:count])


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before, after):
    return [name for name in before if not torch.equal(before[name], after[name])]


def test_hnd_is_the_summed_squared_error_at_the_replaced_stage(teacher, digits):
    student, (x, y) = student_of(teacher), batch(digits)
    teacher.eval(), student.eval()
    front, _ = bottleneck.stages_of(teacher, "layer2")
    with torch.no_grad():
        theirs = teacher.layer2(teacher.layer1(teacher.stem(x))).numpy().astype(np.float64)
        mine = student.decoder(student.encoder(x)).numpy().astype(np.float64)
        found = float(losses.hnd(front).loss(student, x, y))
    expected = sum((mine - theirs).reshape(-1)[i] ** 2 for i in range(mine.size))
    assert mine.shape == (7, 16, 4, 4)
    assert found == pytest.approx(expected, rel=1e-5)
    assert found > 1


def test_ghnd_adds_every_later_image_and_leaves_out_what_is_none(teacher, digits):
    student, (x, y) = student_of(teacher), batch(digits)
    teacher.eval(), student.eval()
    with torch.no_grad():
        theirs = [teacher.layer2(teacher.layer1(teacher.stem(x)))]
        mine = [student.decoder(student.encoder(x))]
        for name in ("layer3", "layer4"):
            theirs.append(teacher.get_submodule(name)(theirs[-1]))
            mine.append(teacher.get_submodule(name)(mine[-1]))
        found = float(losses.ghnd(*bottleneck.stages_of(teacher, "layer2")).loss(student, x, y))
        first = float(losses.hnd(bottleneck.stages_of(teacher, "layer2")[0]).loss(student, x, y))
    pairs = [(a.numpy().astype(np.float64), b.numpy().astype(np.float64)) for a, b in zip(mine, theirs, strict=True)]
    assert found == pytest.approx(sum(float(np.square(a - b).sum()) for a, b in pairs), rel=1e-5)
    assert found > first > 1


def test_distillation_is_what_the_formula_says():
    rng = np.random.default_rng(0)
    mine, theirs, y = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])

    def log_softmax(values):
        return values - np.log(np.exp(values).sum(axis=1, keepdims=True))

    heat, alpha = 2.0, 0.3
    p, q = log_softmax(theirs / heat), log_softmax(mine / heat)
    soft = (np.exp(p) * (p - q)).sum(axis=1).mean()
    hard = -log_softmax(mine)[np.arange(5), y].mean()
    found = losses.distillation(*(torch.from_numpy(a) for a in (mine, theirs, y)), alpha, heat)
    assert float(found) == pytest.approx(alpha * hard + (1 - alpha) * heat**2 * soft)
    same_logits = losses.distillation(*(torch.from_numpy(a) for a in (theirs, theirs, y)), 0.0, heat)
    assert float(same_logits) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_every_first_stage_learns_and_leaves_teacher_and_tail_alone(method, teacher, digits):
    student, seen, before = student_of(teacher), [], state(teacher)
    tail, encoder = state(student.tail), state(student.encoder)
    reached = train_bottleneck(
        student, teacher, "layer2", digits, method, QUICK, False, lambda done, loss: seen.append((done, loss))
    )
    assert [done for done, _ in seen] == [1, 2, 3, 4]
    assert seen[-1][1] < 0.8 * seen[0][1]
    assert changed(before, state(teacher)) == []
    assert changed(tail, state(student.tail)) == []
    assert set(changed(encoder, state(student.encoder))) == set(encoder)
    assert reached > 0.5
    assert reached == (logits(student, digits, digits.x_test).argmax(axis=1) == digits.y_test).mean()


@pytest.mark.parametrize("method", FINE_TUNING)
def test_the_second_stage_changes_decoder_and_tail_only(method, trained, teacher, digits):
    student, seen = copy.deepcopy(trained), []
    encoder, tail, decoder = state(student.encoder), state(student.tail), state(student.decoder)
    fine_tune(student, teacher, digits, method, QUICK, False, lambda _, loss: seen.append(loss))
    assert seen[-1] < seen[0]
    assert changed(encoder, state(student.encoder)) == []
    assert "layer3.conv.weight" in changed(tail, state(student.tail))
    assert "layer3.norm.running_mean" in changed(tail, state(student.tail))
    assert "conv1.weight" in changed(decoder, state(student.decoder))
    assert not any(parameter.requires_grad for parameter in student.encoder.parameters())


def test_training_is_repeatable(teacher, digits):
    one, other = student_of(teacher), student_of(teacher)
    for student in (one, other):
        train_bottleneck(student, teacher, "layer2", digits, "ghnd", replace(QUICK, epochs=1), False)
    assert changed(state(one), state(other)) == []
    assert changed(state(student_of(teacher).encoder), state(student_of(teacher, seed=1).encoder)) != []


def test_stages_of_an_opened_sequence_and_of_a_users_module():
    dscnn = build(find_model("dscnn"), SHAPE, 10, seed=0, width=8)
    front, tail = bottleneck.stages_of(dscnn, "blocks.1")
    assert [name for name, _ in front.named_children()] == ["stem", "blocks_0", "blocks_1"]
    assert [name for name, _ in tail.named_children()] == ["blocks_2", "mean", "fc"]
    user = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1), nn.Flatten(), nn.Linear(24, 5))
    student = bottleneck.build(user, "0", SHAPE, 2, seed=0, final_relu=False)
    x = torch.rand(3, *SHAPE)
    assert student.encoder(x).shape == (3, 2, 3, 3)
    assert student.decoder(student.encoder(x)).shape == (3, 4, 4, 4)
    assert student.decoder(student.encoder(x)).min() < 0
    assert student(x).shape == (3, 5)
    assert all(a is not b for a, b in zip(student.tail.parameters(), list(user.parameters())[2:], strict=True))


def test_wrong_stages_sizes_and_methods_are_refused_with_what_is_allowed(teacher, digits):
    with pytest.raises(EdgeError, match=r"no stage 'layer9'.*stem, layer1, layer2"):
        student_of(teacher, replaced="layer9")
    with pytest.raises(EdgeError, match="last stage"):
        student_of(teacher, replaced="fc")
    with pytest.raises(EdgeError, match="only an image"):
        student_of(teacher, replaced="mean")
    with pytest.raises(EdgeError, match="carries nothing"):
        student_of(teacher, channels=0)
    with pytest.raises(EdgeError, match="halved any number of times"):
        bottleneck.build(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)), "0", SHAPE, 2, seed=0)
    with pytest.raises(EdgeError, match="at least 2x2"):
        bottleneck.build(nn.Sequential(nn.Conv2d(1, 4, 8), nn.Conv2d(4, 4, 1)), "0", SHAPE, 2, seed=0)
    with pytest.raises(EdgeError, match=r"Conv2d, not a torch.nn.Sequential"):
        bottleneck.stages_of(nn.Sequential(OrderedDict(a=nn.Conv2d(1, 1, 1))), "a.b")
    with pytest.raises(EdgeError, match=r"no method 'ghnd-ft'.*stage 2"):
        train_bottleneck(student_of(teacher), teacher, "layer2", digits, "ghnd-ft", QUICK, False)
    with pytest.raises(EdgeError, match="no method 'hnd' here"):
        fine_tune(student_of(teacher), teacher, digits, "hnd", QUICK, False)
    with pytest.raises(EdgeError, match="no part 'head'"):
        bottleneck.freeze(student_of(teacher), ("head",))
    with pytest.raises(EdgeError, match="lower 'batch'"):
        fine_tune(student_of(teacher), teacher, digits, "ft", replace(QUICK, batch=10_000), False)
    with pytest.raises(EdgeError, match="loss is"):
        train_bottleneck(student_of(teacher), teacher, "layer2", digits, "ghnd", replace(QUICK, rate=1e30), False)


def graph_of(student, digits, link):
    x = digits.preprocess.apply(digits.x_train[:64])
    return quantised(to_graph(student, SHAPE, "student"), parse_scheme("w8a8"), find_format(link), x)


def test_the_exported_student_is_the_student_and_its_cut_is_the_encoders_output(trained, digits):
    x = digits.preprocess.apply(digits.x_test[:50])
    graph = to_graph(trained, SHAPE, "student")
    head, tail = cut(graph, CUT_TENSOR)
    with torch.no_grad():
        z, whole = trained.encoder(torch.from_numpy(x)).numpy(), trained(torch.from_numpy(x)).numpy()
    assert graph.shape(CUT_TENSOR)[1:] == (3, 3, 3) == z.shape[1:]
    np.testing.assert_allclose(run_float(head, x), z, atol=1e-4)
    np.testing.assert_allclose(run_float(tail, z).reshape(50, -1), whole, atol=1e-4)
    assert z.min() < 0 < z.max()  # neither batch norm nor ReLU has gone into the head
    assert len(set(whole.argmax(axis=1))) > 5


@pytest.mark.parametrize(("link", "payload"), [("int8", 27), ("int4", 14), ("e3m2", 21), ("e2m1", 14)])
def test_head_and_tail_of_a_bundle_are_the_student_and_send_its_channels(link, payload, trained, digits, tmp_path):
    graph, tensor = graph_of(trained, digits, link)
    x = digits.preprocess.apply(digits.x_test[:40])
    parts = halves(graph, x, tensor)
    spec = BundleSpec("student", "w8a8", digits.preprocess, digits.labels, parts)
    bundle = write_bundle(tmp_path / "b", spec, find_target("arm-m")) if link == "int8" else None
    assert np.array_equal(parts[1].outputs, np.concatenate(list(reference_codes(graph, parts[0].inputs))))
    codec = Codec(graph.quant(tensor).format, parts[0].outputs.shape[1:])
    assert (codec.format.name, codec.shape, codec.payload_bytes) == (link, (3, 3, 3), payload)
    assert len(pack(codec.format, parts[0].outputs[0])) == payload
    assert len(set(code_labels(graph, parts[1].outputs))) > 5
    if bundle is not None:
        assert codec_of(bundle.parts[0].record.output) == codec == codec_of(bundle.parts[1].record.input)
