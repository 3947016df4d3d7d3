"""docs/embedding.md is true: its programs compile and run as they stand there, and its commands exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from edge.app import load
from edge.cli import COMMANDS
from tests.embedded import STRICT, bundle, images, library, spec
from tests.house import ROOT

PAGE = (ROOT / "docs" / "embedding.md").read_text()
SOURCES = ("digits.c", "digits_preprocess.c", "digits_labels.c")


def program(language: str) -> str:
    """The one block of the page in a language."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


@pytest.fixture
def part(tmp_path):
    """The folder of a part called digits, and the labels of twelve images."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler 'cc' here")
    made, raw = bundle(tmp_path / "b", spec("digits")), images(12)
    with load(made.path, "reference") as network:
        answers = network.classify_all(raw)
    assert len({answer.label for answer in answers}) > 1
    return made.parts[0].folder, raw, answers


def test_the_c_program(part):
    folder, raw, answers = part
    (folder / "main.c").write_text(program("c"))
    subprocess.run(["cc", *STRICT, "-O2", "main.c", *SOURCES, "-o", "app"], cwd=folder, check=True)
    said = subprocess.run([folder / "app"], input=raw.tobytes(), capture_output=True, check=True).stdout.decode()
    assert said.splitlines() == [answer.label for answer in answers]


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler 'c++' here")
def test_the_cpp_program(part):
    folder, raw, answers = part
    (folder / "main.cpp").write_text(program("cpp"))
    subprocess.run(["cc", "-std=c99", "-O2", "-c", *SOURCES], cwd=folder, check=True)
    objects = [source.replace(".c", ".o") for source in SOURCES]
    flags = ("-std=c++11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-I.")
    subprocess.run(["c++", *flags, "main.cpp", *objects, "-o", "app"], cwd=folder, check=True)
    said = subprocess.run([folder / "app"], input=raw.tobytes(), capture_output=True, check=True).stdout.decode()
    lines = [line.rsplit(" ", 1) for line in said.splitlines()]
    assert [label for label, _ in lines] == [answer.label for answer in answers]
    np.testing.assert_allclose([float(score) for _, score in lines], [a.scores.max() for a in answers], rtol=1e-4)


def test_the_python_program(part):
    folder, _, _ = part
    labels = library(folder, "digits").LABELS
    done = subprocess.run(
        [sys.executable, "-c", program("python")], cwd=folder, capture_output=True, text=True, check=True
    )
    label, score = done.stdout.strip().rsplit(" ", 1)
    assert label in labels and 0 < float(score) <= 1


def test_the_commands_and_files_exist(part):
    lines = [line.removeprefix("$ ") for line in program("console").splitlines()]
    for line in lines:
        _, name, *words = shlex.split(line)
        command = next(command for command in COMMANDS if command.name == name)
        known = {flag for parameter in command.params for flag in parameter.opts}
        assert [word for word in words if word.startswith("-") and word not in known] == []
    there = {path.name.replace("digits", "NAME") for path in part[0].iterdir()}
    table = " ".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`(\w+\.\w+)`", table))
    assert named | {"NAME_preprocess.c", "NAME_labels.c"} == there
