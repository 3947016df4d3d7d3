"""Stages: computed once, again when anything they depend on changed, and never believed when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.errors import EdgeError
from edge.stages import ROOT, Stages, code_digest, file_digest
from export.atomic import write_text
from export.errors import ExportError


class Work:
    """Counts how often it is done; leaves a file when it has a name for it."""

    def __init__(self, file: Path | None = None):
        self.file, self.done = file, 0

    def __call__(self) -> dict[str, object]:
        self.done += 1
        if self.file is not None:
            write_text(self.file, f"made {self.file.name}\n")
        return {"answer": 41 + self.done, "list": (1, 2)}


@pytest.fixture
def said() -> list[str]:
    """What the stages told."""
    return []


@pytest.fixture
def stages(tmp_path, said) -> Stages:
    """The stages of a new run folder."""
    (tmp_path / "stages").mkdir()
    return Stages(tmp_path, said.append, "code 1")


def test_a_stage_is_computed_once_and_reads_back_what_it_gave(stages, said):
    work = Work()
    first = stages.run("one", {"a": 1}, work)
    assert first == {"answer": 42, "list": [1, 2]}
    assert stages.run("one", {"a": 1}, work) == first
    assert work.done == 1
    assert said == ["one ...", "one: unchanged, kept"]


@pytest.mark.parametrize("inputs", [{"a": 2}, {"a": 1, "b": None}, {}])
def test_other_inputs_compute_again(stages, inputs):
    work = Work()
    stages.run("one", {"a": 1}, work)
    assert stages.run("one", inputs, work)["answer"] == 43


def test_other_code_computes_again(stages, said):
    work = Work()
    stages.run("one", {"a": 1}, work)
    newer = Stages(stages.folder, said.append, "code 2")
    assert newer.run("one", {"a": 1}, work)["answer"] == 43
    assert newer.run("one", {"a": 1}, work)["answer"] == 43


@pytest.mark.parametrize(
    ("harm", "times"),
    [(Path.unlink, 2), (lambda path: path.write_text("changed"), 2), (lambda path: path.touch(), 1)],
    ids=["removed", "changed", "touched"],
)
def test_files_must_be_there_with_their_content(stages, harm, times):
    file = stages.folder / "made.txt"
    work = Work(file)
    stages.run("one", {}, work, lambda: (file,))
    harm(file)
    stages.run("one", {}, work, lambda: (file,))
    assert work.done == times
    assert file.read_text() == "made made.txt\n"


def test_files_of_one_name_in_two_folders_are_told_apart(stages):
    for part in ("head", "tail"):
        (stages.folder / part).mkdir()
    files = [stages.folder / part / "same.txt" for part in ("head", "tail")]
    works = [Work(file) for file in files]

    def both() -> dict[str, object]:
        return {str(index): work() for index, work in enumerate(works)}

    stages.run("one", {}, both, lambda: files)
    files[0].write_text("changed")
    stages.run("one", {}, both, lambda: files)
    assert [work.done for work in works] == [2, 2]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}\n', '{"files": {}, "key": "x"}'])
def test_a_damaged_note_is_computed_again(stages, text):
    work = Work()
    stages.run("one", {}, work)
    (stages.folder / "stages" / "one.json").write_text(text)
    assert stages.run("one", {}, work)["answer"] == 43
    assert json.loads((stages.folder / "stages" / "one.json").read_text())["result"]["answer"] == 43


def test_a_stage_that_fails_leaves_no_note(stages):
    def fail() -> dict[str, object]:
        raise ExportError("no")

    with pytest.raises(ExportError, match="no"):
        stages.run("one", {}, fail)
    assert list((stages.folder / "stages").iterdir()) == []
    work = Work()
    assert stages.run("one", {}, work)["answer"] == 42


def test_a_result_that_json_has_no_word_for_is_an_error(stages):
    with pytest.raises(ExportError, match="JSON"):
        stages.run("one", {}, lambda: {"x": float("nan")})
    assert list((stages.folder / "stages").iterdir()) == []


def source_tree(folder: Path) -> Path:
    """A project of two source files and a page."""
    for name in ("quant/a.py", "export/c99/k.c", "export/c99/page.html"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_the_digest_of_the_code_sees_every_source_and_its_name(tmp_path):
    root = source_tree(tmp_path)
    before = code_digest(root)
    assert before == code_digest(root)
    (root / "export" / "c99" / "k.c").write_text("other")
    changed = code_digest(root)
    (root / "export" / "c99" / "k.c").rename(root / "export" / "c99" / "l.c")
    renamed = code_digest(root)
    (root / "quant" / "b.py").write_text("")
    assert len({before, changed, renamed, code_digest(root)}) == 4


def test_the_digest_of_the_code_does_not_see_the_rest(tmp_path):
    root = source_tree(tmp_path)
    before = code_digest(root)
    (root / "export" / "c99" / "page.html").write_text("other")
    (root / "quant" / "__pycache__").mkdir()
    (root / "quant" / "__pycache__" / "a.cpython-311.pyc").write_text("x")
    (root / "tests").mkdir()
    (root / "tests" / "t.py").write_text("x")
    assert code_digest(root) == before


def test_the_projects_own_sources_are_found():
    assert (ROOT / "edge" / "stages.py").is_file()
    assert code_digest() == code_digest(ROOT) != code_digest(ROOT / "tests")


def test_the_digest_of_a_file_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(EdgeError, match=r"cannot read .*no\.onnx: No such file"):
        file_digest(tmp_path / "no.onnx")
