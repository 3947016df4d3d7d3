"""A stand-in for trtexec that records its arguments and gives prepared outputs, and parts written for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.bundle import BundleSpec, write_bundle
from export.bundle_read import BundlePart
from export.jetson import write
from export.jetson_profiles import Profile
from export.preprocess import Preprocess
from export.target import Source, Target
from quant import reference
from quant.formats import INT8
from quant.graph import Graph
from quant.program import lower
from tests.toys import random_codes, toy_graph

#: What the stand-in does: record, write the engine, give the outputs of `answers.json` beside it by input file.
_TRTEXEC = """#!{python}
import json, pathlib, sys
home = pathlib.Path(__file__).parent
with (home / "calls.jsonl").open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
flags = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
print("&&&& RUNNING TensorRT.trtexec [TensorRT {version}] # trtexec")
if "--saveEngine" in flags and {engine}:
    pathlib.Path(flags["--saveEngine"]).write_text("engine")
if "--exportOutput" in flags:
    answers = json.loads((home / "answers.json").read_text())
    name, values = answers[flags["--loadInputs"].split(":")[1]]
    text = ", ".join(str(value) for value in values)
    output = '[\\n  {{ "name" : "%s",  "dimensions" : "1x10",  "values" : [ %s ] }}\\n]\\n' % (name, text)
    pathlib.Path(flags["--exportOutput"]).write_text(output)
sys.exit({status})
"""


def symmetric_toy(seed: int = 0) -> Graph:
    """The toy graph with zero points of 0."""
    graph = toy_graph(INT8, INT8, seed)
    tensors = {
        name: tensor if tensor.quant is None else replace(tensor, quant=replace(tensor.quant, zero=0))
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def source_of(graph: Graph, count: int = 8, float_graph: Graph | None = None, name: str = "toy") -> Source:
    """A part of a graph with random test vectors."""
    codes = random_codes(graph, count)
    return Source(name, graph, codes, reference.run(lower(graph), codes)[graph.output], float_graph)


def bundle_part(source: Source, target: Target, folder: Path) -> BundlePart:
    """Write a bundle of one part and read the part back."""
    _, channels, height, width = source.graph.shape(source.graph.input)
    preprocess = Preprocess(channels, height, width, 1 / 255, (0.5,) * channels, (0.25,) * channels)
    labels = tuple(f"class {index}" for index in range(source.graph.shape(source.graph.output)[1]))
    return write_bundle(folder, BundleSpec("toy", "w8a8-sym", preprocess, labels, (source,)), target).parts[0]


def write_toy(profile: Profile, folder: Path) -> dict[str, Any]:
    """Write a part into a new folder; return its self-test plan."""
    folder.mkdir(parents=True)
    write(profile, source_of(symmetric_toy()), folder)
    plan: dict[str, Any] = json.loads((folder / "selftest.json").read_text())
    return plan


def trtexec(folder: Path, version: str = "v8502", status: int = 0, *, engine: bool = True) -> Path:
    """Write the stand-in as `folder/trtexec`; `status` is its exit status, `engine` whether it writes the engine."""
    folder.mkdir(parents=True, exist_ok=True)
    tool = folder / "trtexec"
    tool.write_text(_TRTEXEC.format(python=sys.executable, version=version, status=status, engine=engine))
    tool.chmod(0o755)
    return tool


def answer(tool: Path, plan: dict[str, Any], change: Callable[[int, list[Any]], list[Any]]) -> None:
    """Let the stand-in give the expected outputs, each changed by `change(vector number, values)`."""
    vectors = enumerate(plan["vectors"])
    answers = {v["file"]: (plan["output"], change(number, list(v["expected"]))) for number, v in vectors}
    (tool.parent / "answers.json").write_text(json.dumps(answers))


def calls(tool: Path) -> list[list[str]]:
    """Return the arguments of each call so far, without those that only asked for the version."""
    file = tool.parent / "calls.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [call for call in found if call != ["--help"]]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of a part in an environment that has no other trtexec setting."""
    clean = {key: value for key, value in os.environ.items() if key != "TRTEXEC"}
    return subprocess.run(
        command, capture_output=True, text=True, env={**clean, **environment}, timeout=60, check=False, cwd="/"
    )
