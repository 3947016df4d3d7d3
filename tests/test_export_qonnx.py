"""QONNX files: executed by qonnx beside the reference, layer by layer, and read back without a loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from benchmarks.random_networks import of_seed, space_of  # noqa: E402
from export.arm_m import TARGET as ARM_M  # noqa: E402
from export.errors import ExportError  # noqa: E402
from export.qonnx import on_grid, qonnx_model  # noqa: E402
from quant.errors import QuantError  # noqa: E402
from quant.formats import FORMATS, Array, Format, find_format  # noqa: E402
from quant.graph import Graph, Tensor  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from quant.onnx_quant import emulated_only  # noqa: E402
from quant.operators import Conv, Gemm  # noqa: E402
from quant.program import AveragePoolStep, ConvStep, MeanStep, TableStep, lower  # noqa: E402
from quant.reference import dequantise, execute, fast_dot, quantise_input, run  # noqa: E402
from quant.rounding import encode  # noqa: E402
from tests.networks import network  # noqa: E402
from tests.toys_fitted import fitted_graph, real_inputs  # noqa: E402

#: The formats of a graph's activations and weights.
PAIRS = [("int8", "int8"), ("uint8", "int8"), ("int4", "int4"), ("int16", "int8"), ("int8", "e2m1"), ("e3m2", "int8")]
PAIRS += [(name, name) for name in ("e4m3", "e4m3fn", "e3m2", "e2m3", "e2m1", "e3m0", "e1m3")]
SPACE = space_of(ARM_M.capability)


def written(graph: Graph, folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(qonnx_model(graph).SerializeToString())
    return path


def executed(graph: Graph, path: Path, x: Array) -> dict[str, Array]:
    """Return the codes of every activation that qonnx makes of real inputs."""
    pytest.importorskip("qonnx.core.onnx_exec", reason="qonnx is not installed")
    from tests.foreign import run_qonnx

    values = run_qonnx(path, x)
    return {
        name: quantise_input(graph.quant(name), values[on_grid(graph, name)].reshape(-1, *graph.shape(name)[1:]))
        for name in graph.activations()
    }


def gaps(graph: Graph, theirs: dict[str, Array]) -> dict[str, Array]:
    """Return how many codes the reference is off in every layer, given the executor's own inputs of that layer."""
    program, found = lower(graph), {}
    for step in program.steps:
        fmt = graph.quant(step.y).format
        ours = execute(program, step, theirs, fast_dot)
        slack = step.off if isinstance(step, TableStep) else 0
        found[step.name] = np.maximum(np.abs(fmt.to_ordinals(ours) - fmt.to_ordinals(theirs[step.y])) - slack, 0)
    return found


def assert_within_one(graph: Graph, theirs: dict[str, Array]) -> None:
    assert all(gap.max() <= 1 for gap in gaps(graph, theirs).values())
    output = theirs[graph.output]
    assert (output != output[0]).any()
    labels = graph.quant(graph.output).format.to_ordinals(output.reshape(len(output), -1)).argmax(axis=1)
    assert len(set(labels.tolist())) > 1


@pytest.mark.parametrize(("act", "weight"), PAIRS)
def test_qonnx_is_within_one_code_of_the_reference_in_every_layer(tmp_path, act, weight):
    graph = fitted_graph(find_format(act), find_format(weight))
    x = real_inputs(graph, 12).astype(np.float32)
    assert_within_one(graph, executed(graph, written(graph, tmp_path), x))


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_too(tmp_path, seed):
    example = of_seed(SPACE, seed)
    x = dequantise(example.graph.quant(example.graph.input), example.inputs)
    assert_within_one(example.graph, executed(example.graph, written(example.graph, tmp_path), x))


def with_powers_of_two(graph: Graph) -> Graph:
    """Return the graph with the same codes, every scale moved to the nearest power of two."""

    def moved(tensor: Tensor) -> Tensor:
        if tensor.quant is None:
            return tensor
        scale = tuple(float(2.0 ** np.rint(np.log2(s))) for s in tensor.quant.scale)
        return replace(tensor, quant=replace(tensor.quant, scale=scale))

    return replace(graph, tensors={name: moved(tensor) for name, tensor in graph.tensors.items()})


@pytest.mark.parametrize("name", ["e4m3", "e4m3fn", "e3m2", "e2m3", "e2m1", "e3m0"])
def test_minifloats_with_scales_of_powers_of_two_are_exact(tmp_path, name):
    """Both round once, half to even, and the multiplier is exact; averages over 9 or 12 have none that is."""
    graph = with_powers_of_two(fitted_graph(find_format(name), find_format(name)))
    theirs = executed(graph, written(graph, tmp_path), real_inputs(graph, 24).astype(np.float32))
    found = gaps(graph, theirs)
    averages = {step.name for step in lower(graph).steps if isinstance(step, AveragePoolStep | MeanStep)}
    assert max(gap.max() for key, gap in found.items() if key not in averages) == 0
    assert all(len(np.unique(theirs[node.output])) > 3 for node in graph.nodes)


def test_integers_with_scales_of_powers_of_two_differ_beside_ties_only(tmp_path):
    """Q31 rounds acc / 2 first: sums that end half a step or one accumulator unit less go away from zero."""
    graph = with_powers_of_two(fitted_graph(find_format("int8"), find_format("int8")))
    theirs = executed(graph, written(graph, tmp_path), real_inputs(graph, 200).astype(np.float32))
    step = lower(graph).steps[0]
    assert isinstance(step, ConvStep)
    drop = 1 - step.requant.multipliers[0].exponent
    acc = sums(graph, theirs, step)[:, 0]
    rest = np.abs(acc) % (1 << drop)
    beside = (rest == 1 << (drop - 1)) | (rest == (1 << (drop - 1)) - 1)
    gap = gaps(graph, theirs)[step.name][:, 0]
    assert gap.any()
    assert not gap[~beside].any()


def sums(graph: Graph, codes: dict[str, Array], step: ConvStep) -> Array:
    """Return the accumulators of a layer, by torch."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = graph.quant(step.x).format.to_units(codes[step.x]) - step.x_zero
    top, left, bottom, right = step.op.pads
    assert (top, left) == (bottom, right)
    tensors = (torch.from_numpy(part.astype(np.float64)) for part in (x, step.weight, step.bias))
    found = torch.nn.functional.conv2d(*tensors, stride=step.op.strides, padding=(top, left))
    return found.numpy().astype(np.int64)


@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt.signed], ids=lambda fmt: fmt.name)
def test_every_format_is_read_back_code_by_code(tmp_path, fmt):
    if emulated_only(fmt, fmt):
        pytest.skip(f"products of {fmt.name} fit no accumulator, so that biases have no codes")
    graph = fitted_graph(fmt, fmt)
    if fmt.bits > 14:
        with pytest.raises(QuantError, match="the accumulator can reach"):
            lower(graph)
        pytest.skip(f"sums of {fmt.name} fit no int32")
    back = load_onnx(written(graph, tmp_path))
    layers = [[node for node in g.nodes if isinstance(node.op, Conv | Gemm)] for g in (graph, back)]
    exact = True
    for ours, theirs in zip(*layers, strict=True):
        assert graph.quant(ours.inputs[1]) == back.quant(theirs.inputs[1])
        assert np.array_equal(graph.weights[ours.inputs[1]], back.weights[theirs.inputs[1]])
        bias, found = (g.weights[node.inputs[2]].astype(np.int64) for g, node in ((graph, ours), (back, theirs)))
        # float32 holds 24 bits, and scale and quotient round, too.
        assert np.array_equal(bias[np.abs(bias) < 1 << 22], found[np.abs(bias) < 1 << 22])
        assert (np.abs(found - bias) <= np.abs(bias) * 2.0**-22).all()
        exact &= np.array_equal(bias, found)
    same_outputs(graph, back, 0 if exact else 1)


def same_outputs(graph: Graph, back: Graph, codes: int) -> None:
    """Assert that two graphs give outputs within so many codes, where the reference runs their formats."""
    x = real_inputs(graph, 8).astype(np.float32)
    try:
        runs = [run(lower(g), quantise_input(g.quant(g.input), x), fast_dot) for g in (graph, back)]
    except QuantError as error:
        assert "the accumulator can reach" in str(error)
        return
    fmt = graph.quant(graph.output).format
    ours, theirs = (fmt.to_ordinals(made[g.output]) for made, g in zip(runs, (graph, back), strict=True))
    assert np.abs(ours - theirs).max() <= codes
    # The last layer of two bits is always 0; the first one never is.
    first = runs[0][graph.nodes[0].output]
    assert (first != first[0]).any()


def test_minifloats_that_only_the_emulation_runs(tmp_path):
    """OCP E5M2 beside itself: no reference, so that qonnx is held against the float emulation."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from quant.simulate import apply, simulator

    graph = replace_biases(fitted_graph(find_format("e5m2ocp"), find_format("e2m1")), find_format("e5m2ocp"))
    with pytest.raises(QuantError, match="the accumulator can reach"):
        lower(graph)
    theirs = executed(graph, written(graph, tmp_path), real_inputs(graph, 12).astype(np.float32))
    real = {name: torch.from_numpy(dequantise(graph.quant(name), codes)) for name, codes in theirs.items()}
    sim = simulator(graph)
    for node in graph.nodes:
        ours = apply(sim, node, [real.get(name) for name in node.inputs]).numpy()
        want = real[node.output].numpy()
        # Sums that cancel keep float32's error, which spans codes next to 0; elsewhere a step is a quarter.
        np.testing.assert_allclose(ours, want, rtol=0.25, atol=1e-5 * np.abs(want).max())
        # Means of few values with two mantissa bits are often ties.
        assert np.isclose(ours, want, rtol=1e-5).mean() > 0.9
        assert (theirs[node.output] != theirs[node.output][0]).any()


def replace_biases(graph: Graph, weight: Format) -> Graph:
    """Return the graph with random weights of another format and biases of 0."""
    rng, tensors, weights = np.random.default_rng(0), dict(graph.tensors), dict(graph.weights)
    for node in graph.nodes:
        if not isinstance(node.op, Conv | Gemm):
            continue
        name, bias = node.inputs[1:]
        real = rng.normal(size=graph.shape(name)) / np.sqrt(np.prod(graph.shape(name)[1:]))
        scale = (1.5 / weight.max,) * len(real)
        tensors[name] = Tensor(graph.shape(name), replace(graph.quant(name), format=weight, scale=scale))
        weights[name], weights[bias] = encode(weight, real / scale[0]), np.zeros(len(real))
    return replace(graph, tensors=tensors, weights=weights)


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_are_read_back(tmp_path, seed):
    example = of_seed(SPACE, seed)
    graph, back = example.graph, load_onnx(written(example.graph, tmp_path))
    x = dequantise(graph.quant(graph.input), example.inputs)
    codes = run(lower(back), quantise_input(back.quant(back.input), x), fast_dot)[back.output]
    found = dequantise(back.quant(back.output), codes)
    assert np.array_equal(found, dequantise(graph.quant(graph.output), example.values[graph.output]))


def test_a_whole_network_agrees_in_its_labels(tmp_path):
    net = network("resnet8", count=6)
    theirs = executed(net.graph, written(net.graph, tmp_path), net.inputs)
    assert_within_one(net.graph, theirs)
    ours = run(lower(net.graph), theirs[net.graph.input], fast_dot)[net.graph.output]
    assert np.array_equal(ours.argmax(axis=1), theirs[net.graph.output].argmax(axis=1))
    assert np.abs(ours.astype(int) - theirs[net.graph.output]).max() <= 2


@pytest.mark.parametrize("name", ["w8a8_norm", "e4m3", "e3m2", "e5m2"])
def test_what_brevitas_wrote_is_written_again(tmp_path, name):
    """Brevitas' file, imported, written and executed by qonnx: Brevitas' own outputs, but for biases on a grid.

    In files of fewer bits that grid is so coarse that the rounded biases decide many codes (docs/importing.md).
    """
    golden = Path(__file__).parent / "golden" / f"brevitas_qonnx_{name}"
    graph = load_onnx(golden.with_suffix(".onnx"))
    with np.load(golden.with_suffix(".npz")) as file:
        x, want = file["x"], quantise_input(graph.quant(graph.output), file["y"])
    found = executed(graph, written(graph, tmp_path), x)[graph.output]
    fmt = graph.quant(graph.output).format
    gap = np.abs(fmt.to_ordinals(found) - fmt.to_ordinals(want))
    assert gap.max() <= 1
    assert (gap > 0).mean() <= 0.05
    assert len(np.unique(want)) > 3


def test_qonnx_own_clean_up_keeps_the_function(tmp_path):
    """It folds the quantisers of minifloat weights; their values stay."""
    pytest.importorskip("qonnx.util.cleanup", reason="qonnx is not installed")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    for name in ("int8", "e4m3"):
        graph = fitted_graph(find_format(name), find_format(name))
        model = ModelWrapper(str(written(graph, tmp_path)))
        cleaned = cleanup_model(model)
        outputs = []
        for image in real_inputs(graph, 6).astype(np.float32):
            runs = [
                execute_onnx(made, {made.graph.input[0].name: image[None]})[made.graph.output[0].name]
                for made in (model, cleaned)
            ]
            assert np.array_equal(*runs)
            outputs.append(runs[0])
        assert (outputs[0] != outputs[1]).any()


def test_a_file_is_the_same_bytes_every_time():
    graph = fitted_graph(find_format("e4m3"), find_format("int4"))
    first, second = (qonnx_model(graph).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_a_float_graph_is_refused():
    graph = fitted_graph(find_format("int8"), find_format("int8"))
    real = replace(graph, tensors={name: Tensor(tensor.shape) for name, tensor in graph.tensors.items()})
    with pytest.raises(ExportError, match=r"is a float graph.*edgemill quantize"):
        qonnx_model(real)
