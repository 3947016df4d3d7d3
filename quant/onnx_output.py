"""The grid of an output that a quantised file leaves in real values (NNCF does, Brevitas often does).

Such logits are the last accumulator times its scale. They get 16-bit codes whose scale covers whatever the weights can
make of any input, so that nothing is guessed and nothing saturates. `narrow_output` gives them fewer bits, with data.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant.errors import QuantError
from quant.formats import INT8, Array, Format, integer
from quant.graph import Graph, Node, Quant, Tensor
from quant.operators import MOVES, Add, AveragePool, Conv, Function, Gemm, Mean, Mul
from quant.program import lower
from quant.ranges import check_calibration
from quant.reference import dequantise, fast_dot, quantise_input, run

INT16 = integer(16)


def give_output_grid(graph: Graph) -> Graph:
    """Give an output of real values a 16-bit grid that no input can leave; unchanged where it has one.

    A sum in minifloat units does not fit the integer rule of `quant.fixedpoint`: such outputs stay without a grid.
    """
    chain = _output_chain(graph)
    made = graph.producer(chain[-1]) if chain else None
    bound = 0.0 if made is None else _bound(graph, made)
    if bound <= 0:
        return graph
    quant = Quant(INT16, (_float32(bound / INT16.max),))
    return replace(graph, tensors={**graph.tensors, **{name: Tensor(graph.shape(name), quant) for name in chain}})


def _float32(value: float) -> float:
    """Round up to float32, so that the bound stays inside."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))


def _output_chain(graph: Graph) -> list[str]:
    """Return the output and the tensors it is merely moved from, as long as they have no grid and no other reader."""
    chain: list[str] = []
    name = graph.output
    while graph.tensors[name].quant is None and len(graph.consumers(name)) == len(chain[:1]):
        chain.append(name)
        made = graph.producer(name)
        if made is None or not isinstance(made.op, MOVES) or isinstance(made.op, AveragePool) or len(made.inputs) > 1:
            return chain
        name = made.inputs[0]
    return []


def _bound(graph: Graph, node: Node) -> float:
    """Return the largest magnitude a node can make; 0 where that is not known or needs the wide rule."""
    quants = [
        graph.tensors[name].quant for name in node.inputs[: 2 if isinstance(node.op, Add | Mul | Conv | Gemm) else 1]
    ]
    known = [quant for quant in quants if quant is not None and not quant.format.is_minifloat]
    if len(known) < len(quants):
        return 0.0
    low, high = _span(known[0])
    if isinstance(node.op, Mean | AveragePool):
        bound = max(-low, high)
    elif isinstance(node.op, Add):
        bound = max(-low, high) + max(map(abs, _span(known[1])))
    elif isinstance(node.op, Mul):
        bound = max(-low, high) * max(map(abs, _span(known[1])))
    elif isinstance(node.op, Function):
        # No function grows faster than its input, and all but 1 are below 1 where that is small.
        bound = max(-low, high, 1.0)
    elif isinstance(node.op, Conv | Gemm):
        weight, bias = (graph.weights[name].astype(np.float64) for name in node.inputs[1:])
        rows = weight.reshape(len(weight), -1)
        # Padding adds nothing: 0 is always within reach.
        low, high = min(low, 0.0) / known[0].scale[0], max(high, 0.0) / known[0].scale[0]
        up, down = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
        units = np.maximum(np.abs(up * high + down * low + bias), np.abs(up * low + down * high + bias))
        bound = float((units * np.array(known[1].scale) * known[0].scale[0]).max())
    else:
        return 0.0
    return bound if node.clip is None else min(bound, max(map(abs, node.clip)))


def _span(quant: Quant) -> tuple[float, float]:
    """Return the smallest and largest real value of an integer grid."""
    return (quant.format.min - quant.zero) * quant.scale[0], (quant.format.max - quant.zero) * quant.scale[0]


def narrow_output(graph: Graph, inputs: Array, fmt: Format = INT8) -> Graph:
    """Give the output fewer bits, with the range it has on real inputs.

    Args:
        graph: a quantised graph whose output is made by one operator (not merely moved).
        inputs: pre-processed inputs, float32 [N, ...].
        fmt: format of the output.

    Raises:
        QuantError: the inputs do not fit the graph, or the output is moved codes.
    """
    from quant.ptq import activation_quant

    made = graph.producer(graph.output)
    if made is None or isinstance(made.op, MOVES):
        raise QuantError(
            f"graph '{graph.name}': its output '{graph.output}' has the grid of the tensor it is moved from; only an "
            "output that a layer makes can get another one."
        )
    x = check_calibration(graph, inputs)
    quant = graph.quant(graph.output)
    codes = run(lower(graph), quantise_input(graph.quant(graph.input), x), fast_dot)[graph.output]
    real = dequantise(quant, codes)
    narrow = activation_quant(fmt, float(real.min()), float(real.max()), symmetric=False)
    narrowed = replace(graph, tensors={**graph.tensors, graph.output: Tensor(graph.shape(graph.output), narrow)})
    lower(narrowed)
    return narrowed
