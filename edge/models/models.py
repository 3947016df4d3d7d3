"""The visible list of models. A new model is one file with a `build` function and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.errors import EdgeError
from quant.names import find

#: Channels, height, width.
Shape = tuple[int, int, int]
#: build(shape, classes, width, blocks) -> torch.nn.Module taking [N, C, H, W] float32 and giving logits [N, classes].
Build = Callable[[Shape, int, int, int], Any]


@dataclass(frozen=True, slots=True)
class Model:
    """One architecture.

    `cut` is the dotted path of the module after which the head ends; `edge.onnx_file.to_onnx` gives that module's
    output the value name `CUT_TENSOR` in the ONNX file. `width` and `blocks` are the defaults.
    """

    name: str
    summary: str
    build: Build
    cut: str
    width: int
    blocks: int


def _dscnn(shape: Shape, classes: int, width: int, blocks: int) -> Any:
    from edge.models import dscnn

    return dscnn.build(shape, classes, width, blocks)


def _resnet8(shape: Shape, classes: int, width: int, blocks: int) -> Any:
    from edge.models import resnet8

    return resnet8.build(shape, classes, width, blocks)


def _staged(shape: Shape, classes: int, width: int, blocks: int) -> Any:
    from edge.models import staged

    return staged.build(shape, classes, width, blocks)


MODELS = (
    Model("dscnn", "depthwise-separable convolutions with ReLU6, global average pool", _dscnn, "blocks.1", 16, 3),
    Model("resnet8", "three residual stacks, MLPerf Tiny's image classifier at 32x32x3", _resnet8, "stacks.1", 16, 3),
    Model("staged", "plain 3x3 convolutions in stages, a teacher for bottlenecks", _staged, "layer2", 16, 4),
)


def find_model(name: str) -> Model:
    """Return the model called `name`, or raise EdgeError with the nearest known name."""
    return find(name, MODELS, "model", EdgeError)


def build(
    model: Model, shape: Shape, classes: int, *, seed: int, width: int | None = None, blocks: int | None = None
) -> Any:
    """Build a model with reproducible initial weights, without touching torch's global random state.

    Args:
        model: an entry of MODELS.
        shape: channels, height, width of the input.
        classes: number of logits.
        seed: same seed, same weights.
        width: channels after the stem; None for the model's default.
        blocks: number of blocks; None for the model's default.

    Returns:
        A `torch.nn.Module`.

    Raises:
        EdgeError: a size the model cannot be built in.
    """
    import torch

    width, blocks = model.width if width is None else width, model.blocks if blocks is None else blocks
    if min(*shape, classes, width) < 1 or blocks < 2:
        raise EdgeError(
            f"model '{model.name}': shape {shape}, {classes} classes, width {width}, {blocks} blocks; every size must "
            "be at least 1, and blocks at least 2 (head and tail need one each)."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.build(shape, classes, width, blocks)
