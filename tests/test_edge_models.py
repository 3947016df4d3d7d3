"""Models: shapes, parameter counts, the reference ResNet-8's own weights, and ONNX that equals torch."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")
onnx = pytest.importorskip("onnx", reason="ONNX export needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")

from edge.errors import EdgeError  # noqa: E402
from edge.models.models import MODELS, build, find_model  # noqa: E402
from edge.onnx_file import CUT_TENSOR, to_onnx  # noqa: E402

CIFAR10 = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10"
SHAPES = ((1, 8, 8), (3, 32, 32), (1, 28, 28), (2, 15, 9))


def _onnx_run(path, x, outputs=None):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(outputs, {"input": x})


def _lively(model, shape, classes=10, **sizes):
    """Build a model whose batch norms have statistics of their own, as after training."""
    module = build(model, shape, classes, seed=0, **sizes)
    rng = torch.Generator().manual_seed(1)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=rng) * 0.1)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=rng) * 0.2 + 0.05)
    return module.eval()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_onnx_equals_torch_and_names_the_cut(model, shape, tmp_path):
    module, path = _lively(model, shape), tmp_path / "m.onnx"
    to_onnx(module, shape, path, cut=model.cut)
    x = np.random.default_rng(2).normal(size=(6, *shape)).astype(np.float32)
    x *= np.linspace(0.2, 3, 6, dtype=np.float32).reshape(-1, 1, 1, 1)
    with torch.inference_mode():
        expected = module(torch.from_numpy(x)).numpy()
    [got] = _onnx_run(path, x)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * max(1.0, np.abs(expected).max()))
    assert np.ptp(got, axis=0).min() > 0
    graph = onnx.load(path).graph
    assert [output.name for output in graph.output] == ["logits"]
    assert any(CUT_TENSOR in node.output for node in graph.node)
    assert not any(node.op_type == "BatchNormalization" for node in graph.node)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_the_named_tensor_is_what_the_module_gives(model, tmp_path):
    shape, path = (3, 16, 16), tmp_path / "m.onnx"
    module, seen = _lively(model, shape), []
    x = np.random.default_rng(3).normal(size=(2, *shape)).astype(np.float32)
    to_onnx(module, shape, path, cut=model.cut)
    module.get_submodule(model.cut).register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.inference_mode():
        module(torch.from_numpy(x))
    graph = onnx.load(path)
    graph.graph.output.append(onnx.helper.make_tensor_value_info(CUT_TENSOR, onnx.TensorProto.FLOAT, None))
    onnx.save(graph, tmp_path / "shown.onnx")
    [got] = _onnx_run(tmp_path / "shown.onnx", x, [CUT_TENSOR])
    np.testing.assert_allclose(got, seen[0].numpy(), rtol=0, atol=1e-4)
    assert np.ptp(got) > 0


def test_exported_bytes_are_repeatable_and_the_module_keeps_its_mode(tmp_path):
    model = find_model("dscnn")
    module = build(model, (1, 8, 8), 10, seed=0)
    module.train()
    for name in ("a.onnx", "b.onnx"):
        to_onnx(module, (1, 8, 8), tmp_path / name, cut=model.cut)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert module.training


def test_resnet8_has_the_reference_size():
    module = build(find_model("resnet8"), (3, 32, 32), 10, seed=0)
    assert sum(p.numel() for p in module.parameters()) == 78_186


def _reference_names():
    """Our module names by the reference's flat ones: three stacks of two convolutions, and shortcuts."""
    names = {"conv.0": "stem.conv", "bn.0": "stem.norm", "dense": "fc"}
    for stack, (first, second) in enumerate(((1, 2), (3, 4), (6, 7))):
        names |= {f"conv.{c}": f"stacks.{stack}.branch.conv{k}" for k, c in ((1, first), (2, second))}
        names |= {f"bn.{2 * stack + k}": f"stacks.{stack}.branch.norm{k}" for k in (1, 2)}
    return names | {"conv.5": "stacks.1.shortcut", "conv.8": "stacks.2.shortcut"}


def test_resnet8_with_the_reference_weights_equals_the_reference(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="the reference weights are a safetensors file")
    if not (CIFAR10 / "mlperf_tiny_resnet8.safetensors").is_file():
        pytest.skip("the reference ResNet-8 and CIFAR-10 are not beside the checkout")
    state = safetensors.load_file(CIFAR10 / "mlperf_tiny_resnet8.safetensors")
    names = _reference_names()
    parts = {key: key.rpartition(".") for key in state}
    module = build(find_model("resnet8"), (3, 32, 32), 10, seed=0)
    for norm in (m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.eps = 1e-3  # the value of the reference's framework
    module.load_state_dict({f"{names[head]}.{last}": state[key] for key, (head, _, last) in parts.items()})
    to_onnx(module, (3, 32, 32), tmp_path / "m.onnx", cut="stacks.1")
    with np.load(CIFAR10 / "cifar10_test_lossless_466.npz", allow_pickle=False) as file:
        x = file["x"][:32].astype(np.float32)
    [expected], [got] = _onnx_run(CIFAR10 / "mlperf_tiny_resnet8.onnx", x), _onnx_run(tmp_path / "m.onnx", x)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3)
    assert len(set(got.argmax(axis=1).tolist())) > 4


def test_same_seed_same_initial_weights():
    first, again, other = (build(MODELS[0], (1, 8, 8), 10, seed=s).fc.weight for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_refusals(tmp_path):
    module = build(MODELS[0], (1, 8, 8), 10, seed=0)
    with pytest.raises(EdgeError, match=r"no module 'block.1'.*'blocks.1'"):
        to_onnx(module, (1, 8, 8), tmp_path / "m.onnx", cut="block.1")
    with pytest.raises(EdgeError, match="cannot export the module"):
        to_onnx(module, (3, 8, 8), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(EdgeError, match="blocks at least 2"):
        build(MODELS[0], (1, 8, 8), 10, seed=0, blocks=1)
    with pytest.raises(EdgeError, match=r"unknown model 'resnet'.*'resnet8'"):
        find_model("resnet")
