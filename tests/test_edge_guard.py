"""The guard: another package named like one of ours is named, not followed; and nothing heavy is imported early."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIGHT = ("edge", "edge.config", "edge.data", "edge.models.models", "edge.recipes.recipes", "edge.split", "edge.train")
HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "sklearn", "PIL", "rich")


def _python(code, cwd, path=ROOT):
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["quant", "export", "devices"])
def test_a_package_that_hides_ours_is_named(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package was imported')")
    result = _python("import edge", tmp_path)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: another package named '{name}' ({tmp_path / name}) hides the one")
    assert "install edgemill in its own environment" in last


def test_a_folder_without_init_is_harmless(tmp_path):
    (tmp_path / "devices").mkdir()
    assert _python("import edge", tmp_path).returncode == 0


def test_a_missing_package_is_named(tmp_path):
    (tmp_path / "lib").mkdir()
    for name in ("edge", "quant"):
        shutil.copytree(ROOT / name, tmp_path / "lib" / name)
    # -I and a path of our own: neither the checkout nor an installed edgemill can fill the gap.
    place = str(tmp_path / "lib")
    # An editable install puts the checkout itself on the path.
    kept = f"(p for p in sys.path if 'site-packages' not in p and p != {str(ROOT)!r})"
    code = f"import sys; sys.path = [{place!r}, *{kept}]; import edge"
    command = [sys.executable, "-I", "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "edgemill needs its package 'export' at" in result.stderr


@pytest.mark.parametrize("module", LIGHT)
def test_imports_stay_light(tmp_path, module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    result = _python(code, tmp_path)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr
