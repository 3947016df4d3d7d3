"""What a user asks of a core, checked before anything is built: folds, lanes of the input, and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from export.errors import ExportError
from export.rtl.stream.folds import STYLES, Fold
from export.rtl.stream.output import Output
from export.rtl.stream.units import divisors, image, is_apart
from quant.names import suggestion
from quant.program import Program
from quant.steps import ConvStep, MoveStep, Step, reads

#: Labels are 16 bits at most, as codes are.
MAX_LABELS = 1 << 16


def check_request(program: Program, folds: Mapping[str, Fold], input_lanes: int) -> None:
    """Check folds and lanes.

    Raises:
        ExportError: a fold is of no step or impossible, or the lanes do not divide the input's channels.
    """
    names = [step.name for step in program.steps if not isinstance(step, MoveStep)]
    for name, fold in folds.items():
        if name not in names:
            raise ExportError(
                f"fpga: '{name}' has a fold, but no step to fold is called so. There are {_quoted(names)}."
            )
        if min(fold.pe, fold.simd) < 1 or fold.style not in STYLES:
            raise ExportError(
                f"fpga: step '{name}' cannot be folded with pe {fold.pe}, simd {fold.simd} and style '{fold.style}'. "
                f"Both numbers must be at least 1, and styles are {', '.join(STYLES)}."
            )
    channels = image(program, program.input)[0]
    if input_lanes not in divisors(channels):
        raise ExportError(
            f"fpga: {input_lanes} input lanes do not divide the {channels} channels of input '{program.input}'. "
            f"Allowed are {divisors(channels)}."
        )


def check_fold(program: Program, step: Step, fold: Fold) -> None:
    """Check that a fold divides a layer.

    Raises:
        ExportError: it does not, with the folds that do.
    """
    tensor = reads(step)[0]
    channels = image(program, tensor)[0]
    if is_apart(step, channels):
        possible = channels % fold.pe == 0 and fold.simd == 1
        allowed = f"pe: a divisor of {channels} {divisors(channels)}; simd: 1"
    else:
        assert isinstance(step, ConvStep)
        out, depth = step.weight.shape[0] // step.op.groups, step.weight.shape[1]
        possible = out % fold.pe == 0 and depth % fold.simd == 0
        allowed = f"pe: one of {divisors(out)}; simd: one of {divisors(depth)}"
    if not possible:
        raise ExportError(
            f"fpga: step '{step.name}' cannot be folded with pe {fold.pe} and simd {fold.simd}. Allowed are {allowed}."
        )


def check_results(program: Program, results: tuple[Output, ...]) -> None:
    """Check that a core can have these outputs.

    Raises:
        ExportError: the first is not the network's, one is none of the tensors that steps make, stands there twice, or
            is asked for labels and is no vector (of at most 65,536 codes).
    """
    made = [step.y for step in program.steps]
    if results[0].tensor != program.output:
        raise ExportError(
            f"fpga: the first output of a core is the network's, '{program.output}', not '{results[0].tensor}'."
        )
    for index, result in enumerate(results):
        if result.tensor not in made:
            what = "is the input" if result.tensor == program.input else "is no activation"
            near = suggestion(result.tensor, made)
            raise ExportError(
                f"fpga: '{result.tensor}' {what} of '{program.name}', so it cannot be an output.{near} Allowed is what "
                f"a step makes: {_quoted(made)}."
            )
        if result in results[:index]:
            raise ExportError(f"fpga: '{result.tensor}' is asked for as an output twice; leave one out.")
        shape = program.tensors[result.tensor].shape
        if result.labels and (prod(shape[1:]) != shape[1] or shape[1] > MAX_LABELS):
            raise ExportError(
                f"fpga: labels are the first maximum of a vector of at most {MAX_LABELS} codes, but '{result.tensor}' "
                f"is {list(shape[1:])}; let the network end in one (a mean, a fully connected layer), or ask for codes."
            )


def _quoted(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more
