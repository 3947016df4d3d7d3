"""Activation functions that exporters spell as several ONNX nodes, found before the nodes are imported.

    x * Sigmoid(x)                                        swish (SiLU)
    x * HardSigmoid(x, alpha=1/6, beta=1/2)               hard-swish
    Clip(x + 3, 0, 6) / 6, or times 1/6                   hard sigmoid
    x * Clip(x + 3, 0, 6) / 6, in any order               hard-swish

Each becomes one node of the function's own name, at the place of its last node. Nothing else may read what lies
between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from quant.onnx_read import OnnxModel

#: Constants in files are float32, and 1/6 is none.
TOLERANCE = 1e-6


def with_functions(model: OnnxModel) -> OnnxModel:
    """Return the model with every function that is spelt as several nodes as one."""
    while True:
        finder = _Finder(model)
        found = next((match for node in model.nodes if (match := finder.match(node)) is not None), None)
        if found is None:
            return model
        made, spent = found
        last = made.output[0]
        nodes = [made if node.output[0] == last else node for node in model.nodes]
        left = tuple(node for node in nodes if node is made or not spent.intersection(node.output))
        model = replace(model, nodes=left)


class _Finder:
    """Who makes and how many read each tensor of a model, to look backwards from a node."""

    def __init__(self, model: OnnxModel) -> None:
        self.constants: Mapping[str, Any] = model.constants
        self.makers = {node.output[0]: node for node in model.nodes if node.domain in ("", "ai.onnx")}
        self.readers = Counter(name for node in model.nodes for name in node.input)
        self.readers[model.output] += 1

    def match(self, node: Any) -> tuple[Any, set[str]] | None:
        """Return the one node that stands for `node` and those before it, and the tensors that are spent."""
        if node.domain not in ("", "ai.onnx") or node.op_type not in ("Mul", "Div"):
            return None
        return self._gated(node) or self._sixth(node)

    def _gated(self, node: Any) -> tuple[Any, set[str]] | None:
        """Match x * gate(x)."""
        for x, gate in (node.input, tuple(reversed(node.input))) if node.op_type == "Mul" else ():
            maker = self._alone(gate)
            if maker is None or maker.input[0] != x:
                continue
            if maker.op_type == "Sigmoid":
                return _node(node, "Swish", x), {gate}
            if maker.op_type == "HardSigmoid" and _is_sixth(maker):
                return _node(node, "HardSwish", x), {gate}
        return None

    def _sixth(self, node: Any) -> tuple[Any, set[str]] | None:
        """Match a sixth of Clip(x + 3, 0, 6), or of its product with x."""
        source = self._sixth_of(node)
        maker = self._alone(source) if source else None
        if source is None or maker is None:
            return None
        ramp = self._ramp(source)
        if ramp is not None:
            return _node(node, "HardSigmoid", ramp[0], alpha=1 / 6, beta=0.5), {source, *ramp[1]}
        for x, gate in (maker.input, tuple(reversed(maker.input))) if maker.op_type == "Mul" else ():
            ramp = self._ramp(gate)
            if ramp is not None and ramp[0] == x:
                return _node(node, "HardSwish", x), {source, gate, *ramp[1]}
        return None

    def _sixth_of(self, node: Any) -> str | None:
        """Return what a node divides by 6, or multiplies by 1/6."""
        if node.op_type == "Div":
            return str(node.input[0]) if self._is(node.input[1], 6.0) else None
        constant = [i for i in (0, 1) if self._is(node.input[i], 1 / 6)]
        return str(node.input[1 - constant[0]]) if constant else None

    def _ramp(self, name: str) -> tuple[str, set[str]] | None:
        """Match Clip(x + 3, 0, 6); return x and the tensor between."""
        clip = self._alone(name)
        if clip is None or clip.op_type != "Clip" or not self._limits(clip):
            return None
        shifted = str(clip.input[0])
        add = self._alone(shifted)
        if add is None or add.op_type != "Add":
            return None
        constant = [i for i in (0, 1) if self._is(add.input[i], 3.0)]
        return (str(add.input[1 - constant[0]]), {shifted}) if constant else None

    def _limits(self, clip: Any) -> bool:
        stored = {item.name: item.f for item in clip.attribute}
        if stored:
            return stored == {"min": 0.0, "max": 6.0}
        return len(clip.input) == 3 and self._is(clip.input[1], 0.0) and self._is(clip.input[2], 6.0)

    def _alone(self, name: str) -> Any:
        """Return the node that makes a tensor only one node reads, or None."""
        return self.makers.get(name) if self.readers[name] == 1 else None

    def _is(self, name: str, value: float) -> bool:
        array = self.constants.get(name)
        return array is not None and array.size == 1 and bool(np.isclose(float(array.reshape(-1)[0]), value, TOLERANCE))


def _is_sixth(node: Any) -> bool:
    """Whether a HardSigmoid has the slope and offset of hard-swish; ONNX's own defaults are 0.2 and 0.5."""
    values = {"alpha": 0.2, "beta": 0.5} | {item.name: item.f for item in node.attribute}
    return bool(np.isclose(values["alpha"], 1 / 6, TOLERANCE)) and values["beta"] == 0.5


def _node(last: Any, kind: str, x: str, **attributes: float) -> Any:
    import onnx

    return onnx.helper.make_node(kind, [x], [last.output[0]], name=last.name, **attributes)
