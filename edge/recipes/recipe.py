"""What a recipe is: a name, a sentence and a loss. What is more than a loss is a procedure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train. `loss(module, x, y)` runs the module and returns a scalar torch tensor to minimise.

    x is float32 [N, C, H, W], y int64 [N]. The loss gets the module, not the logits, so that a recipe may look inside.
    """

    name: str
    summary: str
    loss: Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Procedure:
    """A way to train that is more than a loss, with networks of its own; `function` is where a program finds it."""

    name: str
    summary: str
    function: str
