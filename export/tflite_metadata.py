"""TFLite metadata: what apps read beside the network: normalisation of the input, labels of the outputs.

A FlatBuffer of its own (identifier M001, schema 1.0 of the metadata) lies in a buffer of the file, and the files it
names are a zip archive behind the FlatBuffer. Tables are written with the builder, by the numbers of their fields.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from export.preprocess import Preprocess
from quant.graph_file import write_member

#: Name of the buffer in the file, identifier of its content, and the oldest parser that understands it.
NAME, IDENTIFIER, PARSER = "TFLITE_METADATA", b"M001", "1.0.0"
LABELS_FILE = "labels.txt"
#: Enums of the schema: kinds of content, colour spaces, kinds of process units and of files.
FEATURES, IMAGE = 1, 2
COLOURS = {3: 1, 1: 2}
NORMALISATION = 1
AXIS_LABELS = 2


@dataclass(frozen=True, slots=True)
class About:
    """What metadata tell: the name, the pre-processing (None: no raw values go in), the labels, what comes out."""

    name: str
    preprocess: Preprocess | None
    labels: tuple[str, ...]
    output: str

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell: half a network between two others."""
        return self.preprocess is None and not self.labels


def metadata(about: About) -> bytes:
    """Return the FlatBuffer of the metadata; the same facts give the same bytes."""
    import flatbuffers

    builder = flatbuffers.Builder(256)
    inputs = _vector(builder, [_input(builder, about.preprocess)])
    outputs = _vector(builder, [_output(builder, about)])
    subgraph = _table(builder, 10, {2: inputs, 3: outputs})
    graphs = _vector(builder, [subgraph])
    name, parser = builder.CreateString(about.name), builder.CreateString(PARSER)
    builder.Finish(_table(builder, 8, {0: name, 3: graphs, 7: parser}), IDENTIFIER)
    return bytes(builder.Output())


def with_labels(data: bytes, labels: tuple[str, ...]) -> bytes:
    """Return a file with a zip archive behind it that holds the labels, one a line; as it is without labels."""
    if not labels:
        return data
    file = io.BytesIO(data)
    # Appending makes the archive's offsets count from the start of the whole file, as zip readers ask.
    with zipfile.ZipFile(file, "a") as archive:
        write_member(archive, LABELS_FILE, "".join(f"{_line(label)}\n" for label in labels).encode())
    return file.getvalue()


def _line(label: str) -> str:
    """Return a label on one line: line k of the file belongs to output k."""
    return " ".join(label.split())


def _input(builder: Any, preprocess: Preprocess | None) -> int:
    name = builder.CreateString("image" if preprocess is not None and preprocess.channels in COLOURS else "features")
    if preprocess is None:
        return _table(builder, 7, {0: name, 3: _content(builder, None)})
    # (x * scale - mean) / std of raw values x is (x - mean / scale) / (std / scale).
    mean, std = (
        _reals(builder, [value / preprocess.scale for value in values]) for values in (preprocess.mean, preprocess.std)
    )
    options = _table(builder, 2, {0: mean, 1: std})
    unit = _table(builder, 2, {1: options}, {0: NORMALISATION})
    units = _vector(builder, [unit])
    return _table(builder, 7, {0: name, 3: _content(builder, preprocess), 4: units})


def _content(builder: Any, preprocess: Preprocess | None) -> int:
    if preprocess is None or preprocess.channels not in COLOURS:
        return _table(builder, 3, {1: _table(builder, 0, {})}, {0: FEATURES})
    image = _table(builder, 2, {}, {0: COLOURS[preprocess.channels]})
    return _table(builder, 3, {1: image}, {0: IMAGE})


def _output(builder: Any, about: About) -> int:
    name, content = builder.CreateString(about.output), _content(builder, None)
    if not about.labels:
        return _table(builder, 7, {0: name, 3: content})
    file = _table(builder, 4, {0: builder.CreateString(LABELS_FILE)}, {2: AXIS_LABELS})
    files = _vector(builder, [file])
    return _table(builder, 7, {0: name, 3: content, 6: files})


def _table(builder: Any, fields: int, offsets: dict[int, int], numbers: dict[int, int] | None = None) -> int:
    """Write a table with `fields` fields: offsets of what is written already, and one-byte numbers."""
    builder.StartObject(fields)
    for field, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    for field, number in (numbers or {}).items():
        builder.PrependInt8Slot(field, number, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _reals(builder: Any, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())
