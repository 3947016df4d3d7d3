"""Hadamard rotation: outlier channels spread over all, where a stream between linear layers allows it.

A stream is a set of activations joined by Adds. When every layer that writes it is linear (no activation) and every
layer that reads it too, the stream may be rotated: writers get H W, readers W H^T, with H H^T = I, and the function is
the same. Quamba rotates the output of its selective scan this way (arXiv 2410.13229); in a network with linear
bottlenecks the streams between blocks are of this kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quant.formats import Array, FloatArray
from quant.graph import Graph, Node, joined_by
from quant.operators import Add, Conv, Gemm

#: Doubles any Hadamard matrix.
SYLVESTER: FloatArray = np.array([[1.0, 1.0], [1.0, -1.0]])


@dataclass(frozen=True, slots=True)
class Stream:
    """Activations that share channels: the layers that write and read them, and how many channels there are."""

    writers: tuple[Node, ...]
    readers: tuple[Node, ...]
    channels: int


def rotate(graph: Graph) -> Graph:
    """Rotate every stream of a prepared float graph whose channel count has a Hadamard matrix; exact."""
    weights = dict(graph.weights)
    for stream in find_streams(graph):
        matrix = hadamard(stream.channels)
        if matrix is None:
            continue
        for node in stream.writers:
            for name in node.inputs[1:]:
                weights[name] = np.tensordot(matrix, weights[name], axes=(1, 0)).astype(np.float32)
        for node in stream.readers:
            turned = np.tensordot(weights[node.inputs[1]], matrix, axes=(1, 1))
            weights[node.inputs[1]] = np.moveaxis(turned, -1, 1).astype(np.float32)
    return replace(graph, weights=weights)


def find_streams(graph: Graph) -> tuple[Stream, ...]:
    """Return the streams between linear layers of a float graph."""
    streams = (_stream(graph, names) for names in joined_by(graph, (Add,)))
    return tuple(stream for stream in streams if stream is not None)


def _stream(graph: Graph, names: tuple[str, ...]) -> Stream | None:
    """Return the stream of some activations, None when a node that touches it is not linear over channels."""
    if graph.input in names or graph.output in names:
        return None
    makers = [node for node in graph.nodes if node.output in names and not isinstance(node.op, Add)]
    readers = [node for node in graph.nodes if set(node.inputs) & set(names) and not isinstance(node.op, Add)]
    sums = [node for node in graph.nodes if node.output in names and isinstance(node.op, Add)]
    linear = all(_mixes_channels(node) for node in (*makers, *readers))
    unclipped = all(node.clip is None for node in (*makers, *sums))
    if not (linear and unclipped and makers and readers):
        return None
    return Stream(tuple(makers), tuple(readers), graph.shape(names[0])[1])


def _mixes_channels(node: Node) -> bool:
    return isinstance(node.op, Gemm) or (isinstance(node.op, Conv) and node.op.groups == 1)


def hadamard(order: int) -> FloatArray | None:
    """Return an orthonormal Hadamard matrix [order, order], None where this construction has none.

    Sylvester doubles a smaller one; Paley's first construction gives q + 1 for primes q = 3 mod 4, the second
    2 (q + 1) for primes q = 1 mod 4.
    """
    signs = _signs(order)
    return None if signs is None else signs / np.sqrt(order)


def _signs(order: int) -> FloatArray | None:
    if order in (1, 2):
        return SYLVESTER[:order, :order]
    if order % 4:
        return None
    half = _signs(order // 2)
    if half is not None:
        return np.kron(SYLVESTER, half)
    if _is_prime(order - 1):
        return _paley_first(order - 1)
    return _paley_second(order // 2 - 1) if (order // 2 - 1) % 4 == 1 and _is_prime(order // 2 - 1) else None


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % k for k in range(2, int(number**0.5) + 1))


def _jacobsthal(q: int) -> Array:
    """Return Q[i, j] = Legendre symbol of i - j modulo the prime q."""
    squares = {k * k % q for k in range(1, q)}
    symbol = np.array([0.0, *(1.0 if k in squares else -1.0 for k in range(1, q))])
    index = np.arange(q)
    matrix: Array = symbol[(index[:, None] - index[None, :]) % q]
    return matrix


def _paley_first(q: int) -> FloatArray:
    matrix = np.ones((q + 1, q + 1))
    matrix[1:, 1:] = _jacobsthal(q) + np.eye(q)
    matrix[1:, 0] = -1.0
    return matrix


def _paley_second(q: int) -> FloatArray:
    core = np.ones((q + 1, q + 1))
    core[0, 0] = 0.0
    core[1:, 1:] = _jacobsthal(q)
    minus = np.array([[1.0, -1.0], [-1.0, -1.0]])
    matrix: FloatArray = np.kron(core, SYLVESTER) + np.kron(np.eye(q + 1), minus)
    return matrix
