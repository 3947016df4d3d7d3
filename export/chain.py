"""How the parts of a bundle fit together: whose output each one reads, and where rules may stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.errors import ExportError
from export.manifest import INPUT, Manifest, PartRecord, TensorSpec
from export.rule import COMBINATIONS
from quant.formats import Array

SURER = COMBINATIONS[1]


def source_of(parts: tuple[PartRecord, ...], index: int) -> int | None:
    """Return which part a part reads; None: the bundle's own input.

    Raises:
        ExportError: the source is no earlier part.
    """
    return source_index([part.name for part in parts], index, parts[index].source)


def source_index(names: Sequence[str], index: int, source: str | None) -> int | None:
    """Return the place of a part's source among the names of all parts; see `source_of`."""
    if source is None:
        return index - 1 if index else None
    if source == INPUT:
        return None
    earlier = list(names[:index])
    if source not in earlier:
        known = ", ".join((INPUT, *earlier))
        raise ExportError(f"part '{names[index]}' reads '{source}', which is no part before it; known are {known}.")
    return earlier.index(source)


def answering(manifest: Manifest) -> tuple[int, ...]:
    """Return the parts that may answer: those with such a rule, and the last."""
    last = len(manifest.parts) - 1
    ruled = [i for i, part in enumerate(manifest.parts) if part.after is not None and part.after.action == "answer"]
    return tuple(dict.fromkeys((*ruled, last)))


def check_chain(manifest: Manifest, vectors: list[tuple[Array, Array]], where: str) -> None:
    """Check that pre-processing, parts, rules and labels fit together.

    Args:
        manifest: of the bundle.
        vectors: codes of test inputs and outputs of every part.
        where: for the message.

    Raises:
        ExportError: they do not; says where.
    """
    first = manifest.parts[0]
    if np.prod(first.input.shape, dtype=object) != np.prod(manifest.preprocess.shape, dtype=object):
        raise ExportError(
            f"{where}: pre-processing gives {manifest.preprocess.shape}, the first part takes {first.input.shape}."
        )
    for index, part in enumerate(manifest.parts):
        given, codes = _given(manifest, vectors, index, where)
        if given != part.input or not np.array_equal(codes, vectors[index][0]):
            raise ExportError(f"{where}: {_mismatch(manifest, index)}")
    for index in answering(manifest):
        shape = manifest.parts[index].output.shape
        if np.prod(shape, dtype=object) != len(manifest.labels):
            raise ExportError(f"{where}: {len(manifest.labels)} labels for an output of shape {shape}.")
    check_rules(manifest, where)


def _given(manifest: Manifest, vectors: list[tuple[Array, Array]], index: int, where: str) -> tuple[TensorSpec, Array]:
    try:
        source = source_of(manifest.parts, index)
    except ExportError as error:
        raise ExportError(f"{where}: {error}") from error
    if source is None:
        return manifest.parts[0].input, vectors[0][0]
    return manifest.parts[source].output, vectors[source][1]


def _mismatch(manifest: Manifest, index: int) -> str:
    source, name = source_of(manifest.parts, index), manifest.parts[index].name
    giver = "the bundle's input" if source is None else f"what part '{manifest.parts[source].name}' gives"
    return f"{giver} is not what part '{name}' takes."


def check_rules(manifest: Manifest, where: str) -> None:
    """Check that rules stand where they decide something.

    Raises:
        ExportError: the last part has a rule without a comparison, or a comparison lacks one.
    """
    last, rules = manifest.parts[-1], [part.after for part in manifest.parts if part.after is not None]
    if manifest.combine != SURER:
        if last.after is not None:
            raise ExportError(f"{where}: the last part '{last.name}' has a rule, but nothing runs after it.")
        return
    kinds = {rule.score for rule in rules if rule.action == "answer"}
    if last.after is None or len(rules) < 2 or len(kinds) != 1 or last.after.action != "answer":
        raise ExportError(
            f"{where}: the surer answer is taken, so the last part and at least one before it need rules that answer, "
            "all by the same score."
        )
