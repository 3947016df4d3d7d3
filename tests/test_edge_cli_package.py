"""`edgemill package` and `edgemill export --resize`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge.cli import main
from edge.commands.model import RESIZES as OFFERED
from export import preprocess
from export.bundle_read import read_bundle
from quant import graph_file
from tests.embedded import bundle, images, spec


def typed(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_bundle_becomes_each_form(tmp_path):
    bundle(tmp_path / "b", spec())
    for form, output in (("cmake", "c"), ("arduino", "a.zip"), ("zephyr", "z")):
        done = typed("package", tmp_path / "b", "--form", form, "-o", tmp_path / output)
        assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith(f"{tmp_path / output}: ")
    assert (tmp_path / "z" / "zephyr" / "module.yml").is_file() and (tmp_path / "a.zip").is_file()
    again = typed("package", tmp_path / "b", "--form", "zephyr", "-o", tmp_path / "z")
    assert again.exit_code == 1 and "exists already" in again.stderr
    assert typed("package", tmp_path / "b", "--form", "zephyr", "-o", tmp_path / "z", "--force").exit_code == 0


def test_a_wrong_form_names_the_near_one(tmp_path):
    done = typed("package", tmp_path, "--form", "zephir", "-o", tmp_path / "z")
    assert done.exit_code == 1 and "zephyr" in done.stderr and not (tmp_path / "z").exists()


def exported(folder: Path, *options: str) -> Result:
    made = spec()
    (folder / "toy.graph").write_bytes(graph_file.to_bytes(made.parts[0].graph))
    x, y = images(20).transpose(0, 3, 1, 2), np.arange(20) % 5
    np.savez(folder / "data.npz", x=x, y=y)
    words = ("export", folder / "toy.graph", "--target", "arm-m", "--data", folder / "data.npz", "-o", folder / "b")
    return typed(*words, *options)


@pytest.mark.parametrize("method", preprocess.RESIZES)
def test_export_declares_a_resize(tmp_path, method):
    done = exported(tmp_path, "--resize", method)
    assert done.exit_code == 0, done.stderr
    made = read_bundle(tmp_path / "b")
    assert (made.manifest.preprocess.resize, made.manifest.postprocess) == (method, "softmax")
    assert "int toy_resize(" in (made.parts[0].folder / f"{made.parts[0].stem}_preprocess.h").read_text().replace(
        made.parts[0].stem, "toy"
    )


def test_the_command_offers_what_there_is(tmp_path):
    assert OFFERED == preprocess.RESIZES
    done = exported(tmp_path, "--resize", "cubic")
    assert done.exit_code == 2 and "crop-bilinear" in done.stderr
