"""The plain way to train a classifier."""

from __future__ import annotations

from typing import Any

from edge.recipes.recipe import Recipe


def _loss(module: Any, x: Any, y: Any) -> Any:
    from torch.nn.functional import cross_entropy

    return cross_entropy(module(x), y)


RECIPE = Recipe("cross-entropy", "mean cross-entropy of the logits against the labels", _loss)
