"""A quantised `.tflite` of another tool, as it is, in LiteRT and tflite-runtime on emulated Cortex-A.

The imported network leaves out a SOFTMAX at the end, so the file runs twice: whole, and ending at the logits. The
second has the very work of the generated C, and its codes are compared.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from devices.emulators import icount
from devices.pi.cores import Core
from devices.pi.system import LITERT, TFLITE, Guest, counter_options, execute
from export.tflite_flat import ending_at
from quant.formats import Array

GUESTS = (LITERT, TFLITE)
WHOLE, AT_LOGITS = "the original file", "the original file without SOFTMAX"
#: What LiteRT calls the operators that a delegate put in.
DELEGATE = "DELEGATE"
#: Name, inputs and outputs of an operator.
Operator = tuple[str, Sequence[int], Sequence[int]]


def bodies(path: Path, logits: str) -> tuple[tuple[str, bytes], ...]:
    """Return what is run, named: the original file, and the same file ending at its logits."""
    data = path.read_bytes()
    return (WHOLE, data), (AT_LOGITS, ending_at(data, logits))


def measure(guest: Guest, core: Core, model: bytes, codes: Array) -> tuple[tuple[int, ...], Array]:
    """Run a file with uint8 input and output on int8 codes [N, C, H, W].

    Returns:
        The instructions of each inference, and the outputs as int8 codes [N, outputs].

    Raises:
        DeviceError: the runtime died, or the counter gave no counts.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "net.tflite").write_bytes(model)
        np.save(work / "in.npy", (codes.astype(np.int16) + 128).astype(np.uint8).transpose(0, 2, 3, 1))
        files = (work / "net.tflite", work / "in.npy", work / "out.npz")
        execute(guest, core, files, options=counter_options(work / "icount.txt"))
        counts = icount.per_inference(icount.read(work / "icount.txt"))
        with np.load(work / "out.npz", allow_pickle=False) as made:
            outputs = made["0"].reshape(len(codes), -1)
    return counts, (outputs.astype(np.int16) - 128).astype(np.int8)


def operators(core: Core, model: bytes) -> tuple[Operator, ...]:
    """Return the operators LiteRT lists on a core, those of delegates behind those of the file.

    Raises:
        DeviceError: the runtime died.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "net.tflite").write_bytes(model)
        execute(LITERT, core, (work / "net.tflite", work / "in.npy", work / "out.npz"), word="litert-ops")
        with np.load(work / "out.npz", allow_pickle=False) as made:
            return tuple((kind, inputs, outputs) for kind, inputs, outputs in json.loads(str(made["0"])))


def left_over(listed: Sequence[Operator]) -> tuple[str, ...]:
    """Return the file's operators that no delegate took: none of them lies between a delegate's ends."""
    own = [op for op in listed if op[0] != DELEGATE]
    makers = {made: number for number, (_, _, outputs) in enumerate(own) for made in outputs}
    taken: set[int] = set()
    for kind, inputs, outputs in listed:
        todo = list(outputs) if kind == DELEGATE else []
        while todo:
            number = makers.get(place := todo.pop())
            if number is not None and place not in inputs and number not in taken:
                taken.add(number)
                todo += own[number][1]
    return tuple(op[0] for number, op in enumerate(own) if number not in taken)
