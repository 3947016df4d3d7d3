#!/usr/bin/env python3
"""Self-test of a Jetson part, for the owner of a board to run first, with `python3 selftest.py`.

Builds the engine, runs every test vector through trtexec and compares the outputs with those that ONNX Runtime gave
for the same ONNX file on a CPU. Needs Python 3.6 or newer (JetPack 4) and nothing else. Writes selftest_result.json.
Exit status: 0 passed, 1 wrong outputs, 2 could not run.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

DEFAULT_TOOL = "/usr/src/tensorrt/bin/trtexec"


def main(folder: str) -> int:
    """Run the test in a part's folder and return the exit status."""
    os.chdir(folder)
    tool = os.environ.get("TRTEXEC") or shutil.which("trtexec") or DEFAULT_TOOL
    if not shutil.which(tool):
        return finish({"verdict": "not run", "reason": f"no trtexec at {tool}; set TRTEXEC to its full path"})
    try:
        plan = json.loads(Path("selftest.json").read_text())
        if not plan["vectors"]:
            raise ValueError("selftest.json holds no test vectors; export the part again")
        version = tensorrt_version(build(plan, tool))
        compared = [compare(plan, vector, tool) for vector in plan["vectors"]]
    except (OSError, ValueError, KeyError, subprocess.CalledProcessError) as error:
        shown = (getattr(error, "output", None) or b"").decode("utf-8", "replace")
        return finish({"verdict": "not run", "reason": f"{error} {shown[-2000:]}".strip()})
    return finish(judge(plan, compared, version))


def build(plan: Any, tool: str) -> str:
    """Build the engine and return what trtexec prints; an engine of an earlier build cannot stand in for this one."""
    engine = Path(plan["name"] + ".plan")
    if engine.exists():
        engine.unlink()
    log = output_of(["sh", "build.sh"], tool)
    if not engine.exists():
        raise ValueError(f"build.sh wrote no {engine}: {log[-2000:]}")
    return log


def output_of(command: Any, tool: str) -> str:
    """Run a command and return what it prints."""
    environment = dict(os.environ, TRTEXEC=tool)
    return subprocess.check_output(command, stderr=subprocess.STDOUT, env=environment).decode("utf-8", "replace")


def tensorrt_version(log: str) -> str:
    """Return major.minor from trtexec's banner: v8502 is 8.5, v100300 is 10.3, v10.13.3 is 10.13."""
    found = re.search(r"\[TensorRT v([0-9.]+)\]", log)
    if not found:
        return "unknown"
    text = found.group(1)
    if "." in text:
        return ".".join(text.split(".")[:2])
    number = int(text)
    return f"{number // 1000}.{number // 100 % 10}" if number < 10000 else f"{number // 10000}.{number // 100 % 100}"


def compare(plan: Any, vector: Any, tool: str) -> Any:
    """Run one test vector and compare its output; an output of an earlier run cannot be mistaken for this one."""
    path = Path("selftest_output.json")
    if path.exists():
        path.unlink()
    command = [tool, f"--loadEngine={plan['name']}.plan", f"--loadInputs={plan['input']}:{vector['file']}"]
    short = ["--iterations=1", "--warmUp=0", "--duration=0", *plan["run_flags"]]
    if os.environ.get("DLA_CORE"):
        short.append("--useDLACore=" + os.environ["DLA_CORE"])
    output_of([*command, f"--exportOutput={path}", *short], tool)
    found = [entry for entry in read_outputs(path.read_text()) if entry["name"] == plan["output"]]
    if not found:
        raise ValueError(f"trtexec exported no output called {plan['output']}")
    values, expected = [float(v) for v in found[0]["values"]], vector["expected"]
    if len(values) != len(expected):
        raise ValueError(f"{len(values)} output values instead of {len(expected)}")
    finite = [i for i in range(len(values)) if math.isfinite(values[i])]
    return {
        "file": vector["file"],
        "largest_difference": max([abs(values[i] - expected[i]) for i in finite] or [0.0]),
        "not_finite": len(values) - len(finite),
        "same_label": len(finite) == len(values) and top(values) == top(expected),
    }


def read_outputs(text: str) -> Any:
    """Parse trtexec's output file, which spells values that are not finite as C++ does (nan, -nan, inf)."""
    text = re.sub(r"(?<=[\s,\[])-?nan(?=[\s,\]])", "NaN", text)
    return json.loads(re.sub(r"(?<=[\s,\[-])inf(?=[\s,\]])", "Infinity", text))


def top(values: Any) -> int:
    """Return the place of the largest value."""
    best: int = max(range(len(values)), key=lambda i: values[i])
    return best


def judge(plan: Any, compared: Any, version: str) -> Any:
    """Return the verdict: passed when every value is finite and within the tolerance of the plan."""
    within = all(item["largest_difference"] <= plan["tolerance"] and not item["not_finite"] for item in compared)
    return {
        "verdict": "passed" if within and compared else "wrong outputs",
        "largest_difference": max(item["largest_difference"] for item in compared),
        "tolerance": plan["tolerance"],
        "labels_agree": sum(item["same_label"] for item in compared),
        "vectors": compared,
        "tensorrt": version,
        "tensorrt_expected": plan["tensorrt"],
    }


def finish(result: Any) -> int:
    """Print and store the result."""
    text = json.dumps(result, indent=2, sort_keys=True)
    Path("selftest_result.json").write_text(text + "\n")
    print(text)
    return {"passed": 0, "wrong outputs": 1}.get(result["verdict"], 2)


if __name__ == "__main__":
    sys.exit(main(str(Path(__file__).resolve().parent)))
