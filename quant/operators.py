"""The operators a graph is made of: one frozen value each. Layout is NCHW, shapes include a batch axis of 1."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv:
    """2-D convolution; inputs x [1,C,H,W], weight [O,C/groups,kh,kw], bias [O]. Pads are top, left, bottom, right."""

    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """Fully connected layer; inputs x [1,I], weight [O,I], bias [O]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """Elementwise sum of two tensors of the same shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mul:
    """Elementwise product of two tensors: of one shape, or the second [1,C,1,1] for every pixel of the first."""


#: What a `Function` may be. `alpha` is the slope of hard_sigmoid (max(0, min(1, alpha x + beta))) and of leaky_relu's
#: negative side; swish is x sigmoid(x), hard_swish x max(0, min(6, x + 3)) / 6.
FUNCTIONS = ("hard_sigmoid", "hard_swish", "leaky_relu", "sigmoid", "swish", "tanh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One of FUNCTIONS of every value; in a quantised graph a table from input code to output code."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Clamp to [low, high]; Relu is [0, inf]."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """The smaller of each value and its channel's limit (axis 1): what an upper clip is when channels are scaled."""

    limits: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm:
    """Inference batch norm; inputs x, gamma, beta, mean, variance. Folded away before quantisation."""

    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """Constant-zero padding; one count per axis before and after."""

    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Strided slice with one start, end and positive step per axis."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat:
    """Join inputs along an axis (never the batch axis)."""

    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool:
    """Largest value of each window; padding never wins. Pads are top, left, bottom, right."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool:
    """Mean of each window over the positions inside the image (padding not counted)."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """Mean over height and width: [1,C,H,W] to [1,C,1,1] or, without `keep_dims`, [1,C]."""

    keep_dims: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape:
    """The same values in C order under another shape (batch axis kept)."""

    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """Softmax over the last axis. Quantised graphs end at the logits; see `quant.passes.drop_softmax`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantize:
    """Change scale, zero point or format; only in quantised graphs."""


Operator = (
    Conv
    | Gemm
    | Add
    | Mul
    | Function
    | Clip
    | Minimum
    | BatchNorm
    | Pad
    | Slice
    | Concat
    | MaxPool
    | AveragePool
    | Mean
    | Reshape
    | Softmax
    | Requantize
)

OPERATORS: tuple[type[Operator], ...] = (
    Conv,
    Gemm,
    Add,
    Mul,
    Function,
    Clip,
    Minimum,
    BatchNorm,
    Pad,
    Slice,
    Concat,
    MaxPool,
    AveragePool,
    Mean,
    Reshape,
    Softmax,
    Requantize,
)

#: Operators that only move codes, or pick among them: all inputs and the output share one scale and zero point.
MOVES = (Pad, Slice, Concat, MaxPool, AveragePool, Reshape, Minimum)
