"""The device's side of a split network in C: packets with the head's codes, and the tail's codes out of packets."""

from __future__ import annotations

from pathlib import Path

from export.atomic import write_text
from export.c99.layout import c_type, image, size
from export.manifest import TensorSpec, tensor_spec
from export.target import Joint, Source
from quant.formats import find_format

_FOLDER = Path(__file__).parent / "templates"
#: Bytes of a packet around its payload: docs/wire.md.
OVERHEAD_BYTES = 44


def write_link(joint: Joint, folder: Path) -> None:
    """Write NAME_link.h and NAME_link.c for a joint of two parts: the one whose output crosses, and the tail.

    Raises:
        ExportError: the folder cannot be written.
    """
    for suffix in ("h", "c"):
        write_text(folder / f"{joint.stem}_link.{suffix}", link_text(joint, suffix))


def link_text(joint: Joint, suffix: str) -> str:
    """Return the text of NAME_link.h or NAME_link.c."""
    head, tail = joint.parts
    crossing, answer = tensor_spec(head.graph, head.graph.output), tensor_spec(tail.graph, tail.graph.output)
    values = {
        "@REQUEST_COUNT@": str(size(crossing.shape)),
        "@ANSWER_COUNT@": str(size(answer.shape)),
        "@REQUEST_BYTES@": str(_packet_bytes(crossing)),
        "@ANSWER_BYTES@": str(_packet_bytes(answer)),
        **_side("HEAD", crossing, head),
        **_side("TAIL", answer, tail),
        "@TAIL_SIGN@": _sign(answer),
        "@name@": joint.stem,
        "@NAME@": joint.stem.upper(),
    }
    text = (_FOLDER / f"link.{suffix}.in").read_text()
    for key, value in values.items():
        text = text.replace(key, value)
    return text


def _side(name: str, spec: TensorSpec, part: Source) -> dict[str, str]:
    height, width, channels = image(spec.shape)
    fmt = find_format(spec.format)
    lower = name.lower()
    return {
        f"@{name}_HEIGHT@": str(height),
        f"@{name}_WIDTH@": str(width),
        f"@{name}_CHANNELS@": str(channels),
        f"@{name}_BITS@": str(fmt.bits),
        f"@{lower}_type@": c_type(fmt),
        f"@{lower}@": part.stem,
    }


def _packet_bytes(spec: TensorSpec) -> int:
    return OVERHEAD_BYTES + -(-size(spec.shape) * find_format(spec.format).bits // 8)


def _sign(spec: TensorSpec) -> str:
    """Return the line that extends the sign of a two's complement code, where a code has one."""
    fmt = find_format(spec.format)
    if fmt.is_minifloat or not fmt.signed:
        return ""
    top = 1 << (fmt.bits - 1)
    return f"                code = (code ^ {top}u) - {top}u;\n"
