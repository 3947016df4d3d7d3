"""Parity of a binary network's C: its logits must have the very bits of the reference's, its sums must be equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.binary_bundle import BinaryBundle
from export.bundle import WHOLE
from export.c99.binary_plan import Layout, folded, lay_out
from export.errors import ExportError
from export.parity import LayerDifference, Parity
from quant.binary_net import BinaryNetwork, run
from quant.errors import QuantError
from quant.formats import Array


@dataclass(frozen=True, slots=True)
class BinaryRuntime:
    """One way to execute the C of a binary network.

    `missing()` is None when it works here, else the reason. `run(folder, stem, network, x)` returns float32 logits
    [N, classes] for inputs [N, C, H, W]; `pieces` takes the same and returns the bytes that each layer's tap showed, by
    its number from 1 on.
    """

    name: str
    missing: Callable[[], str | None]
    run: Callable[[Path, str, BinaryNetwork, Array], Array]
    pieces: Callable[[Path, str, BinaryNetwork, Array], Mapping[int, bytes]]


def to_memory(network: BinaryNetwork, x: Array) -> Array:
    """Return inputs [N, C, H, W] as the C takes them: little-endian float32, rows, columns, channels.

    Raises:
        ExportError: another shape or type.
    """
    if x.dtype != np.float32 or x.shape[1:] != network.shape:
        raise ExportError(f"'{network.name}' takes float32 [N, {network.shape}], not {x.dtype} {x.shape}.")
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1), "<f4")


def from_memory(network: BinaryNetwork, made: bytes, count: int) -> Array:
    """Return logits, float32 [N, classes], from the bytes that the C wrote for `count` inputs.

    Raises:
        ExportError: too few or too many bytes.
    """
    classes = len(network.bias)
    if len(made) != 4 * classes * count:
        raise ExportError(f"'{network.name}' wrote {len(made)} bytes for {count} inputs, not {4 * classes * count}.")
    return np.frombuffer(made, "<f4").astype(np.float32).reshape(count, classes)


def check_binary(
    bundle: BinaryBundle, runtimes: Sequence[BinaryRuntime], vectors: int | None = None
) -> tuple[Parity, ...]:
    """Execute a bundle on every runtime and compare it with the reference."""
    return tuple(_check(bundle, runtime, vectors) for runtime in runtimes)


def _check(bundle: BinaryBundle, runtime: BinaryRuntime, vectors: int | None) -> Parity:
    reason = runtime.missing()
    if reason is not None:
        return Parity(WHOLE, runtime.name, "not run", reason)
    inputs = bundle.inputs[:vectors]
    try:
        expected = run(bundle.network, inputs)
        made = runtime.run(bundle.folder, bundle.stem, bundle.network, inputs)
        return _compared(bundle, runtime, expected, made)
    except (ExportError, QuantError) as error:
        return Parity(WHOLE, runtime.name, "wrong", str(error))


def _compared(bundle: BinaryBundle, runtime: BinaryRuntime, expected: Array, made: Array) -> Parity:
    steps = np.abs(_places(expected) - _places(made))
    labels = expected.argmax(axis=1)
    distinct, differing = len(np.unique(labels)), int((expected.view(np.int32) != made.view(np.int32)).sum())
    first = None
    if differing:
        status, reason = "wrong", f"{differing} of {made.size} logits have other bits than the reference's"
        first = first_layer(bundle, runtime, len(expected))
        where = f"the sums of layer '{first.node}' differ" if first else "the sums of every binary layer agree"
        reason = f"{reason}; {where}"
    elif distinct < 2:
        status, reason = "inconclusive", "the logits agree, but every test vector has the same label"
    else:
        status, reason = "bit-exact", "every logit has the reference's very bits"
    return Parity(
        part=WHOLE,
        runtime=runtime.name,
        status=status,
        reason=reason,
        vectors=len(expected),
        labels=distinct,
        max_steps=int(steps.max()),
        differing=differing,
        total=int(made.size),
        top1_agreement=float((labels == made.argmax(axis=1)).mean()),
        first=first,
    )


def _places(values: Array) -> Array:
    """Return the place of every float32 on the axis of all of them: neighbours are 1 apart, both zeros are 0."""
    bits = values.view(np.int32).astype(np.int64)
    places: Array = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return places


def first_layer(bundle: BinaryBundle, runtime: BinaryRuntime, count: int) -> LayerDifference | None:
    """Return the first binary layer whose sums differ from the reference's, or None when all agree."""
    inputs, network = bundle.inputs[:count], folded(bundle.network)
    expected: dict[str, Array] = {}
    run(network, inputs, expected)
    shown = shown_sums(network, runtime.pieces(bundle.folder, bundle.stem, network, inputs), count)
    for name, sums in expected.items():
        unlike = sums != shown[name]
        if unlike.any():
            place = tuple(int(i) for i in np.argwhere(unlike)[0])
            return LayerDifference(
                node=name,
                kind="BinaryLayer",
                tensor=name,
                max_steps=int(np.abs(sums - shown[name]).max()),
                differing=int(unlike.sum()),
                total=int(sums.size),
                index=place,
                expected=int(sums[place]),
                actual=int(shown[name][place]),
            )
    return None


def shown_sums(network: BinaryNetwork, pieces: Mapping[int, bytes], count: int) -> dict[str, Array]:
    """Return every layer's sums, int32 [N, out, H, W] by name, from what the C showed; channels may be turned.

    Args:
        network: what `folded` returned: thresholds turn channels with a negative gain.
        pieces: bytes by the number of the layer, from 1 on.
        count: how many inputs.

    Raises:
        ExportError: a layer showed too few or too many bytes.
    """
    layout: Layout = lay_out(network)
    found = {}
    for number, stage in enumerate(layout.stages, 1):
        channels, rows, columns = stage.made
        data = pieces.get(number, b"")
        if len(data) != 4 * count * channels * rows * columns:
            raise ExportError(f"layer '{stage.layer.name}' showed {len(data)} bytes of sums for {count} inputs.")
        values = np.frombuffer(data, "<i4").reshape(count, rows, columns, channels)
        found[stage.layer.name] = np.ascontiguousarray(values.transpose(0, 3, 1, 2)).astype(np.int32)
    return found
