"""The bundle of a binary network, as a function and on the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge.cli import main
from export.binary_bundle import BinarySpec, is_binary_bundle, read_binary, write_binary
from export.binary_parity import BinaryRuntime, check_binary
from export.bundle_read import read_bundle
from export.errors import ExportError
from export.preprocess import Preprocess
from export.runtimes.c_binary import RUNTIME as C_HOST
from quant import binary_file
from quant.binary_net import BinaryNetwork, run
from quant.formats import Array
from tests.binary_nets import binary_network, images

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")


def spec(count: int = 6) -> BinarySpec:
    network = binary_network()
    preprocess = Preprocess(2, 7, 6, 1.0, (0.0, 0.0), (1.0, 1.0), raw="float32")
    return BinarySpec("small one", network, images(network, count), preprocess, ("a", "b", "c"))


def test_it_reads_back_as_written_and_is_the_same_when_written_again(tmp_path):
    made = write_binary(tmp_path / "one", spec())
    again = write_binary(tmp_path / "two", spec())
    read = read_binary(tmp_path / "one")
    assert (read.digest, read.stem, read.labels) == (made.digest, "small_one", ("a", "b", "c"))
    assert again.digest == made.digest
    np.testing.assert_array_equal(read.outputs, run(binary_network(), read.inputs))
    assert binary_file.to_bytes(read.network) == binary_file.to_bytes(binary_network())
    assert (read.folder / "small_one.c").is_file()
    assert is_binary_bundle(tmp_path / "one")


def test_a_changed_missing_or_extra_file_is_named(tmp_path):
    for change in ("changed", "missing", "extra"):
        folder = tmp_path / change
        write_binary(folder, spec())
        file = folder / "model" / "small_one.c"
        if change == "changed":
            file.write_bytes(file.read_bytes()[:-1] + b" ")
        elif change == "missing":
            file.unlink()
        else:
            (file.parent / "more.c").write_text("int more;\n")
        with pytest.raises(ExportError, match="more.c" if change == "extra" else "small_one.c"):
            read_binary(folder)


def test_a_changed_manifest_is_refused(tmp_path):
    write_binary(tmp_path / "b", spec())
    file = tmp_path / "b" / "binary.json"
    file.write_text(file.read_text().replace('"small one"', '"other one"'))
    with pytest.raises(ExportError, match="digest"):
        read_binary(tmp_path / "b")


def test_the_reader_of_other_bundles_says_what_it_is(tmp_path):
    write_binary(tmp_path / "b", spec())
    with pytest.raises(ExportError, match="bundle of a binary network"):
        read_bundle(tmp_path / "b")


def test_only_such_a_bundle_is_overwritten(tmp_path):
    write_binary(tmp_path / "b", spec())
    write_binary(tmp_path / "b", spec(5), overwrite=True)
    assert len(read_binary(tmp_path / "b").inputs) == 5
    (tmp_path / "mine").mkdir()
    with pytest.raises(ExportError, match="no bundle of a binary network"):
        write_binary(tmp_path / "mine", spec(), overwrite=True)


def test_inputs_that_prove_nothing_and_labels_that_do_not_fit_are_refused(tmp_path):
    good = spec()
    alike = BinarySpec(good.name, good.network, good.inputs[:1].repeat(3, 0), good.preprocess, good.labels)
    with pytest.raises(ExportError, match="all the same"):
        write_binary(tmp_path / "b", alike)
    with pytest.raises(ExportError, match="2 labels"):
        write_binary(tmp_path / "b", BinarySpec(good.name, good.network, good.inputs, good.preprocess, ("a", "b")))
    assert not (tmp_path / "b").exists()


@needs_cc
def test_parity_is_exact_and_a_wrong_layer_is_named(tmp_path):
    bundle = write_binary(tmp_path / "b", spec())
    (found,) = check_binary(bundle, [C_HOST])
    assert (found.status, found.vectors, found.differing) == ("bit-exact", 6, 0)
    assert found.labels > 1
    source = bundle.folder / "small_one.c"
    text = source.read_text()
    weight = text.split("layer1_weight[")[1].split("WORD(0x")[1][:8]
    source.write_text(text.replace(f"WORD(0x{weight}u)", f"WORD(0x{int(weight, 16) ^ 1:08X}u)", 1))
    (found,) = check_binary(bundle, [C_HOST])
    assert found.status == "wrong"
    assert found.first is not None
    assert found.first.node == "cut"


def test_one_bit_of_a_logit_is_wrong_and_a_missing_runtime_is_not_run(tmp_path):
    bundle = write_binary(tmp_path / "b", spec())

    def nearly(folder: Path, stem: str, network: BinaryNetwork, x: Array) -> Array:
        made = run(network, x)
        made[0, 0] = np.nextafter(made[0, 0], np.float32(9))
        return made

    broken = BinaryRuntime("nearly", lambda: None, nearly, C_HOST.pieces)
    absent = BinaryRuntime("absent", lambda: "no such board", nearly, C_HOST.pieces)
    if shutil.which("cc"):
        (found,) = check_binary(bundle, [broken])
        assert (found.status, found.max_steps, found.differing, found.first) == ("wrong", 1, 1, None)
    (found,) = check_binary(bundle, [absent])
    assert (found.status, found.reason) == ("not run", "no such board")


@needs_cc
def test_raw_bytes_become_the_inputs_bit_by_bit(tmp_path):
    """Every raw value in every channel, through the C and through `Preprocess.apply`."""
    preprocess = Preprocess(2, 7, 6, 1 / 255, (0.3, 0.41), (0.27, 0.11))
    good = spec()
    bundle = write_binary(tmp_path / "b", replace(good, preprocess=preprocess))
    raw = np.random.default_rng(0).permutation(np.arange(512) % 256).astype(np.uint8)[: 6 * 84].reshape(6, 7, 6, 2)
    main = f"""
#include <stdio.h>
#include "small_one_preprocess.h"
static const uint8_t raw[6][84] = {{{", ".join("{" + ", ".join(map(str, image.ravel())) + "}" for image in raw)}}};
int main(void)
{{
    small_one_input_t input[SMALL_ONE_INPUT_SIZE];
    int i;
    for (i = 0; i < 6; i++) {{
        small_one_preprocess(raw[i], input);
        fwrite(input, sizeof input, 1, stdout);
    }}
    return 0;
}}
"""
    (tmp_path / "main.c").write_text(main)
    sources = ["main.c", "b/model/small_one_preprocess.c", "-Ib/model", "-o", "main"]
    subprocess.run(
        ["cc", "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", *sources], cwd=tmp_path, check=True
    )
    done = subprocess.run([tmp_path / "main"], capture_output=True, check=True)
    made = np.frombuffer(done.stdout, np.float32).reshape(6, 7, 6, 2).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(made, preprocess.apply(raw.transpose(0, 3, 1, 2)))
    assert bundle.facts["sources"] == ["small_one.c", "small_one_preprocess.c"]


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with a binary network and data for it, and the person standing in it."""
    monkeypatch.chdir(tmp_path)
    network = binary_network()
    binary_file.save(network, tmp_path / "net.bnn")
    x = images(network, 40)
    np.savez(tmp_path / "data.npz", x=x, y=run(network, x).argmax(axis=1), labels=np.array(["a", "b", "c"]))
    return tmp_path


def invoke(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout if code == 0 else result.stderr.strip().splitlines()[-1]


@needs_cc
def test_export_verify_and_certify(desk):
    said = invoke("export", "net.bnn", "--target", "arm-m", "--data", "data.npz", "--vectors", 8, "-o", "bundle")
    digest = read_binary(desk / "bundle").digest
    assert digest[:16] in said
    found = json.loads(invoke("verify", "bundle", "--runtime", "c-host", "--certify", "--json"))
    assert (found["digest"], [r["status"] for r in found["results"]]) == (digest, ["bit-exact"])
    certificate = read_binary(desk / "bundle").certificate
    assert certificate is not None
    assert certificate["results"] == found["results"]


def test_a_bundle_that_was_changed_does_not_verify(desk):
    invoke("export", "net.bnn", "--target", "arm-m", "--data", "data.npz", "-o", "bundle")
    with (desk / "bundle" / "model" / "small.c").open("a") as file:
        file.write("\n")
    assert "small.c" in invoke("verify", "bundle", code=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "fpga"), "goes to target arm-m alone"),
        (("--target", "host", "--target", "arm-m"), "goes to target arm-m alone"),
        (("--target", "arm-m", "--cut", "x"), "--cut"),
        (("--target", "arm-m", "--float", "x.onnx"), "--float"),
        (("--target", "arm-m", "--softmax"), "--softmax"),
    ],
)
def test_what_a_binary_network_cannot_be_exported_to_is_refused(desk, options, said):
    assert said in invoke("export", "net.bnn", *options, "--data", "data.npz", "-o", "bundle", code=1)
    assert not (desk / "bundle").exists()


def test_commands_that_need_a_graph_say_so(desk):
    assert "has no graph" in invoke("diagnose", "net.bnn", "--scheme", "w8a8", "--calib", "data.npz", code=1)
    assert "no file" in invoke("export", "more.bnn", "--target", "arm-m", "--data", "data.npz", "-o", "b", code=1)
    invoke("export", "net.bnn", "--target", "arm-m", "--data", "data.npz", "-o", "bundle")
    assert "runtime" in invoke("verify", "bundle", "--runtime", "ort-cpu", code=1)
