"""Runtime `c-host` for binary networks: their C, compiled by this machine's C compiler and run here."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from export.binary_parity import BinaryRuntime, from_memory, to_memory
from export.runtimes.c_host import PIECE_HEAD_BYTES, checked, compiled, missing
from quant.binary_net import BinaryNetwork
from quant.formats import Array


def _run(folder: Path, stem: str, network: BinaryNetwork, x: Array) -> Array:
    return from_memory(network, _execute(folder, stem, network, x), len(x))


def _pieces(folder: Path, stem: str, network: BinaryNetwork, x: Array) -> Mapping[int, bytes]:
    made = _execute(folder, stem, network, x, "-DEDGEMILL_TAP")
    shown: dict[int, bytearray] = {}
    at = 0
    while at < len(made):
        number, size_bytes = np.frombuffer(made, np.int32, 2, at).tolist()
        at += PIECE_HEAD_BYTES
        shown.setdefault(number, bytearray()).extend(made[at : at + size_bytes])
        at += size_bytes
    return {number: bytes(data) for number, data in shown.items()}


def _execute(folder: Path, stem: str, network: BinaryNetwork, x: Array, *flags: str) -> bytes:
    given = to_memory(network, x).tobytes()
    with tempfile.TemporaryDirectory(prefix="edgemill_c_") as home:
        program = compiled(folder, stem, Path(home), "pipe", *flags)
        return checked([str(program)], f"c-host: model '{stem}'", given)


RUNTIME = BinaryRuntime("c-host", missing, _run, _pieces)
