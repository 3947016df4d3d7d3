"""Every file is short, documented and free of what the house does not do."""

from __future__ import annotations

import ast
import re
import subprocess

import pytest

from tests.house import PACKAGES, ROOT, SOURCES, files, imported, label

LIMIT = 400
FOLDERS = (*PACKAGES, "tests", "benchmarks", "examples")
#: Built from pieces, so that this file does not hold them.
BANNED_TEXT = tuple(
    "".join(pieces)
    for pieces in [
        ("/wo", "rk/"),
        ("/fa", "rm/"),
        ("py", "pi.org"),
        ("deb.debian", ".org"),
        ("registry.", "npmjs"),
        ("FIX", "ME"),
    ]
)


@pytest.mark.parametrize("path", files(*FOLDERS, endings=SOURCES), ids=label)
def test_no_file_is_long(path):
    assert len(path.read_text().splitlines()) <= LIMIT


def undocumented(tree: ast.Module) -> list[str]:
    """Return the public functions, methods and classes of a module that have no docstring."""
    found = [] if ast.get_docstring(tree) else ["the module"]
    scopes: list[ast.Module | ast.ClassDef] = [tree]
    for scope in scopes:
        for node in scope.body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                found.append(node.name)
            if isinstance(node, ast.ClassDef):
                scopes.append(node)
    return found


@pytest.mark.parametrize("path", files(*PACKAGES), ids=label)
def test_everything_public_has_a_docstring(path):
    assert undocumented(ast.parse(path.read_text())) == []


def banned(tree: ast.Module) -> list[str]:
    """Return what a module does that the house does not do."""
    found = [f"imports {name}" for name, _ in imported(tree) if name.split(".")[0] in ("pickle", "dill", "shelve")]
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and names_everything(node.type):
            found.append(f"line {node.lineno}: catches everything")
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant) and node.value.value is True:
            found += [f"line {node.value.lineno}: {node.arg}"] if node.arg in ("shell", "allow_pickle") else []
        if isinstance(node, ast.Global):
            found.append(f"line {node.lineno}: global")
        if isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node):
            found.append(f"line {node.lineno}: not implemented")
    return found


def names_everything(handled: ast.expr | None) -> bool:
    """Whether an except clause is bare, or names Exception or BaseException."""
    names = handled.elts if isinstance(handled, ast.Tuple) else [handled]
    return any(name is None or (isinstance(name, ast.Name) and name.id in ("Exception",)) for name in names)


@pytest.mark.parametrize("path", files(*PACKAGES), ids=label)
def test_nothing_banned(path):
    assert banned(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "run('x', shell=True)",
        "np.load(p, allow_pickle=True)",
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\nexcept Exception as e:\n    pass",
        "try:\n    f()\nexcept (ValueError, Exception):\n    pass",
        "def f():\n    global x",
        "def f():\n    raise NotImplementedError",
    ],
)
def test_the_check_sees_what_is_banned(source):
    assert len(banned(ast.parse(source))) == 1


def test_the_check_lets_the_rest_pass():
    source = "try:\n    run('x', check=True)\nexcept (OSError, ValueError):\n    pass"
    assert banned(ast.parse(source)) == []
    assert undocumented(ast.parse('"""M."""\nclass A:\n    def f(self): ...\n    def _g(self): ...')) == ["A", "f"]


def tracked() -> list[str]:
    """Return the files under version control; outside a checkout, the sources that are there."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = done.stdout.split("\0")[:-1] if done.returncode == 0 else []
    return names or [label(path) for path in files(*FOLDERS, "docs", endings=(*SOURCES, ".md", ".toml"))]


def test_nothing_speaks_of_one_machine():
    words = re.compile("|".join(re.escape(text) for text in BANNED_TEXT))
    found = []
    for name in tracked():
        path = ROOT / name
        if path.suffix in (*SOURCES, ".md", ".toml", ".lock", "") and path.is_file():
            found += [f"{name}: {match[0]}" for match in words.finditer(path.read_text(errors="replace"))]
    assert found == []


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "LICENSE", "Makefile", "requirements.lock", ".ci/run"])
def test_the_house_has(name):
    assert (ROOT / name).stat().st_size > 0


def test_every_package_of_the_lock_is_pinned():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
