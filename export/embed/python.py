"""A Python file for boards: the generated C as a shared library behind one class, with numpy as its only need."""

from __future__ import annotations

from export.c99.layout import image, size
from export.embed.preprocess import has_table
from export.embed.template import filled
from export.target import Source


def python_file(source: Source, arena_bytes: int, sources: tuple[str, ...]) -> str:
    """Return the text of NAME_python.py; it has the methods that the part's C has functions for."""
    graph, given, name = source.graph, source.preprocess, source.stem
    shape, output = graph.shape(graph.input), graph.quant(graph.output).format.dtype
    raw = given.raw if given is not None and has_table(source) else None
    resize = given.resize if given is not None and raw is not None else None
    words = {
        "SOURCES": " ".join(sources),
        "INPUT_SHAPE": image(shape) if len(shape) == 4 else (size(shape),),
        "INPUT_DTYPE": graph.quant(graph.input).format.dtype.name,
        "OUTPUT_SIZE": size(graph.shape(graph.output)),
        "OUTPUT_DTYPE": output.name,
        "ARENA_BYTES": arena_bytes,
        "RAW_DTYPE": repr(raw),
        "RESIZE": repr(resize),
        "LABELS": ascii(source.labels),
        "SOFTMAX": source.postprocess == "softmax",
        "METHODS": "".join(_methods(name, raw is not None, resize is not None, bool(source.labels), output.name)),
    }
    return filled("network.py", name, words)


def _methods(name: str, raw: bool, resize: bool, labels: bool, output: str) -> list[str]:
    texts = [filled("preprocess.py", name, {})] if raw else []
    texts += [filled("resize.py", name, {})] if resize else []
    texts += [filled("classify.py", name, {"OUTPUT_DTYPE": output})] if labels else []
    if raw and labels:
        words = {"ANY": ", or of an image of any size", "RAW": "self.resize(raw)"} if resize else {}
        texts.append(filled("whole.py", name, words or {"ANY": "", "RAW": "raw"}))
    return texts
