"""Random small quantised networks over whatever a target takes, whose outputs vary and whose labels differ.

`random_network` draws a network from choices (`benchmarks.choices`): those of a seed, of a recorded list, or of a test
library that makes failing ones shorter. Every layer's output scale follows the values that come out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import random_moves as moves
from benchmarks.choices import Pick, between, one_of, recorded, replayed, seeded, spell
from benchmarks.growth import Growth, labels, varies
from benchmarks.random_layers import CHANNELS, Draw, Space, conv, gemm
from export.target import Capability
from quant import operators as ops
from quant.formats import Array, Format, find_format
from quant.graph import Graph, Quant, Tensor

#: Formats in the order in which they are tried; those that come up most stand more than once.
COMMON = (
    "int8", "int8", "int8", "int8", "uint8", "int16", "int4", "e4m3", "int8", "int5", "e3m2", "int6", "e4m3fn", "int3",
    "int7", "e2m1", "e5m2", "uint4", "int2", "e3m4", "e2m3", "int12", "e5m2ocp", "int9", "uint6", "e1m3", "e2m5",
    "int16", "int14", "uint5",
)  # fmt: skip
#: Inputs of a network: smooth ones, one of uniformly random codes, one of the lowest and highest codes only.
SMOOTH = 3
IMAGES = SMOOTH + 2
MAX_LAYERS = 8
#: At most this many values an input.
MAX_INPUT = 1200
#: A seed whose network does not vary gets so many other tries.
TRIES = 20

Layer = Callable[[Growth, Draw], bool]
#: What a body is made of, and the operator that must be allowed; the plainest first.
LAYERS: tuple[tuple[type[ops.Operator], Layer], ...] = (
    *[(ops.Conv, conv)] * 7,
    *[(ops.Conv, moves.residual)] * 3,
    *[(ops.Conv, moves.separable)] * 4,
    (ops.Add, moves.add),
    (ops.Function, moves.function),
    (ops.Function, moves.squeeze_and_excite),
    (ops.Mul, moves.mul),
    (ops.MaxPool, moves.max_pool),
    (ops.AveragePool, moves.average_pool),
    (ops.Concat, moves.concat),
    (ops.Clip, moves.clip),
    (ops.Minimum, moves.minimum),
    (ops.Requantize, moves.requantize),
    (ops.Pad, moves.pad),
    (ops.Slice, moves.slice_),
    (ops.Reshape, moves.reshape),
    (ops.Mean, lambda net, draw: draw.pick(3) == 2 and moves.mean(net, draw)),
    (ops.Gemm, lambda net, draw: gemm(net, draw, one_of(draw.pick, CHANNELS))),
)


@dataclass(frozen=True, eq=False, repr=False)
class Example:
    """A network, its input codes [N, ...], the reference's codes of every activation, and how to make it again."""

    graph: Graph
    inputs: Array
    values: dict[str, Array]
    recipe: tuple[int, ...] = ()

    def __repr__(self) -> str:
        """Return the recipe: all there is to say in a failing test."""
        return f"Example({spell(self.recipe)!r})"


def space_of(capability: Capability) -> Space:
    """Return the networks that a target can express."""
    activations, weights = (
        tuple(find_format(name) for name in COMMON if name in allowed)
        for allowed in (capability.activations, capability.weights)
    )
    return Space(capability.operators, activations, weights, capability.symmetric)


def of_seed(space: Space, seed: int) -> Example:
    """Return the network of a seed.

    Raises:
        ValueError: no try makes a network that varies.
    """
    for attempt in range(TRIES):
        found = random_network(seeded(seed, attempt), space)
        if found is not None:
            return found
    raise ValueError(f"seed {seed} makes no network that varies in {TRIES} tries; use another.")


def of_recipe(space: Space, recipe: tuple[int, ...]) -> Example | None:
    """Return the network of recorded choices, or None where it does not vary."""
    return random_network(replayed(recipe), space)


def random_network(pick: Pick, space: Space) -> Example | None:
    """Draw a network, or return None where its output does not vary or all its labels are the same."""
    recipe: list[int] = []
    draw = Draw(recorded(pick, recipe), np.random.default_rng(0), space)
    depth = between(draw.pick, 1, MAX_LAYERS)
    space = one_of(draw.pick, (_bytes(space), space))
    draw = Draw(draw.pick, np.random.default_rng(draw.pick(1 << 16)), space)
    net, inputs = _start(draw)
    allowed = [layer for kind, layer in LAYERS if kind in space.operators]
    if draw.pick(3) == 2 and ops.Conv in space.operators:
        # Few layers of this kind: then they decide how much memory a network needs, and share it by rows.
        allowed, depth = [moves.separable, moves.separable, moves.residual], min(depth, 3)
    # A layer that does not fit the tensor on top adds nothing; another one is tried.
    for _ in range(3 * depth):
        if depth > 0 and one_of(draw.pick, allowed)(net, draw):
            depth -= 1
    if draw.pick(4) < 3 or not _tells_apart(net):
        _classify(net, draw)
    if not net.nodes or not _tells_apart(net):
        return None
    graph = net.graph()
    return Example(graph, inputs, {name: net.values[name] for name in graph.activations()}, tuple(recipe))


def _bytes(space: Space) -> Space:
    """Return the part of a space that most networks on devices use: signed bytes, weights of at most 8 bits."""
    activations = tuple(fmt for fmt in space.activations if fmt.name == "int8") or space.activations
    weights = tuple(fmt for fmt in space.weights if fmt.signed and not fmt.is_minifloat and fmt.bits <= 8)
    return replace(space, activations=activations, weights=weights or space.weights)


def _start(draw: Draw) -> tuple[Growth, Array]:
    """Draw an input and its codes: an image, a sequence along either axis, or a vector."""
    pick, fmt = draw.pick, one_of(draw.pick, draw.space.activations)
    kind = pick(6)
    shape: tuple[int, ...] = (1, one_of(pick, (3, 1, *CHANNELS)), between(pick, 4, 13), between(pick, 3, 12))
    if kind in (3, 4):
        length = between(pick, 8, 40)
        shape = (1, shape[1], *((length, 1) if kind == 3 else (1, length)))
    if kind == 5:
        shape = (1, between(pick, 3, 70))
    while np.prod(shape) > MAX_INPUT:
        shape = (1, shape[1] // 2, *shape[2:])
    signed_middle = 0 if fmt.is_minifloat or draw.space.symmetric else between(pick, 0, 2) - 1
    zero = round(signed_middle * 0.3 * fmt.max_ordinal) if fmt.signed else abs(signed_middle) * (fmt.max_ordinal // 2)
    quant = Quant(fmt, (float(np.float32(2.0 / (fmt.max if fmt.is_minifloat else fmt.max_ordinal))),), zero)
    codes = images(fmt, shape, draw.rng)
    # The reference begins with positive zeros only.
    return Growth("x", {"x": Tensor(shape, quant)}, {"x": fmt.from_ordinals(fmt.to_ordinals(codes))}), codes


def images(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return input codes [IMAGES, ...]; a minifloat's negative zero is among them."""
    low, high = fmt.min_ordinal, fmt.max_ordinal
    centre = rng.uniform(low, high, (SMOOTH, shape[1], *(1 for _ in shape[2:])))
    smooth = np.clip(np.rint(centre + rng.uniform(-0.4, 0.4, (SMOOTH, *shape[1:])) * (high - low)), low, high)
    uniform = rng.integers(low, high + 1, shape)
    ends = np.where(rng.random(shape) < 0.5, low, high)
    codes = fmt.from_ordinals(np.concatenate([smooth.astype(np.int64), uniform, ends]))
    if fmt.is_minifloat:
        codes[SMOOTH][rng.random(shape[1:]) < 0.05] = 1 << (fmt.bits - 1)
    return codes


def _classify(net: Growth, draw: Draw) -> None:
    """Add what classifiers end with: a mean or a flattening, and a fully connected layer."""
    if len(net.shape()) != 2 and not (draw.pick(2) == 0 and moves.mean(net, draw, keep=False)):
        total = int(np.prod(net.shape()))
        if ops.Reshape in draw.space.operators:
            net.grow(ops.Reshape(shape=(1, total)), (net.top,), (1, total), net.quant())
    if ops.Gemm in draw.space.operators:
        gemm(net, draw, between(draw.pick, 2, 11), clip=False)


def _tells_apart(net: Growth) -> bool:
    fmt, codes = net.quant().format, net.values[net.top]
    return bool(net.nodes) and varies(fmt, codes) and len(labels(fmt, codes)) > 1
