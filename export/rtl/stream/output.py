"""What leaves a core: a stream of a tensor's codes, or of the labels that its codes stand for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """One stream out of a core: the codes of a tensor; with `labels` one beat a frame, the place of its first maximum.

    The maximum is that of the values the codes stand for: what `argmax` over the ordinals of the reference gives.
    """

    tensor: str
    labels: bool = False
