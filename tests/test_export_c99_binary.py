"""C of binary networks: logits have the reference's very bits, and every popcount sum is the reference's."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.emulators.binary import RUNTIMES as EMULATED
from export.binary_parity import BinaryRuntime, shown_sums
from export.c99.binary_emit import emit_binary
from export.c99.binary_files import binary_header, binary_self_test, binary_vectors
from export.c99.binary_plan import folded, lay_out
from export.errors import ExportError
from export.runtimes.c_binary import RUNTIME as C_HOST
from quant.binary import store
from quant.binary_net import Affine, BinaryLayer, BinaryNetwork, Stem, Threshold, check, run
from quant.formats import Array
from tests.binary_nets import binary_network, images, random_network

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
CHECKED = ("-g", "-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
CORES = ("mps2-an386", "mps3-an547", "qemu-aarch64")


def write(folder: Path, network: BinaryNetwork, count: int = 8) -> tuple[Array, Array]:
    """Write the C of a network under the name `net`; return inputs and the reference's logits."""
    unit, x = emit_binary(network, "net"), images(network, count)
    logits = run(network, x)
    texts = {
        "net.c": unit.source,
        "net.h": binary_header(network, "net", unit),
        "net_vectors.h": binary_vectors("net", x, logits),
        "net_test.c": binary_self_test("net"),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return x, logits


def built_and_run(folder: Path, *flags: str, compiler: str = "cc") -> subprocess.CompletedProcess[str]:
    command = [compiler, *flags, "net.c", "net_test.c", "-o", "selftest"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    return subprocess.run(["./selftest"], cwd=folder, capture_output=True, text=True, check=False)


def agree(folder: Path, network: BinaryNetwork, runtime: BinaryRuntime, x: Array, logits: Array) -> None:
    made = runtime.run(folder, "net", network, x)
    np.testing.assert_array_equal(made.view(np.int32), logits.view(np.int32))
    as_c, sums = folded(network), {}
    run(as_c, x, sums)
    for name, values in shown_sums(as_c, runtime.pieces(folder, "net", network, x), len(x)).items():
        np.testing.assert_array_equal(values, sums[name], err_msg=name)


@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=10, deadline=None)
def test_any_network_has_the_bits_of_the_reference(seed, tmp_path_factory):
    folder, network = tmp_path_factory.mktemp("net"), random_network(seed)
    x, logits = write(folder, network)
    assert (folded(network).name, len(np.unique(logits)) > 1) == ("any", True)
    agree(folder, network, C_HOST, x, logits)
    done = built_and_run(folder, *STRICT, *CHECKED)
    assert (done.returncode, done.stdout) == (0, "net: 8 of 8 vectors bit-exact\n"), done.stderr


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("seed", [None, 7, 11])
def test_emulated_cores_have_the_bits_of_the_reference(name, seed, tmp_path):
    runtime = next(runtime for runtime in EMULATED if runtime.name == name)
    reason = runtime.missing()
    if reason:
        pytest.skip(reason)
    network = binary_network() if seed is None else random_network(seed)
    x, logits = write(tmp_path, network)
    assert len(np.unique(logits.argmax(axis=1))) > 1
    agree(tmp_path, network, runtime, x, logits)


@pytest.mark.parametrize("channels", [3, 40, 130])
def test_patches_of_many_words(channels, tmp_path):
    """Rounds of words: one, several, and more than the counts of a byte hold."""
    network = wide(channels)
    x, logits = write(tmp_path, network, 4)
    agree(tmp_path, network, C_HOST, x, logits)
    for runtime in EMULATED:
        if runtime.name in CORES and runtime.missing() is None:
            agree(tmp_path, network, runtime, x, logits)


def wide(channels: int) -> BinaryNetwork:
    """A stem of one pixel's kernel, two binary layers, the first of which is a threshold; image 4x4."""
    rng = np.random.default_rng(channels)

    def array(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    first = BinaryLayer(
        "first",
        store(array(channels, channels, 3, 3)),
        (1, 1),
        (1,) * 4,
        0,
        False,
        Affine(array(channels), array(channels)),
    )
    last = BinaryLayer("last", store(array(9, channels, 3, 3)), (2, 2), (1,) * 4, 1, False, Affine(array(9), array(9)))
    stem = Stem(array(channels, 2, 1, 1), array(channels), (1, 1), (0,) * 4)
    return check(BinaryNetwork("wide", (2, 4, 4), stem, (first, last), array(3, 9), array(3)))


def test_a_sign_that_alone_is_used_becomes_a_threshold_also_at_zero():
    """Gains of both signs and 0, and sums that meet zero: the decision is the one of the float finish."""
    rng = np.random.default_rng(5)
    network = wide(8)
    gain, offset = np.float32([-1, 1, 2, -2, 0, 0, -0.5, 3]), np.float32([2, -4, 4, 0, 0, -1, 1, -6])
    network = replace(network, layers=(replace(network.layers[0], finish=Affine(gain, offset)), network.layers[1]))
    as_c = folded(network)
    assert isinstance(as_c.layers[0].finish, Threshold)
    sums: dict[str, Array] = {}
    x = rng.normal(size=(16, *network.shape)).astype(np.float32)
    np.testing.assert_array_equal(run(network, x, sums), run(as_c, x))
    met = (gain[:, None, None] * sums["first"] + offset[:, None, None]) == 0
    assert met[:, [0, 1, 2, 3, 4, 6, 7]].any(axis=(0, 2, 3)).all()  # a tie in every channel that can have one


def test_values_of_shortcuts_are_computed_in_place():
    network = random_network(0)
    rng = np.random.default_rng(1)
    layers = tuple(
        BinaryLayer(f"u{i}", store(rng.normal(size=(8, 8, 3, 3))), (1, 1), (1,) * 4, 0, True, _affine(rng, 8))
        for i in range(3)
    )
    stem = Stem(rng.normal(size=(8, 1, 1, 1)).astype(np.float32), np.zeros(8, np.float32), (1, 1), (0,) * 4)
    network = check(
        replace(
            network,
            shape=(1, 6, 6),
            stem=stem,
            layers=layers,
            head=np.ones((2, 8), np.float32),
            bias=np.zeros(2, np.float32),
        )
    )
    assert set(lay_out(network).names.values()) == {"values0"}


def long_sums(pads: tuple[int, int, int, int]) -> BinaryNetwork:
    """A sign of sums of 36,000 terms, used alone; image 3x3."""
    rng = np.random.default_rng(2)
    channels = 4000
    stem = Stem(
        rng.normal(size=(channels, 1, 1, 1)).astype(np.float32), np.zeros(channels, np.float32), (1, 1), (0,) * 4
    )
    first = BinaryLayer("long", store(rng.normal(size=(3, channels, 3, 3))), (1, 1), pads, 0, False, _affine(rng, 3))
    last = BinaryLayer("last", store(rng.normal(size=(8, 3, 1, 1))), (1, 1), (0,) * 4, 0, False, _affine(rng, 8))
    head = rng.normal(size=(3, 8)).astype(np.float32)
    return check(BinaryNetwork("long", (1, 3, 3), stem, (first, last), head, np.zeros(3, np.float32)))


def test_sums_too_long_for_thresholds_keep_their_float_finish(tmp_path):
    network = long_sums((0, 0, 0, 0))
    assert isinstance(folded(network).layers[0].finish, Affine)
    agree(tmp_path, network, C_HOST, *write(tmp_path, network))


def test_sums_too_long_for_their_border_are_refused():
    with pytest.raises(ExportError, match=r"'long' has sums of 36000 terms.*at most 32767"):
        emit_binary(long_sums((1, 1, 1, 1)), "net")


def _affine(rng: np.random.Generator, out: int) -> Affine:
    return Affine(rng.normal(size=out).astype(np.float32), rng.normal(size=out).astype(np.float32))


@pytest.mark.skipif(
    "fma" not in (Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""), reason="no FMA here"
)
def test_products_and_sums_are_not_fused(tmp_path):
    """The compiler may fuse in GNU mode; the source forbids it, and without that line the bits differ."""
    write(tmp_path, binary_network(), 16)
    flags = ("-std=gnu99", "-O2", "-mfma")
    assert built_and_run(tmp_path, *flags).returncode == 0
    source = (tmp_path / "net.c").read_text()
    assert source.count("fp-contract=off") == 1
    (tmp_path / "net.c").write_text(source.replace('#pragma GCC optimize("fp-contract=off")', ""))
    assert built_and_run(tmp_path, *flags).returncode == 1


def test_fast_math_is_refused(tmp_path):
    write(tmp_path, binary_network())
    done = subprocess.run(
        ["cc", "-ffast-math", "-c", "net.c"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "without -ffast-math" in done.stderr


@pytest.mark.skipif(shutil.which("clang") is None, reason="no clang here")
def test_clang_has_no_warning_and_the_same_bits(tmp_path):
    write(tmp_path, random_network(3))
    assert built_and_run(tmp_path, *STRICT, "-O2", compiler="clang").returncode == 0


def test_the_header_is_cpp(tmp_path):
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler here")
    write(tmp_path, binary_network())
    (tmp_path / "main.cpp").write_text(
        '#include "net.h"\nstatic NET_ARENA(arena);\nnet_t net;\n'
        "int main() { return net_init(&net, arena, sizeof arena); }\n"
    )
    for command in (
        ["cc", "-c", "net.c"],
        ["c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "main.cpp", "net.o", "-o", "main"],
        ["./main"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)


def test_a_wrong_logit_fails_the_self_test(tmp_path):
    write(tmp_path, binary_network())
    x, logits = images(binary_network(), 8), run(binary_network(), images(binary_network(), 8))
    logits[0, 0] = np.nextafter(logits[0, 0], np.float32(9))
    (tmp_path / "net_vectors.h").write_text(binary_vectors("net", x, logits))
    done = built_and_run(tmp_path, "-std=c99", "-O2")
    assert done.returncode == 1
    assert "vector 0, output 0" in done.stdout
