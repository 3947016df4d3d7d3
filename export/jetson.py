"""The Jetson targets: ONNX that TensorRT's importer takes, scripts that build and time it, a self-test for the board.

Boards with int8 arithmetic get explicit QDQ; Nano and TX2 have none and get FP16 of the float graph, as others do on
request; Thor computes FP8 as well. Nothing is executed on a board here, and the facts say so.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from export.atomic import write_text
from export.errors import ExportError
from export.jetson_profiles import PROFILES, Profile
from export.target import Capability, Facts, Source, Target, check_capability
from quant import operators as ops
from quant.formats import FORMATS

_WEIGHTS = tuple(f"int{bits}" for bits in range(8, 1, -1))
_EVERY_FORMAT = tuple(fmt.name for fmt in FORMATS)
_OPERATORS = (
    ops.Conv,
    ops.Gemm,
    ops.Add,
    ops.Mul,
    ops.Function,
    ops.Clip,
    ops.Minimum,
    ops.Pad,
    ops.Slice,
    ops.Concat,
    ops.MaxPool,
    ops.AveragePool,
    ops.Mean,
    ops.Reshape,
    ops.Requantize,
)
_INT8 = Capability(
    weights=_WEIGHTS,
    activations=("int8",),
    operators=_OPERATORS,
    symmetric=True,
)
_FP8 = Capability(weights=("e4m3fn",), activations=("e4m3fn",), operators=_OPERATORS)
#: FP16 is written from the float graph, so any quantised graph will do.
_FP16 = Capability(weights=_EVERY_FORMAT, activations=_EVERY_FORMAT, operators=_OPERATORS)


def write(profile: Profile, source: Source, folder: Path) -> Facts:
    """Write `NAME.onnx`, `build.sh`, `run.sh`, `profile.sh`, `selftest.py` and its vectors for one board.

    Raises:
        ExportError: the board cannot take the graph, the linter finds an error (then nothing is written), or FP16 is
            wanted and the source has no float graph.
    """
    from export.jetson_lint import lint, refuse_errors, verdict
    from export.jetson_vectors import write_selftest
    from export.onnx_fragment import IR_VERSIONS, save

    check_capability(_target(profile), source.graph)
    made = _model(profile, source)
    findings = lint(made, profile)
    refuse_errors(findings, profile.target)
    path = folder / f"{source.name}.onnx"
    save(made, path)
    _write_scripts(profile, source.name, folder)
    write_selftest(profile, source, path, folder)
    return {
        "precision": profile.precision,
        "layout": "NCHW",
        "batch": 1,
        "opset": profile.opset,
        "ir_version": IR_VERSIONS[profile.opset],
        "input": source.graph.input,
        "output": source.graph.output,
        "interface": "float32",
        "board": profile.board,
        "jetpack": profile.jetpack,
        "tensorrt": profile.tensorrt,
        "lint": verdict(findings),
        "note": profile.note,
        "onnx_bytes": path.stat().st_size,
        "executed_on_board": False,
    }


def _model(profile: Profile, source: Source) -> Any:
    from export.jetson_qdq import jetson_model
    from export.onnx_half import half_model

    if profile.precision != "fp16":
        return jetson_model(source.graph, profile.opset)
    if source.float_graph is None:
        why = f"{profile.board} (compute {profile.compute}) has no int8 arithmetic, so the quantised graph"
        why = why if not profile.types else "FP16 is asked for, so the quantised graph"
        raise ExportError(
            f"{profile.target}: {why} of part '{source.name}' cannot run there; it gets FP16 of the float graph, which "
            "is not at hand. Give the float model too, or export to another target."
        )
    return half_model(source.float_graph, profile.opset)


def _write_scripts(profile: Profile, name: str, folder: Path) -> None:
    from export.jetson_shell import build_script, profile_script, run_script

    write_text(folder / "build.sh", build_script(profile, name))
    write_text(folder / "run.sh", run_script(profile, name))
    write_text(folder / "profile.sh", profile_script(profile, name))


_FORMS = {
    "int8": ("explicit int8 QDQ", _INT8),
    "fp8": ("explicit FP8 (E4M3FN) QDQ, scheme we4m3fn-ae4m3fn", _FP8),
    "fp16": ("FP16 of the float graph", _FP16),
}


def _target(profile: Profile) -> Target:
    form, capability = _FORMS[profile.precision]
    why = "" if profile.types else " (no int8 hardware)"
    return Target(
        name=profile.target,
        summary=f"{profile.board}, JetPack {profile.jetpack}, TensorRT {profile.tensorrt}: {form}{why}",
        capability=capability,
        write=partial(write, profile),
    )


TARGETS: tuple[Target, ...] = tuple(_target(profile) for profile in PROFILES)
