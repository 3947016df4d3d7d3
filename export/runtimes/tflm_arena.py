"""How much memory TFLite-Micro takes for a part: its own record after one inference, read from a child process."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError
from export.runtimes.tflite_part import read_part
from export.runtimes.tflm import arena_bytes
from quant.graph import Graph

#: The record goes to the C library's standard error, which only another process can catch cleanly.
CHILD = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
made = runtime.Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2]))
given = made.get_input_details(0)
made.set_input(np.zeros(given["shape"], given["dtype"]), 0)
made.invoke()
made.print_allocations()
"""
CHILD_LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Arena:
    """Bytes of the tensor arena: `head` holds activations and scratch, `tail` what lives as long as the model."""

    total_bytes: int
    head_bytes: int
    tail_bytes: int


def measure_arena(folder: Path, name: str, graph: Graph) -> Arena:
    """Return the arena that the part `name` takes on this machine (64-bit pointers: the tail is smaller on a board).

    Raises:
        ExportError: the part cannot be read, or TFLite-Micro does not run it; the message holds its last line.
    """
    size = arena_bytes(graph, read_part(folder, name))
    command = [sys.executable, "-c", CHILD, str(folder / f"{name}.tflite"), str(size)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"tflite-micro took more than {CHILD_LIMIT_S} s for one inference of '{name}'.") from error
    found = dict(re.findall(r"Arena allocation (total|head|tail) (\d+) bytes", done.stderr))
    if done.returncode != 0 or len(found) != 3:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ExportError(f"tflite-micro cannot tell the arena of '{name}': {last}")
    return Arena(int(found["total"]), int(found["head"]), int(found["tail"]))
