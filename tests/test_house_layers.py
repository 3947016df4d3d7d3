"""quant <- export <- devices <- edge: nothing imports to its right, and the command line starts light."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.house import PACKAGES, ROOT, files, imported, label

HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "sklearn", "matplotlib")


def violations(package: str, source: str) -> list[str]:
    """Return what a module of `package` must not import."""
    later = PACKAGES[PACKAGES.index(package) + 1 :] + (("torch",) if package == "devices" else ()) + ("tests",)
    return [f"{name} (line {line})" for name, line in imported(ast.parse(source)) if name.split(".")[0] in later]


@pytest.mark.parametrize("path", files(*PACKAGES), ids=label)
def test_nothing_imports_to_its_right(path):
    assert violations(path.relative_to(ROOT).parts[0], path.read_text()) == []


def test_every_package_was_looked_at():
    assert {path.relative_to(ROOT).parts[0] for path in files(*PACKAGES)} == set(PACKAGES)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("quant", "import export.bundle"),
        ("quant", "def f():\n    from edge import cli"),
        ("export", "from devices import board"),
        ("devices", "import edge"),
        ("devices", "def f():\n    import torch.nn as nn"),
    ],
)
def test_the_check_sees_a_violation(package, source):
    assert len(violations(package, source)) == 1


def test_the_check_lets_the_line_pass():
    assert violations("edge", "import torch\nfrom quant.graph import Graph\nimport devices.board, edge.cli") == []


def test_the_command_line_starts_light():
    program = "import sys, edge.cli; print(' '.join(sys.modules))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "edge.cli" in loaded
    assert loaded & set(HEAVY) == set()
