"""Functions and products in ONNX files: one node each, spelt as several, quantised, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from quant import operators as ops  # noqa: E402
from quant.errors import QuantError  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from quant.program import lower  # noqa: E402
from quant.reference import dequantise, quantise_input, run  # noqa: E402
from tests.onnx_models import IMAGE, NODE, images, ort_run, same_as_ort, save, weights  # noqa: E402

F32 = np.float32
THREE, SIX, NIL, SIXTH = (np.array(value, F32) for value in (3, 6, 0, 1 / 6))
LIMITS = {"three": THREE, "zero": NIL, "six": SIX, "sixth": SIXTH}
RAMP = [NODE("Add", ["x", "three"], ["s"]), NODE("Clip", ["s", "zero", "six"], ["r"])]
HARD_SIGMOID, HARD_SWISH = (
    ops.Function(name="hard_sigmoid", alpha=float(F32(1 / 6)), beta=0.5),
    ops.Function(name="hard_swish"),
)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.onnx"


@pytest.mark.parametrize(
    ("node", "opset", "name"),
    [
        (NODE("HardSigmoid", ["x"], ["y"]), 7, "hard_sigmoid"),
        (NODE("HardSigmoid", ["x"], ["y"], alpha=0.3, beta=0.4), 17, "hard_sigmoid"),
        (NODE("HardSwish", ["x"], ["y"]), 14, "hard_swish"),
        (NODE("LeakyRelu", ["x"], ["y"]), 17, "leaky_relu"),
        (NODE("LeakyRelu", ["x"], ["y"], alpha=0.2), 7, "leaky_relu"),
        (NODE("Sigmoid", ["x"], ["y"]), 13, "sigmoid"),
        (NODE("Tanh", ["x"], ["y"]), 13, "tanh"),
    ],
)
def test_functions(file, node, opset, name):
    graph = same_as_ort(save(file, [node], opset=opset))
    assert [node.op.name for node in graph.nodes] == [name]


def test_the_swish_of_opset_24(file):
    """ONNX Runtime may not have it yet: the same file spelt as two nodes is what it must compute."""
    if onnx.defs.onnx_opset_version() < 24:
        pytest.skip("this onnx has no Swish")
    graph = load_onnx(save(file, [NODE("Swish", ["x"], ["y"], alpha=1.0)], opset=24))
    assert [node.op for node in graph.nodes] == [ops.Function(name="swish")]
    with pytest.raises(QuantError, match=r"alpha 1.5; only x \* sigmoid\(x\), alpha 1"):
        load_onnx(save(file, [NODE("Swish", ["x"], ["y"], alpha=1.5)], opset=24))


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    ("nodes", "op"),
    [
        ([NODE("Sigmoid", ["x"], ["g"]), ("x", "g")], ops.Function(name="swish")),
        ([NODE("HardSigmoid", ["x"], ["g"], alpha=1 / 6), ("x", "g")], HARD_SWISH),
        ([*RAMP, NODE("Div", ["r", "six"], ["y"])], HARD_SIGMOID),
        ([*RAMP, ("r", "sixth")], HARD_SIGMOID),
        ([*RAMP, NODE("Div", ["r", "six"], ["g"]), ("x", "g")], HARD_SWISH),
        ([*RAMP, NODE("Mul", ["r", "sixth"], ["g"]), ("x", "g")], HARD_SWISH),
        ([*RAMP, NODE("Mul", ["r", "x"], ["p"]), NODE("Div", ["p", "six"], ["y"])], HARD_SWISH),
        ([*RAMP, NODE("Mul", ["x", "r"], ["p"]), ("p", "sixth")], HARD_SWISH),
    ],
)
def test_functions_spelt_as_several_nodes(file, nodes, op, swap):
    """The last Mul may have its factors in either order."""
    made = [NODE("Mul", n[::-1] if swap else n, ["y"]) if isinstance(n, tuple) else n for n in nodes]
    graph = same_as_ort(save(file, made, LIMITS))
    assert [node.op for node in graph.nodes] == [op]


def test_limits_as_attributes_and_the_constant_first(file):
    nodes = [
        NODE("Add", ["three", "x"], ["s"]),
        NODE("Clip", ["s"], ["r"], min=0.0, max=6.0),
        NODE("Mul", ["sixth", "r"], ["y"]),
    ]
    graph = same_as_ort(save(file, nodes, LIMITS, opset=9))
    assert [node.op for node in graph.nodes] == [HARD_SIGMOID]


def test_a_gate_that_something_else_reads_stays(file):
    nodes = [NODE("Sigmoid", ["x"], ["g"]), NODE("Mul", ["x", "g"], ["p"]), NODE("Add", ["p", "g"], ["y"])]
    graph = same_as_ort(save(file, nodes))
    assert [node.kind for node in graph.nodes] == ["Function", "Mul", "Add"]
    assert graph.nodes[0].op == ops.Function(name="sigmoid")


def test_another_slope_is_no_hard_swish(file):
    """The default slope of ONNX's HardSigmoid is 0.2, not 1/6."""
    graph = same_as_ort(save(file, [NODE("HardSigmoid", ["x"], ["g"]), NODE("Mul", ["x", "g"], ["y"])]))
    assert [node.kind for node in graph.nodes] == ["Function", "Mul"]


@pytest.mark.parametrize("swap", [False, True])
def test_squeeze_and_excite(file, swap):
    factors = ["g", "c"] if swap else ["c", "g"]
    nodes = [
        NODE("Conv", ["x", "w"], ["c"]),
        NODE("GlobalAveragePool", ["c"], ["m"]),
        NODE("Conv", ["m", "v"], ["s"]),
        NODE("Sigmoid", ["s"], ["g"]),
        NODE("Mul", factors, ["y"]),
    ]
    graph = same_as_ort(save(file, nodes, {"w": weights(4, 3, 3, 3), "v": weights(4, 4, 1, 1)}))
    assert graph.nodes[-1].inputs == ("c", "g")


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([NODE("Mul", ["x", "six"], ["y"])], "input 1 is a constant; only products of two activations"),
        ([NODE("LeakyRelu", ["x"], ["y"], alpha=-0.5)], "alpha -0.5; it must be above 0"),
        ([NODE("LeakyRelu", ["x"], ["y"], alpha=2.0)], "alpha 2.0; it must be below 1"),
        ([NODE("ReduceMean", ["x"], ["m"], axes=[1]), NODE("Mul", ["x", "m"], ["y"])], "a mean over axes"),
        (
            [NODE("Slice", ["x", "from", "to", "axis"], ["m"]), NODE("Mul", ["x", "m"], ["y"])],
            r"factors of one shape, or one of \[1, C, 1, 1\]",
        ),
    ],
)
def test_what_has_no_form_is_refused(file, nodes, why):
    constants = {"six": SIX, "from": np.array([0]), "to": np.array([1]), "axis": np.array([3])}
    with pytest.raises(QuantError, match=why):
        load_onnx(save(file, nodes, constants))


def qdq(name: str, scale: float, zero: int) -> list:
    names = [f"{name}.scale", f"{name}.zero"]
    return [
        NODE("QuantizeLinear", [name, *names], [f"{name}.codes"]),
        NODE("DequantizeLinear", [f"{name}.codes", *names], [f"{name}.real"]),
    ]


def test_quantised_files_keep_their_grids(file):
    """Between Q/DQ pairs sigmoid and product are two nodes, each on the grid its file gives."""
    grids = {"x": (0.05, 3), "g": (1 / 256, -128), "y": (0.02, -7)}
    constants = {f"{name}.scale": np.array(scale, F32) for name, (scale, _) in grids.items()}
    constants |= {f"{name}.zero": np.array(zero, np.int8) for name, (_, zero) in grids.items()}
    nodes = [*qdq("x", *grids["x"]), NODE("Sigmoid", ["x.real"], ["g"]), *qdq("g", *grids["g"])]
    nodes += [NODE("Mul", ["x.real", "g.real"], ["y"]), *qdq("y", *grids["y"])]
    graph = load_onnx(save(file, nodes, constants, IMAGE, outputs=("y.real",)))
    assert [node.kind for node in graph.nodes] == ["Function", "Mul"]
    found = [(graph.quant(name).scale[0], graph.quant(name).zero) for name in graph.activations()]
    assert found == [(float(F32(scale)), zero) for scale, zero in grids.values()]


def test_torch_modules(file):
    """Hardswish, Hardsigmoid, SiLU and gates as torch exports them, and F.relu6(x + 3) / 6 by hand."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.squeeze = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
            self.deep, self.norm = nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8)
            self.acts = nn.ModuleList([nn.Hardswish(), nn.SiLU(), nn.Hardsigmoid(), nn.LeakyReLU(0.1), nn.Tanh()])

        def forward(self, x):
            swish, silu, gate, leaky, tanh = self.acts
            x = swish(self.stem(x))
            x = x * gate(self.squeeze(x.mean((2, 3), keepdim=True)))
            x = silu(self.norm(self.deep(x)))
            x = x * (nn.functional.relu6(x + 3) / 6)
            return tanh(leaky(x))

    torch.manual_seed(0)
    x = torch.randn(1, *IMAGE[1:])
    with warnings.catch_warnings():
        # torch calls its own older exporter deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Block().eval(),
            (x,),
            str(file),
            opset_version=17,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "N"}},
        )
    graph = same_as_ort(file)
    names = [node.op.name for node in graph.nodes if isinstance(node.op, ops.Function)]
    assert names == ["hard_swish", "hard_sigmoid", "swish", "hard_swish", "leaky_relu", "tanh"]


@pytest.mark.parametrize("kind", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_operators_on_codes(file, kind):
    """ONNX Runtime's own operators on codes: the same grids, and its codes but for one step each."""
    grids = {"x": (0.05, 3), "g": (1 / 256, -128) if kind == "QLinearSigmoid" else (0.05, -90), "p": (0.02, -7)}
    constants = {f"{name}.s": np.array(scale, F32) for name, (scale, _) in grids.items()}
    constants |= {f"{name}.z": np.array(zero, np.int8) for name, (_, zero) in grids.items()}
    x, g, p = ([f"{name}.s", f"{name}.z"] for name in "xgp")
    nodes = [
        NODE("QuantizeLinear", ["x", *x], ["xq"]),
        NODE(kind, ["xq", *x, *g], ["gq"], domain="com.microsoft"),
        NODE("QLinearMul", ["xq", *x, "gq", *g, *p], ["pq"], domain="com.microsoft"),
        NODE("DequantizeLinear", ["pq", *p], ["y"]),
    ]
    path = save(file, nodes, constants, IMAGE, domains=["com.microsoft"], check=False)
    graph = load_onnx(path)
    assert [node.kind for node in graph.nodes] == ["Function", "Mul"]
    found = [(graph.quant(name).scale[0], graph.quant(name).zero) for name in graph.activations()]
    assert found == [(float(F32(scale)), zero) for scale, zero in grids.values()]
    values = images(IMAGE)
    codes = run(lower(graph), quantise_input(graph.quant(graph.input), values))[graph.output]
    steps = (dequantise(graph.quant(graph.output), codes) - ort_run(path, values)) / grids["p"][0]
    # One step of the function, times x, and one of the product.
    assert (np.abs(steps) <= 1.5 + (np.abs(values) + 0.05) * grids["g"][0] / grids["p"][0]).all()
    assert (np.abs(steps) > 0.5).mean() < 0.1
    assert len(np.unique(codes)) > 20
