"""OpenVINO IR from an ONNX file, written deterministically. Import lazily: this module needs openvino."""

from __future__ import annotations

import tempfile
from pathlib import Path

import openvino

from export.atomic import write_file
from export.errors import ExportError


def write_ir(onnx_file: Path, folder: Path, name: str) -> None:
    """Write `name.xml` and `name.bin` with float32 constants kept as they are.

    The conversion parameters are those of `openvino.convert_model`. Operations get names from their tensors or their
    place, because OpenVINO's own names count up over the life of a process.

    Raises:
        ExportError: OpenVINO cannot read the file, or the folder cannot be written.
    """
    try:
        model = openvino.convert_model(onnx_file)
    except RuntimeError as error:
        raise ExportError(f"OpenVINO cannot convert {onnx_file.name}: {error}") from error
    model.set_friendly_name(name)
    for index, operation in enumerate(model.get_ordered_ops()):
        if operation.get_type_name() not in ("Parameter", "Result"):
            operation.set_friendly_name(f"{operation.get_type_name()}_{index}")
    with tempfile.TemporaryDirectory() as scratch:
        openvino.save_model(model, Path(scratch) / f"{name}.xml", compress_to_fp16=False)
        for suffix in (".bin", ".xml"):
            write_file(folder / f"{name}{suffix}", (Path(scratch) / f"{name}{suffix}").read_bytes())
