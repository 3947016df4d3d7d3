"""The application for a Linux board: built against an installed package, for this machine and for aarch64."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge.app import load
from export.bundle_read import Bundle
from export.embed.packages import find_form, write_package
from tests.embedded import RGB, bundle, images, spec
from tests.house import ROOT

APP = ROOT / "examples" / "linux_app"
MACHINES = ("host", "aarch64")
TOOLS = {
    "host": ("cmake", "cc", "c++"),
    "aarch64": ("cmake", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++", "qemu-aarch64"),
}
WARNINGS = "-Wall -Wextra -Wconversion -Wshadow -Werror"
CHECKS = "-fsanitize=undefined,address -fno-sanitize-recover=all"


def call(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def built(folder: Path, made: Bundle, machine: str) -> list[str]:
    """Package a bundle, install it, build the application, and return the command that runs it."""
    absent = [tool for tool in TOOLS[machine] if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    flags = WARNINGS if machine == "aarch64" else f"{WARNINGS} {CHECKS}"
    cross = [f"-DCMAKE_TOOLCHAIN_FILE={APP / 'aarch64.cmake'}"] if machine == "aarch64" else []
    write_package(made, find_form("cmake"), folder / "package")
    prefix = folder / "installed"
    call("cmake", "-S", "package", "-B", "b1", *cross, f"-DCMAKE_INSTALL_PREFIX={prefix}", cwd=folder)
    call("cmake", "--build", "b1", "--target", "install", cwd=folder)
    found = ["-DNETWORK=toy", f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_FLAGS={flags}"]
    call("cmake", "-S", APP, "-B", "b2", *cross, *found, cwd=folder)
    call("cmake", "--build", "b2", cwd=folder)
    if machine == "aarch64":
        call("ctest", "--no-tests=error", cwd=folder / "b1")
    program = str(folder / "b2" / "classify")
    return ["qemu-aarch64", program] if machine == "aarch64" else [program]


def pnm(image: np.ndarray) -> bytes:
    """An image [height, width, 3 or 1] as raw PPM or PGM."""
    kind = "P6" if image.shape[2] == 3 else "P5"
    return f"{kind}\n# a comment\n{image.shape[1]} {image.shape[0]}\n255\n".encode() + image.tobytes()


def say(command: list[str], *words: str, cwd: Path, given: bytes = b"", code: int = 0) -> list[list[str]]:
    done = subprocess.run([*command, *words], cwd=cwd, input=given, capture_output=True, check=False)
    assert done.returncode == code, done.stderr
    if code:
        return [done.stderr.decode().splitlines()]
    return [line.split("\t") for line in done.stdout.decode().splitlines()]


@pytest.mark.parametrize("machine", MACHINES)
def test_labels_and_scores_are_those_of_the_python_pipeline(tmp_path, machine):
    pytest.importorskip("PIL.Image", reason="pillow is not installed")
    made = bundle(tmp_path / "b", spec(), resize="crop-bilinear")
    command = built(tmp_path, made, machine)
    frames = [
        images(1, (int(h), int(w), 3), seed)[0] for seed, (h, w) in enumerate([(6, 6), (48, 64), (90, 31), (7, 5)] * 5)
    ]
    frames += [frame[..., :1].copy() for frame in frames[:4]]
    names = [f"{k}.{'pgm' if frame.shape[2] == 1 else 'ppm'}" for k, frame in enumerate(frames)]
    for name, frame in zip(names, frames, strict=True):
        (tmp_path / name).write_bytes(pnm(frame))
    with load(made.path, "reference") as network:
        answers = network.classify_all(tmp_path / name for name in names)
        best = [network.labels.index(answer.label) for answer in answers]
    lines = say(command, *names, cwd=tmp_path)
    assert [line[:2] for line in lines] == [[name, answer.label] for name, answer in zip(names, answers, strict=True)]
    assert len(set(best)) > 1
    expected = [answer.scores[k] for answer, k in zip(answers, best, strict=True)]
    np.testing.assert_allclose([float(line[2]) for line in lines], expected, atol=2e-6)
    stream = say(command, "-", cwd=tmp_path, given=b"".join(map(pnm, frames)))
    assert [line[1:] for line in stream] == [line[1:] for line in lines]
    assert [line[0] for line in stream[:3]] == ["-", "-#1", "-#2"]


def test_a_grey_network_takes_colour_by_the_same_luma(tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler 'c++' here")
    every = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (tmp_path / "main.cpp").write_text("""
#include <iostream>
#include "frame.hpp"
int main() {
    Frame frame;
    while (read_frame(std::cin, frame)) {
        set_channels(frame, 1);
        std::cout.write(reinterpret_cast<const char *>(frame.pixels.data()), std::streamsize(frame.pixels.size()));
    }
}
""")
    call("c++", "-std=c++11", f"-I{APP}", "main.cpp", APP / "frame.cpp", "-o", "grey", cwd=tmp_path)
    done = subprocess.run([tmp_path / "grey"], input=pnm(every), capture_output=True, check=True)
    assert done.stdout == pillow.fromarray(every).convert("L").tobytes()


def test_what_is_no_frame_is_refused(tmp_path):
    command = built(tmp_path, bundle(tmp_path / "b", spec()), "host")
    good = pnm(images(1)[0])
    cases = {
        b"GIF89a": "not a raw PGM or PPM frame",
        good[:-1]: "the frame is cut short",
        b"P6 0 5 255\n": "a side outside 1 to 16384",
        b"P6 6 99999 255\n": "a side outside 1 to 16384",
        b"P6 6 6 65535\n": "values of more or fewer than 8 bits",
        b"P6 6 6x255\n": "a damaged header",
        b"P6 # no end": "a damaged header",
        b"P6 6": "a damaged header",
        pnm(images(1, (9, 7, 3))[0]): "a frame of 7x9 pixels; toy takes 6x6, and declares no resize",
    }
    for data, message in cases.items():
        assert message in say(command, "-", cwd=tmp_path, given=data, code=1)[0][0]
    assert "none.ppm: cannot be read" in say(command, "none.ppm", cwd=tmp_path, code=1)[0][0]
    assert "usage" in say(command, cwd=tmp_path, code=2)[0][0]
    (tmp_path / "good.ppm").write_bytes(good)
    assert len(say(command, "good.ppm", cwd=tmp_path)) == 1


TWO = """
#include <cstdio>
#include <thread>
#include <first.hpp>
#include <second.hpp>

template <class Network> static void work(const unsigned char *images, int count, int *made)
{
    Network *network = new Network;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < count; i++) {
            made[i] = network->classify(images + i * int(Network::input_size));
        }
    }
    delete network;
}

int main()
{
    static unsigned char images[16 * 108];
    static int made[4][16];
    if (std::fread(images, 1, sizeof images, stdin) != sizeof images) {
        return 2;
    }
    std::thread a(work<first_network>, images, 16, made[0]), b(work<second_network>, images, 16, made[1]);
    std::thread c(work<first_network>, images, 16, made[2]), d(work<second_network>, images, 16, made[3]);
    a.join();
    b.join();
    c.join();
    d.join();
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < 16; i++) {
            std::printf("%d ", made[k][i]);
        }
        std::printf("\\n");
    }
}
"""


def test_two_bundles_in_one_program_with_two_instances_of_each_in_threads(tmp_path):
    absent = [tool for tool in ("cmake", "cc", "c++") if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    bundles = [bundle(tmp_path / name, spec(name, RGB, seed=seed)) for name, seed in (("first", 2), ("second", 5))]
    (tmp_path / "packages").mkdir()
    for made in bundles:
        write_package(made, find_form("cmake"), tmp_path / "packages" / made.path.name)
    (tmp_path / "main.cpp").write_text(TWO)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(two C CXX)\nfind_package(Threads REQUIRED)\n"
        "add_subdirectory(packages/first)\nadd_subdirectory(packages/second)\nadd_executable(two main.cpp)\n"
        "target_link_libraries(two PRIVATE first::first second::second Threads::Threads)\n"
    )
    call("cmake", "-S", ".", "-B", "build", f"-DCMAKE_CXX_FLAGS={WARNINGS}", cwd=tmp_path)
    call("cmake", "--build", "build", cwd=tmp_path)
    raw = images(16)
    done = subprocess.run([tmp_path / "build" / "two"], input=raw.tobytes(), capture_output=True, check=True)
    rows = [list(map(int, line.split())) for line in done.stdout.decode().splitlines()]
    expected = []
    for made in bundles:
        with load(made.path, "reference") as network:
            expected.append([network.labels.index(answer.label) for answer in network.classify_all(raw)])
    assert rows == [*expected, *expected]
    assert expected[0] != expected[1] and all(len(set(row)) > 1 for row in expected)
