"""Files and folders appear whole or not at all, and what was there before survives every failure."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from export.atomic import new_folder, write_file, write_text
from export.errors import ExportError


def names(folder: Path) -> list[str]:
    """Return what is in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path):
    write_file(tmp_path / "a.bin", b"one")
    write_text(tmp_path / "a.bin", "zwei ü\n")
    assert (tmp_path / "a.bin").read_bytes() == "zwei ü\n".encode()
    assert names(tmp_path) == ["a.bin"]


def test_a_file_that_cannot_take_its_place_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").write_text("x")
    with pytest.raises(ExportError, match=r"cannot write .*taken"):
        write_file(tmp_path / "taken", b"new")
    assert names(tmp_path) == ["taken"]


@pytest.mark.parametrize("mode", [0o555, 0o500])
def test_a_read_only_folder_is_refused_for_files_too(tmp_path, mode):
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(mode)
    with pytest.raises(ExportError, match=r"closed is read-only, so a\.bin cannot be written there"):
        write_file(closed / "a.bin", b"x")
    with pytest.raises(ExportError, match="is not a folder; make it first"):
        write_file(tmp_path / "nowhere" / "a.bin", b"x")


def test_a_folder_appears_when_it_is_full(tmp_path):
    with new_folder(tmp_path / "b") as folder:
        (folder / "x.txt").write_text("x")
        assert not (tmp_path / "b").exists()
        assert folder.parent == tmp_path
    assert names(tmp_path) == ["b"]
    assert names(tmp_path / "b") == ["x.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_inside_leaves_nothing(tmp_path, error):
    with pytest.raises(error), new_folder(tmp_path / "b") as folder:
        (folder / "x.txt").write_text("x")
        raise error
    assert names(tmp_path) == []


def test_an_existing_folder_stays_unless_it_may_go(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").write_text("old")
    with pytest.raises(ExportError, match="b exists already"), new_folder(tmp_path / "b"):
        raise AssertionError("never reached")
    with new_folder(tmp_path / "b", overwrite=True) as folder:
        (folder / "new").write_text("new")
        assert names(tmp_path / "b") == ["old"]
    assert names(tmp_path / "b") == ["new"]
    assert names(tmp_path) == ["b"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").write_text("old")
    with pytest.raises(ExportError, match="cannot write"), new_folder(tmp_path / "b", overwrite=True) as folder:
        shutil.rmtree(folder)
    assert names(tmp_path) == ["b"]
    assert (tmp_path / "b" / "old").read_text() == "old"


def test_a_dangling_link_is_in_the_way_too(tmp_path):
    (tmp_path / "b").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ExportError, match="exists already"), new_folder(tmp_path / "b"):
        raise AssertionError("never reached")
