"""The Python file of a part on an emulated Raspberry Pi: its own Python and numpy, our C as an aarch64 library."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from tests.embedded import bundle, images, reference, spec

system = pytest.importorskip("devices.pi.system", reason="no emulated arm64 system in this version")

PROGRAM = """
import sys
import numpy as np
import toy_python
network = toy_python.Network()
for image in np.load("images.npy"):
    label, scores = network.classify(image)
    print(toy_python.LABELS.index(label), repr(float(scores.max())))
"""


def test_labels_on_a_board_are_those_of_the_reference(tmp_path):
    from devices.pi.cores import PI4

    if shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("not installed: aarch64-linux-gnu-gcc")
    reasons = {guest: system.missing(guest, PI4) for guest in (system.LITERT, system.TFLITE, system.ORT)}
    guest = next((guest for guest, reason in reasons.items() if reason is None), None)
    if guest is None:
        pytest.skip(str(next(iter(reasons.values()))))
    made, raw = bundle(tmp_path / "b", spec()), images(12)
    folder = made.parts[0].folder
    sources = ("toy.c", "toy_preprocess.c", "toy_labels.c")
    command = ["aarch64-linux-gnu-gcc", "-O2", "-std=c99", "-shared", "-fPIC", *sources, "-o", "libtoy.so"]
    subprocess.run(command, cwd=folder, check=True)
    np.save(folder / "images.npy", raw)
    (folder / "main.py").write_text(PROGRAM)
    root = system.home() / PI4.name
    surroundings = ("-E", f"PYTHONPATH={system.site(guest)}", "-E", "PYTHONDONTWRITEBYTECODE=1")
    command = [
        "qemu-aarch64",
        "-cpu",
        PI4.cpu,
        "-L",
        str(root),
        *surroundings,
        str(root / system.PYTHON),
        "-s",
        "main.py",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    best = reference(made, raw).astype(int).argmax(axis=1)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [int(line[0]) for line in lines] == best.tolist()
    assert len(set(best.tolist())) > 1 and all(0 < float(line[1]) <= 1 for line in lines)
