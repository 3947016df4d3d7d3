"""Packages: views of one bundle part for a build system. Each form is a function from a part to files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from export.atomic import new_folder, write_file
from export.bundle_read import ELASTIC, GRAPH, VECTORS, Bundle
from export.embed.dut import dut_files
from export.embed.files import PACKAGE_VERSION
from export.embed.preprocess import has_table
from export.embed.sample import sample_header
from export.embed.template import filled
from export.errors import ExportError
from export.target import Source
from quant.names import find

Files = Mapping[str, str]
#: A zip has no time of its own, so that the same bundle gives the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class View:
    """What a package is made of: the part as a source, its generated files, and its example."""

    source: Source
    sentence: str
    files: Files
    sample: str
    samples: int

    @property
    def name(self) -> str:
        """What names in C begin with."""
        return self.source.stem

    def of(self, *endings: str) -> Files:
        """The files that applications compile or include, by ending; self-test and vectors are not among them."""
        tests = (f"{self.name}_test.c", f"{self.name}_vectors.h")
        return {file: text for file, text in self.files.items() if file.endswith(endings) and file not in tests}


@dataclass(frozen=True, slots=True)
class Form:
    """One form of package; `files(view)` are its texts by path. A zipped one is a file, others are folders."""

    name: str
    summary: str
    files: Callable[[View], Files]
    zipped: bool = False


def view_of(bundle: Bundle, part_name: str | None = None) -> View:
    """Return a part of a bundle as a view.

    Args:
        bundle: for target arm-m.
        part_name: which part; may be left out where there is one.

    Raises:
        ExportError: another target, no such part, or several parts and no name.
    """
    manifest, names = bundle.manifest, [part.name for part in bundle.parts]
    if manifest.target != "arm-m":
        raise ExportError(f"{bundle.path} is for {manifest.target}; packages hold C, which bundles for arm-m have.")
    if part_name is None and len(names) > 1:
        raise ExportError(f"{bundle.path} has the parts {', '.join(names)}; say which one: --part {names[0]}.")
    if part_name is not None and part_name not in names:
        raise ExportError(f"{bundle.path} has no part '{part_name}'; it has {', '.join(names)}.")
    index = names.index(part_name) if part_name else 0
    part, last = bundle.parts[index], index == len(names) - 1
    source = Source(
        name=part.name,
        graph=part.graph,
        inputs=part.inputs,
        outputs=part.outputs,
        c_prefix=part.stem,
        preprocess=manifest.preprocess if index == 0 else None,
        labels=manifest.labels if last else (),
        postprocess=manifest.postprocess if last else None,
    )
    if not (part.folder / f"{part.stem}_python.py").is_file():
        raise ExportError(f"{bundle.path} was written by an older version; export the model again.")
    listed = (Path(file.path) for file in manifest.files)
    kept = [path.name for path in listed if path.parts[0] == part.name and path.name not in (GRAPH, VECTORS, ELASTIC)]
    files = {name: (part.folder / name).read_text(encoding="utf-8") for name in kept}
    scheme = " ".join(manifest.scheme.split())
    sentence = f"Quantised network {part.stem}, {scheme}, {part.record.macs} multiplications per inference."
    return View(source, sentence, files, *sample_header(source))


def cmake_files(view: View) -> Files:
    """The part as it is, a CMake project that installs NAME::NAME, with an example."""
    example = example_c(view, ("#include <stdio.h>",), "printf")
    return {**view.files, **{f"example/{file}": text for file, text in {"main.c": example, **_sample(view)}.items()}}


def arduino_files(view: View) -> Files:
    """An Arduino library: everything below a folder NAME, as its zip must hold it."""
    name = view.name
    paragraph = "C99 without heap; working memory is given by the sketch."
    words = {"VERSION": PACKAGE_VERSION, "SENTENCE": view.sentence, "PARAGRAPH": paragraph}
    files = {"library.properties": filled("library.properties", name, words)}
    files |= {f"src/{file}": text for file, text in view.of(".c", ".h", ".hpp").items()}
    label = f"Serial.print({name}_labels[{name}_classify(output)]);" if view.source.labels else 'Serial.print("done");'
    words = {"STORY": _story(view), "FEED": _feed(view), "ANSWER": label}
    example = f"examples/{name}_example"
    files[f"{example}/{name}_example.ino"] = filled("example.ino", name, words)
    files |= {f"{example}/{file}": text for file, text in _sample(view).items()}
    return {f"{name}/{file}": text for file, text in files.items()}


def zephyr_files(view: View) -> Files:
    """A Zephyr module with a sample."""
    name, sources = view.name, view.of(".c")
    words = {"SOURCES": " ".join(f"src/{file}" for file in sources), "SENTENCE": view.sentence}
    sentence = '"' + view.sentence.replace('"', "'") + '"'
    printk = ("#include <zephyr/kernel.h>", "#include <zephyr/sys/printk.h>")
    sample = {
        "CMakeLists.txt": filled("zephyr_sample.cmake", name, {}),
        "prj.conf": filled("prj.conf", name, {}),
        "sample.yaml": filled("sample.yaml", name, {"SENTENCE_YAML": sentence, "COUNT": view.samples}),
        "src/main.c": example_c(view, printk, "printk"),
        **{f"src/{file}": text for file, text in _sample(view).items()},
    }
    return {
        "zephyr/module.yml": filled("module.yml", name, {}),
        "CMakeLists.txt": filled("zephyr.cmake", name, words),
        "Kconfig": filled("Kconfig", name, words),
        **{f"src/{file}": text for file, text in sources.items()},
        **{f"include/{file}": text for file, text in view.of(".h", ".hpp").items()},
        **{f"samples/{name}/{file}": text for file, text in sample.items()},
    }


def device_files(view: View) -> Files:
    """The part as a device under test: its C, the protocol, and a program that speaks it on standard streams."""
    network = {file: text for file, text in view.files.items() if file in (f"{view.name}.c", f"{view.name}.h")}
    return {**network, **dut_files(view.source)}


FORMS = (
    Form("cmake", "CMake project: add_subdirectory, or install and find_package", cmake_files),
    Form("arduino", "Arduino library, one zip, with an example sketch", arduino_files, zipped=True),
    Form("zephyr", "Zephyr module with Kconfig and a sample", zephyr_files),
    Form("dut", "MLPerf Tiny's serial protocol for a firmware, and for this machine", device_files),
)


def find_form(name: str) -> Form:
    """Return the form called `name`, or raise ExportError with the nearest known name."""
    return find(name, FORMS, "package", ExportError)


def write_package(bundle: Bundle, form: Form, path: Path, part: str | None = None, *, overwrite: bool = False) -> None:
    """Write one part of a bundle as a package; the file or folder appears whole or not at all.

    Raises:
        ExportError: see `view_of`; or `path` exists and may not be replaced, or cannot be written.
    """
    files = form.files(view_of(bundle, part))
    if form.zipped:
        if path.exists() and not overwrite:
            raise ExportError(f"{path} exists already. Choose another name, or ask to overwrite it.")
        if path.exists() and not zipfile.is_zipfile(path):
            raise ExportError(f"{path} is not a package, so it is not overwritten.")
        write_file(path, _zipped(files))
        return
    if overwrite and path.exists() and not (path / "CMakeLists.txt").is_file():
        raise ExportError(f"{path} is not a package, so it is not overwritten.")
    with new_folder(path, overwrite=overwrite) as folder:
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")


def _zipped(files: Files) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(file, EPOCH), text.encode(), zipfile.ZIP_DEFLATED)
    return made.getvalue()


def example_c(view: View, headers: tuple[str, ...], say: str) -> str:
    """Return an example as a C program that prints by `say` and returns 0 when every code is right."""
    name = view.name
    text = f"{name}_labels[{name}_classify(output)]" if view.source.labels else '"done"'
    words = {
        "STORY": _story(view),
        "HEADERS": "\n".join(headers),
        "FEED": _feed(view),
        "PRINT": say,
        "ANSWER": f'"sample %d: %s\\n", sample, {text}',
    }
    return filled("example.c", name, words)


def _sample(view: View) -> Files:
    return {f"{view.name}_sample.h": view.sample}


def _story(view: View) -> str:
    return f"{'raw values' if has_table(view.source) else 'codes'} in, {'label' if view.source.labels else 'codes'} out"


def _feed(view: View) -> str:
    name = view.name
    if has_table(view.source):
        return f"{name}_preprocess({name}_sample_inputs[sample], input);"
    return f"memcpy(input, {name}_sample_inputs[sample], sizeof input);"
