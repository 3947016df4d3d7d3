"""The linter that stands between the exporter and a Jetson: predicts what TensorRT's ONNX importer refuses.

There is no TensorRT off the board, so a pass says that no known rule is broken, not that the engine builds.
Import lazily: this module needs the onnx package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.jetson_placement import placement
from export.jetson_profiles import Profile
from export.jetson_rules import RULES, Finding, error, label
from export.jetson_view import View, view

#: Numbers of all rules that `lint` checks.
RULE_NUMBERS = tuple(range(1, 12))
_OWN_DOMAINS = ("", "ai.onnx")


def lint(model: Any, profile: Profile, shaped: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    """Return every finding for a ModelProto on a board.

    Args:
        model: the model.
        profile: the board.
        shaped: inputs whose dynamic dimensions trtexec gets by --minShapes, --optShapes and --maxShapes.
    """
    seen = view(model)
    found = [finding for rule in (*RULES, placement) for finding in rule(seen, profile)]
    return (*found, *operator_set(seen, profile), *_dynamic(model, shaped))


def lint_file(path: Path, profile: Profile, shaped: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    """Lint a file; see `lint`.

    Raises:
        ExportError: the file is missing or not an ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
    except (OSError, DecodeError) as cause:
        raise ExportError(f"cannot read {path} as ONNX: {cause}") from cause
    if not model.graph.node or not model.opset_import:
        # An empty file is a valid message without any field; it must not pass for want of nodes.
        raise ExportError(f"{path} holds no ONNX graph: it has no nodes or no operator set. Export the model again.")
    return lint(model, profile, shaped)


def operator_set(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 11: the operator set is within the board's limit, no node is of a foreign domain or holds a graph."""
    versions = [o.version for o in view.model.opset_import if o.domain in _OWN_DOMAINS]
    for version in versions:
        if version > profile.opset_max:
            yield Finding(
                11,
                "error",
                "model",
                f"operator set {version}; TensorRT {profile.tensorrt} takes at most {profile.opset_max}.",
                f"Export at operator set {profile.opset}.",
            )
    for node in view.nodes:
        if node.domain not in _OWN_DOMAINS:
            yield error(11, node, f"it is of the foreign domain {node.domain}.", "Write it with standard operators.")
        elif any(a.HasField("g") or a.graphs for a in node.attribute):
            said = "it holds a graph of its own, into which no rule looks here."
            yield Finding(11, "warning", label(node), said, "Export the network without control flow.")


def _dynamic(model: Any, shaped: tuple[str, ...]) -> Iterator[Finding]:
    """Rule 11: a dynamic dimension needs shapes on the command line."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for port in model.graph.input:
        if port.name not in constants and port.name not in shaped and not _static(port):
            yield Finding(
                11,
                "error",
                f"input '{port.name}'",
                "it has a dynamic dimension.",
                "Export with a fixed batch, or give trtexec --minShapes, --optShapes and --maxShapes (no DLA then).",
            )


def _static(port: Any) -> bool:
    """Whether a model input has a known rank and sizes."""
    kind = port.type.tensor_type
    return kind.HasField("shape") and all(d.dim_value > 0 for d in kind.shape.dim)


def refuse_errors(findings: Iterable[Finding], target: str) -> None:
    """Raise ExportError with every finding of severity error."""
    errors = [str(finding) for finding in findings if finding.severity == "error"]
    if errors:
        shown = "\n".join(errors[:5]) + (f"\n... and {len(errors) - 5} more" if len(errors) > 5 else "")
        raise ExportError(f"{target}: the model breaks rules of TensorRT's ONNX importer:\n{shown}")


def verdict(findings: Iterable[Finding]) -> dict[str, object]:
    """Return the JSON form of a lint: PASS or FAIL, the rules checked, and the findings' rules by severity."""
    found = tuple(findings)
    errors = sorted({f.rule for f in found if f.severity == "error"})
    return {
        "verdict": "FAIL" if errors else "PASS",
        "rules_checked": list(RULE_NUMBERS),
        "errors": errors,
        "warnings": sorted({f.rule for f in found if f.severity == "warning"}),
        "findings": [str(f) for f in found],
    }
