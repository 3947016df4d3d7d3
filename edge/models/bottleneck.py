"""A student whose first stages are squeezed through a few channels: encoder, decoder, and a teacher's own tail.

Only what the encoder makes crosses the link. The encoder is cheap, because a device runs it: strided convolutions until
the image has the size of the replaced stage, then a 2x2 convolution without padding to the bottleneck's channels. The
decoder, on the server, begins with batch norm and ReLU and gives the replaced stage's shape back. After Matsubara and
Levorato (arXiv 2007.15818), whose convolutions grow the image before the cut instead.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from edge.errors import EdgeError
from edge.models.models import Shape
from quant.names import suggestion

#: Channels of the encoder's first convolution; each further one has twice as many, up to ENCODER_MOST.
ENCODER_FIRST, ENCODER_MOST = 8, 32
PARTS = ("encoder", "decoder", "tail")


class Bottleneck(nn.Module):  # type: ignore[misc]  # torch has no types here
    """tail(decoder(encoder(x))). Parts in `frozen` stay in evaluation mode, so that their running statistics stay."""

    def __init__(self, encoder: nn.Sequential, decoder: nn.Sequential, tail: nn.Sequential):
        super().__init__()
        self.encoder, self.decoder, self.tail = encoder, decoder, tail
        self.frozen: tuple[str, ...] = ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to logits."""
        return self.tail(self.decoder(self.encoder(x)))

    def train(self, mode: bool = True) -> Bottleneck:
        """Set the mode of all parts that are not frozen."""
        super().train(mode)
        for name in self.frozen:
            getattr(self, name).eval()
        return self


def freeze(student: Bottleneck, names: Sequence[str]) -> None:
    """Train all parts but these; frozen ones keep weights and running statistics.

    Raises:
        EdgeError: a name is none of PARTS.
    """
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise EdgeError(f"a bottleneck has no part '{unknown[0]}'; it has {', '.join(PARTS)}.")
    student.frozen = tuple(names)
    for name in PARTS:
        getattr(student, name).requires_grad_(name not in names)
    student.train(student.training)


def stages_of(teacher: nn.Module, replaced: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Divide a teacher after a stage: what a bottleneck replaces, and what follows.

    Args:
        teacher: a `torch.nn.Sequential` of named stages. One with a dot in its name (`blocks.1`) lies in a stage that
            is a Sequential itself.
        replaced: the last stage that is replaced.

    Returns:
        Two sequences of the teacher's own modules (not copies), named as in the teacher with `_` for dots.

    Raises:
        EdgeError: the teacher is no sequence, has no such stage, or nothing follows it.
    """
    opened = _opened(teacher, replaced, "")
    names = [name for name, _ in opened]
    if replaced not in names:
        raise EdgeError(
            f"the teacher has no stage '{replaced}'.{suggestion(replaced, names)} It has {', '.join(names)}."
        )
    place = names.index(replaced) + 1
    if place == len(names):
        raise EdgeError(f"'{replaced}' is the teacher's last stage; replace an earlier one: {', '.join(names[:-1])}.")
    flat = [(name.replace(".", "_"), module) for name, module in opened]
    return nn.Sequential(OrderedDict(flat[:place])), nn.Sequential(OrderedDict(flat[place:]))


def _opened(module: nn.Module, replaced: str, prefix: str) -> list[tuple[str, nn.Module]]:
    """Return a sequence's stages in order; a stage that `replaced` lies in is itself opened."""
    if not isinstance(module, nn.Sequential):
        raise EdgeError(
            f"{f'stage {prefix[:-1]!r} of the teacher' if prefix else 'the teacher'} is {type(module).__name__}, not a "
            "torch.nn.Sequential of stages; wrap its stages in one."
        )
    found: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        path = prefix + name
        found += _opened(child, replaced, f"{path}.") if replaced.startswith(f"{path}.") else [(path, child)]
    return found


def build(
    teacher: nn.Module, replaced: str, shape: Shape, channels: int, *, seed: int, final_relu: bool = True
) -> Bottleneck:
    """Build an untrained student of a teacher. The teacher is not changed; the tail is a copy.

    Args:
        teacher: as `stages_of` takes it; trained.
        replaced: the last stage that is replaced.
        shape: channels, height, width of the input.
        channels: c, what crosses the link.
        seed: same seed, same initial encoder and decoder.
        final_relu: whether the decoder ends in ReLU, as the replaced stage does.

    Raises:
        EdgeError: as `stages_of`; no channels; or the replaced stage's size is not that of an image halved.
    """
    front, tail = stages_of(teacher, replaced)
    if channels < 1:
        raise EdgeError(f"a bottleneck of {channels} channels carries nothing; give at least 1.")
    out = _shape_after(front, shape)
    if len(out) != 3:
        raise EdgeError(
            f"stage '{replaced}' gives values of shape {out}; only an image [channels, height, width] can be rebuilt."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = _encoder(shape, (out[0], out[1], out[2]), channels, replaced)
        decoder = _decoder(channels, out[0], final_relu)
    return Bottleneck(encoder, decoder, copy.deepcopy(tail))


def _shape_after(front: nn.Sequential, shape: Shape) -> tuple[int, ...]:
    modes = [(module, module.training) for module in front.modules()]
    front.eval()
    with torch.no_grad():
        out = front(torch.zeros(1, *shape))
    for module, training in modes:
        module.training = training
    return tuple(out.shape[1:])


def _encoder(shape: Shape, out: Shape, channels: int, replaced: str) -> nn.Sequential:
    """Halve the image until it has the stage's size, then 2x2 to the bottleneck: one row and one column fewer."""
    size, wide = shape[1:], shape[0]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    while size != out[1:] or not layers:
        stride = 1 if size == out[1:] else 2
        size = (-(-size[0] // stride), -(-size[1] // stride))
        if size[0] < out[1] or size[1] < out[2] or min(out[1:]) < 2:
            raise EdgeError(
                f"stage '{replaced}' gives {out[1]}x{out[2]} of an input of {shape[1]}x{shape[2]}; a bottleneck needs "
                "a stage of at least 2x2 whose size is the input's, halved any number of times."
            )
        width = min(ENCODER_FIRST << len(layers), ENCODER_MOST)
        conv = nn.Conv2d(wide, width, 3, stride, 1, bias=False)
        layers[f"unit{len(layers) + 1}"] = nn.Sequential(
            OrderedDict(conv=conv, norm=nn.BatchNorm2d(width), relu=nn.ReLU())
        )
        wide = width
    return nn.Sequential(OrderedDict(**layers, squeeze=nn.Conv2d(wide, channels, 2, bias=False)))


def _decoder(channels: int, out: int, final_relu: bool) -> nn.Sequential:
    """Undo the squeeze: 2x2 with padding gives row and column back, 3x3 shapes the features."""
    layers = OrderedDict(
        norm=nn.BatchNorm2d(channels),
        relu=nn.ReLU(),
        conv1=nn.Conv2d(channels, out, 2, padding=1, bias=False),
        norm1=nn.BatchNorm2d(out),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(out, out, 3, padding=1, bias=False),
        norm2=nn.BatchNorm2d(out),
    )
    return nn.Sequential(OrderedDict(**layers, relu2=nn.ReLU()) if final_relu else layers)


def deployable(student: Bottleneck) -> Bottleneck:
    """Return a copy in evaluation mode whose first batch norm behind the cut is a 1x1 convolution per channel.

    A batch norm behind a convolution would be folded into it: the tensor that crosses the link would be another, and
    the device would make it. The function is the same up to float rounding.
    """
    made: Bottleneck = copy.deepcopy(student).eval()
    norm = made.decoder.norm
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    affine = nn.Conv2d(gain.numel(), gain.numel(), 1, groups=gain.numel())
    with torch.no_grad():
        affine.weight.copy_(gain.view(-1, 1, 1, 1))
        affine.bias.copy_(norm.bias.double() - norm.running_mean.double() * gain)
    made.decoder.norm = affine.eval()
    return made
