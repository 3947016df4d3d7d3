"""All files that surround the C of one part."""

from __future__ import annotations

from export.embed.labels import labels_files
from export.embed.preprocess import has_table, preprocess_files
from export.embed.python import python_file
from export.embed.template import filled
from export.target import Source

#: Of the CMake package.
PACKAGE_VERSION = "1.0.0"


def embed_files(source: Source, arena_bytes: int) -> dict[str, str]:
    """Return the files that surround NAME.h and NAME.c, text by file name.

    NAME_preprocess.* where raw input is declared, NAME_labels.* where outputs have labels, NAME.hpp where both are,
    NAME_python.py and CMakeLists.txt always.
    """
    name = source.stem
    texts = {**preprocess_files(source), **labels_files(source)}
    if source.labels and has_table(source):
        texts[f"{name}.hpp"] = _cpp(source)
    sources = tuple(
        f"{name}{end}" for end in (".c", "_preprocess.c", "_labels.c") if end == ".c" or name + end in texts
    )
    headers = (f"{name}.h", *(file for file in texts if file.endswith((".h", ".hpp"))))
    words = {"SOURCES": " ".join(sources), "HEADERS": " ".join(headers), "VERSION": PACKAGE_VERSION}
    texts["CMakeLists.txt"] = filled("CMakeLists.txt", name, words)
    texts[f"{name}_python.py"] = python_file(source, arena_bytes, sources)
    return texts


def _cpp(source: Source) -> str:
    name = source.stem
    if source.preprocess is None or source.preprocess.resize is None:
        return filled("network.hpp", name, {"RESIZE": filled("same_size.hpp", name, {}), "RESIZED": ""})
    words = {"RESIZE": filled("resize.hpp", name, {}), "RESIZED": f"    Raw raw_[{name.upper()}_INPUT_SIZE];\n"}
    return filled("network.hpp", name, words)
