"""Dynamic Perceiver's classification branch with its attention, small: 16 latents. Float only, for comparison.

Learned latents read the features of each stage, pooled to 4x4, by cross-attention; mix by self-attention; and write
back into the features by cross-attention. The feature branch is that of `edge.models.exit_net`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, scaled_dot_product_attention

TOKENS, POOLED, CHANNELS, HEADS = 16, 4, (16, 32, 32), (1, 2, 2)
FEATURES = (2, 2, 4)


class Attention(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Queries of one set of tokens over another; `inner` channels in the middle."""

    def __init__(self, queries: int, keys: int, inner: int, heads: int):
        super().__init__()
        self.heads, self.macs = heads, 0
        self.q, self.kv = nn.Linear(queries, inner), nn.Linear(keys, 2 * inner)
        self.out = nn.Linear(inner, queries)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Map x [N, T, C] and y [N, S, D] to [N, T, C]."""
        key, value = self.kv(y).chunk(2, 2)
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (self.q(x), key, value))
        self.macs = 2 * x.shape[1] * y.shape[1] * key.shape[2]
        return self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Latents(nn.Module):  # type: ignore[misc]
    """One step of the branch: read features, multilayer perceptron, self-attention."""

    def __init__(self, features: int, latents: int, heads: int):
        super().__init__()
        self.local = nn.Conv2d(features, features, 7, 1, 3, groups=features)
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in (latents, features, latents, latents, latents))
        self.read = Attention(latents, features, latents, heads)
        self.mix = Attention(latents, latents, latents, heads)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(latents, w * latents), nn.GELU(), nn.Linear(w * latents, latents)) for w in (1, 4)
        )

    def forward(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Map latents [N, T, C] and features [N, F, H, W] to latents."""
        seen = adaptive_avg_pool2d(x + self.local(x), POOLED).flatten(2).transpose(1, 2)
        z = z + self.read(self.norms[0](z), self.norms[1](seen))
        z = z + self.mlps[0](self.norms[2](z))
        inner = self.norms[3](z)
        z = z + self.mix(inner, inner)
        return z + self.mlps[1](self.norms[4](z))


class AttentionNet(nn.Module):  # type: ignore[misc]
    """Three stages and three exits."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, TOKENS, CHANNELS[0]).mul(0.02).clamp(-2, 2))
        wide = [scale * width for scale in FEATURES]
        stem = [_unit(1, width, 2), _unit(width, wide[0], 2)]
        self.stages = nn.ModuleList([nn.Sequential(*stem), *(_unit(a, b, 1) for a, b in pairwise(wide))])
        self.latents = nn.ModuleList(Latents(*sizes) for sizes in zip(wide, CHANNELS, HEADS, strict=True))
        self.back = nn.ModuleList(
            Attention(f, c, max(c // 2, 8), 1) for f, c in zip(wide[:-1], CHANNELS[:-1], strict=True)
        )
        self.expand = nn.ModuleList(nn.Sequential(nn.LayerNorm(a), nn.Linear(a, b)) for a, b in pairwise(CHANNELS))
        reads = (*CHANNELS[:-1], CHANNELS[-1] + wide[-1])
        self.exits = nn.ModuleList(nn.Linear(channels, classes) for channels in reads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last exit's logits."""
        return self.logits(x)[-1]

    def logits(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits [N, classes] of every exit."""
        z, found = self.first.expand(len(x), -1, -1), []
        for place, (stage, latents) in enumerate(zip(self.stages, self.latents, strict=True)):
            x = stage(x)
            z = latents(z, x)
            if place == len(self.stages) - 1:
                break
            found.append(self.exits[place](z.mean(1)))
            pixels = x.flatten(2).transpose(1, 2)
            x = (pixels + self.back[place](pixels, z)).transpose(1, 2).unflatten(2, x.shape[2:])
            z = self.expand[place](z)
        return [*found, self.exits[-1](torch.cat((z.mean(1), x.mean((2, 3))), 1))]


def exit_macs(net: AttentionNet) -> tuple[int, ...]:
    """Return the multiply-accumulates of leaving at each exit: convolutions, linear layers and attention's products."""
    counts: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            if isinstance(module, nn.Conv2d):
                counts[name] = module.weight.numel() * output.shape[2] * output.shape[3]
            elif isinstance(module, nn.Linear):
                counts[name] = module.weight.numel() * output.numel() // output.shape[-1]
            else:
                counts[name] = module.macs

        return hook

    kinds = (nn.Conv2d, nn.Linear, Attention)
    hooks = [m.register_forward_hook(note(name)) for name, m in net.named_modules() if isinstance(m, kinds)]
    with torch.inference_mode():
        net.logits(torch.zeros(1, 1, 28, 28))
    for hook in hooks:
        hook.remove()

    def until(last: int) -> int:
        """An exit's own stage and latents, and of earlier places everything."""
        mine = {f"{kind}.{last}" for kind in ("stages", "latents", "exits")}
        return sum(
            count
            for name, count in counts.items()
            if (head := ".".join(name.split(".")[:2])) in mine or int(head.split(".")[1]) < last
        )

    return tuple(until(place) for place in range(len(net.stages)))


def _unit(channels: int, out: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())
