"""The losses of two heads, against their formulas: divergence, BinaryKL-Norm, DHO's sum, and aligned gradients."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

from edge.errors import EdgeError  # noqa: E402
from edge.recipes.dhkd import Terms, aligned, binary_kl_norm, teacher_loss  # noqa: E402
from edge.recipes.dho import BOTH, LABELS_ONLY, dho_loss  # noqa: E402
from edge.recipes.dual_fold import Mix, combined  # noqa: E402
from edge.recipes.dual_head import divergence  # noqa: E402
from edge.recipes.recipes import find_recipe  # noqa: E402

#: A loaded machine is slow, not wrong.
QUIET = settings(deadline=None, max_examples=40)


def softmax(values):
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def logit_pairs():
    values = st.floats(-20, 20, width=32)
    shapes = st.tuples(st.integers(1, 4), st.integers(2, 5))
    return shapes.flatmap(lambda shape: st.tuples(*(hnp.arrays(np.float64, shape, elements=values) for _ in range(2))))


@QUIET
@given(logit_pairs(), st.floats(0.5, 8))
def test_the_divergence_is_hintons_and_0_only_for_equal_softmaxes(pair, temperature):
    student, teacher = pair
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    wanted = temperature**2 * (p * (np.log(p) - np.log(q))).sum(axis=1).mean()
    found = divergence(torch.tensor(student), torch.tensor(teacher), temperature).item()
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    assert divergence(torch.tensor(teacher + 3), torch.tensor(teacher), temperature).item() == pytest.approx(
        0, abs=1e-9
    )


@QUIET
@given(logit_pairs(), st.floats(0.5, 8))
def test_binary_kl_norm_is_its_formula(pair, temperature):
    student, teacher = pair
    d = 1 / (1 + np.exp(-(student - teacher) / temperature))
    each = 0.5 * np.log(0.5 / d) + 0.5 * (
        np.log(0.5) + (student - teacher) / temperature + np.log1p(np.exp(-(student - teacher) / temperature))
    )
    found = binary_kl_norm(torch.tensor(student), torch.tensor(teacher), temperature).item()
    assert found == pytest.approx(temperature**2 * each.sum() / len(student), rel=1e-6, abs=1e-9)
    assert found >= -1e-9


@QUIET
@given(logit_pairs())
def test_binary_kl_norm_is_0_at_the_teacher_only_and_pulls_towards_it(pair):
    student, teacher = (torch.tensor(part) for part in pair)
    assert binary_kl_norm(teacher, teacher).item() == pytest.approx(0, abs=1e-12)
    student.requires_grad_()
    loss = binary_kl_norm(student, teacher)
    loss.backward()
    gap = student.detach() - teacher
    # T (d - 0.5) / N
    torch.testing.assert_close(student.grad, 2 * (torch.sigmoid(gap / 2) - 0.5) / len(gap))
    assert (loss.item() > 1e-9) or gap.abs().max() < 1e-3


def test_far_logits_do_not_overflow():
    far = torch.tensor([[1e4, -1e4]])
    assert binary_kl_norm(far, -far).item() == pytest.approx(4 * 2 * (0.5 * 1e4 - np.log(2)), rel=1e-6)


def test_dhos_loss_is_its_formula():
    rng = np.random.default_rng(1)
    first, second, teacher = (rng.normal(0, 2, (7, 4)) for _ in range(3))
    y = np.array([0, 3, 1])
    p, q = softmax(teacher / 2), softmax(second / 2)
    apart = (p * (np.log(p) - np.log(q))).sum(axis=1)
    labels = -np.log(softmax(first[:3])[np.arange(3), y]).mean()
    wanted = 0.5 * labels + 0.5 * 4 * (apart[:3].mean() + apart[3:].mean())
    outputs = torch.tensor(first), torch.tensor(second)
    found = dho_loss(outputs, torch.tensor(y), torch.tensor(teacher), BOTH)
    assert found.item() == pytest.approx(wanted)
    only = dho_loss((outputs[0][:3], outputs[1][:3]), torch.tensor(y), torch.tensor(teacher[:3]), LABELS_ONLY)
    assert only.item() == pytest.approx(labels)


def test_unknown_losses_and_rules_are_refused():
    values = torch.zeros(1, 3)
    with pytest.raises(EdgeError, match=r"no loss 'binari'.*binary.*Allowed: none, kl, binary"):
        teacher_loss(values, values, Terms(teacher="binari"))
    assert teacher_loss(values, values + 1, Terms(teacher="none")).item() == 0
    with pytest.raises(EdgeError, match="no rule 'median' for two heads; allowed are arithmetic, geometric"):
        combined(np.zeros((1, 3)), np.zeros((1, 3)), Mix(0.5, 1.0, "median"))
    with pytest.raises(EdgeError, match=r"'dho' trains networks of its own.*edge.recipes.dho.train_dho"):
        find_recipe("dho")


@QUIET
@given(logit_pairs())
def test_aligned_gradients_never_work_against_the_labels(pair):
    teacher, labels = ([torch.tensor(row) for row in part] for part in pair)
    kept = aligned(teacher, labels)
    t, own, found = (torch.cat([part.flatten() for part in parts]) for parts in (teacher, labels, kept))
    scale = max(1.0, float(t.norm() * own.norm()))
    assert float(found @ own) >= -1e-9 * scale
    assert float(found.norm()) <= float(t.norm()) * (1 + 1e-9)
    if t @ own >= 0:
        assert torch.equal(found, t)
    else:
        assert float(found @ own) == pytest.approx(0, abs=1e-9 * scale)
        # What was taken out lies along the labels' gradient.
        assert float((t - found) @ own) ** 2 == pytest.approx(
            float((t - found).square().sum() * own.square().sum()), rel=1e-6, abs=1e-12 * scale**2
        )


def test_aligned_with_no_gradient_of_the_labels_changes_nothing():
    kept = aligned([torch.tensor([-1.0, 2.0])], [torch.zeros(2)])
    assert kept[0].tolist() == [-1.0, 2.0]
