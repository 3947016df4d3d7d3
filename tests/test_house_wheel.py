"""The wheel: exactly four packages with their data, and a command that runs from anywhere."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.house import PACKAGES, ROOT, files

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command and return what it prints; a failure shows both streams."""
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel built from this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ".", cwd=ROOT)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory) -> Path:
    """A new environment with the wheel alone; the dependencies come from the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    install = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet")
    call(*install, "--disable-pip-version-check", wheel, cwd=folder)
    # A .pth in a folder that is itself added by a .pth is not read, so an editable install cannot leak in.
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


def test_exactly_the_four_packages(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert len(tops) == len(PACKAGES) + 1


def test_every_source_and_data_file_is_in(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    every = {path.suffix for package in PACKAGES for path in (ROOT / package).rglob("*.*")} - {".pyc"}
    wanted = {path.relative_to(ROOT).as_posix() for path in files(*PACKAGES, endings=tuple(every))}
    assert {".py", ".c", ".h", ".v"} <= every
    assert wanted - names == set()


def test_the_command_runs_from_another_folder(fresh):
    text = call(fresh / "venv" / "bin" / "edgemill", "--help", cwd=fresh)
    assert "Usage: edgemill" in text
    assert "export" in text


def test_it_is_the_wheel_that_runs(fresh):
    program = (
        "import quant, export, devices, edge; print(quant.__file__, export.__file__, devices.__file__, edge.__file__)"
    )
    paths = call(fresh / "venv" / "bin" / "python", "-c", program, cwd=fresh).split()
    assert len(paths) == 4
    assert all(Path(path).is_relative_to(fresh) for path in paths)
