"""Whether a bundle with rules, executed by a runtime, gives the answers of its definition: who answers, and what."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import numpy as np

from export.dynamic import DROPPED, Answers, Execute, run_parts
from export.errors import ExportError
from quant.formats import Array
from quant.program import lower
from quant.reference import fast_dot, run

if TYPE_CHECKING:
    from export.bundle_read import Bundle, BundlePart
    from export.runtimes.session import Runtime


def defined_answers(bundle: Bundle, codes: Array) -> Answers:
    """Return what the reference answers."""
    programs = [lower(part.graph) for part in bundle.parts]
    return run_parts(bundle.manifest, lambda i, given: run(programs[i], given, fast_dot)[programs[i].output], codes)


def runtime_answers(bundle: Bundle, runtime: Runtime, codes: Array) -> Answers:
    """Return what a runtime answers; every part is opened once.

    Raises:
        ExportError: the runtime cannot open or run a part.
    """
    with ExitStack() as stack:
        return run_parts(bundle.manifest, _executor(stack, bundle.parts, runtime), codes)


def _executor(stack: ExitStack, parts: Sequence[BundlePart], runtime: Runtime) -> Execute:
    sessions = [stack.enter_context(closing(runtime.open(p.folder, p.stem, p.graph))) for p in parts]
    return lambda index, codes: np.array(sessions[index].run(codes))


def differences(expected: Answers, found: Answers) -> tuple[int, int]:
    """Return for how many inputs another part answers or the label is another, and how many codes of outputs differ."""
    frames = int(((expected.part != found.part) | (expected.label != found.label)).sum())
    codes = sum(int((a != b).sum()) for a, b in zip(expected.outputs, found.outputs, strict=True))
    return frames, codes


def told_otherwise(expected: Answers, bundle: Bundle, runtime: Runtime, codes: Array) -> int:
    """Return for how many inputs the parts as one program answer otherwise; 0 where the runtime has no such program.

    Raises:
        ExportError: the program does not compile or run.
    """
    if runtime.joint is None:
        return 0
    told = runtime.joint(bundle, codes)
    if len(told.part) != len(codes):
        raise ExportError(f"{runtime.name}: the parts as one program gave {len(told.part)} answers for {len(codes)}.")
    return int(((expected.part != told.part) | (expected.label != told.label)).sum())


def variety(answers: Answers) -> int:
    """Return how many different labels are answered."""
    return len(set(answers.label[answers.label != DROPPED].tolist()))


def same_labels(expected: Answers, found: Answers) -> float:
    """Return the share of inputs with the same label; a dropped frame is one more label."""
    return float((expected.label == found.label).mean())
