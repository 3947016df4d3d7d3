"""How much of a QDQ model ONNX Runtime really executes in integers, read from its optimised model."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from export.runtimes.ort import open_ort

#: Operator of the file -> the integer operator that it becomes.
INTEGER_FORMS = {
    "Conv": "QLinearConv",
    "Gemm": "QGemm",
    "MatMul": "QLinearMatMul",
    "Add": "QLinearAdd",
    "Mul": "QLinearMul",
    "GlobalAveragePool": "QLinearGlobalAveragePool",
    "AveragePool": "QLinearAveragePool",
    "Concat": "QLinearConcat",
}


def fusion(file: Path) -> dict[str, tuple[int, int]]:
    """Return (how many became integer operators, how many the file holds) for each operator of `INTEGER_FORMS`.

    Raises:
        ExportError: ONNX Runtime refuses the file.
    """
    import onnx

    with tempfile.TemporaryDirectory() as scratch:
        optimised = Path(scratch) / "optimised.onnx"
        open_ort(file, optimised=optimised)
        made = Counter(node.op_type for node in onnx.load(optimised).graph.node)
    held = Counter(node.op_type for node in onnx.load(file).graph.node)
    return {kind: (made[form], held[kind]) for kind, form in INTEGER_FORMS.items() if held[kind]}


def fused_convs(file: Path) -> tuple[int, int]:
    """Return how many convolutions became QLinearConv, and how many there are.

    Raises:
        ExportError: ONNX Runtime refuses the file.
    """
    return fusion(file).get("Conv", (0, 0))
