"""Elastic networks on the command line: FILE.elastic@WIDTH wherever a model stands, BUNDLE@WIDTH to evaluate."""

import json

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="the network of these tests is trained with torch")

from edge.cli import main
from edge.errors import EdgeError
from edge.model_file import elastic_of, load_model, split_subnet
from edge.recipes.recipes import PROCEDURES, find_recipe
from export.bundle_read import read_bundle
from quant import elastic_file, graph_file
from quant.elastic import at
from tests.elastic import network


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("elastic") / "net.elastic"
    elastic_file.save(network(), path)
    return path


def invoke(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def accuracy(model):
    return json.loads(invoke("eval", model, "--data", "digits", "--json"))


def test_a_model_at_a_width(file):
    for which in ("4", "w4a4", "w3.8a2.5-asyma"):
        graph = load_model(f"{file}@{which}")
        assert graph_file.to_bytes(graph) == graph_file.to_bytes(at(network(), which))
    assert elastic_of(f"{file}@4").subnets.keys() == network().subnets.keys()
    assert elastic_of("net.onnx") is None


def test_an_at_sign_in_a_name_that_exists_is_part_of_it(tmp_path):
    (tmp_path / "a@b").mkdir()
    assert split_subnet(str(tmp_path / "a@b")) == (str(tmp_path / "a@b"), "")
    assert split_subnet("net.elastic@w4a4") == ("net.elastic", "w4a4")


def test_eval_export_and_a_bundle_at_another_width(file, tmp_path):
    at_8, at_2 = accuracy(f"{file}@8"), accuracy(f"{file}@2")
    assert at_8["accuracy"] > at_2["accuracy"] > 0.6
    assert at_8["executed_by"] == "integer reference"
    bundle = tmp_path / "bundle"
    invoke("export", f"{file}@8", "--target", "arm-m", "--data", "digits", "--vectors", 4, "-o", bundle)
    assert read_bundle(bundle).parts[0].elastic is not None
    assert accuracy(bundle)["accuracy"] == at_8["accuracy"]
    assert accuracy(f"{bundle}@2")["accuracy"] == at_2["accuracy"]
    done = invoke("eval", f"{bundle}@2", "--data", "digits", "--runtime", "c-host", code=1)
    assert "have one width" in done


def test_refusals(file, tmp_path):
    assert "say which subnet" in invoke("eval", file, "--data", "digits", code=1)
    assert "no batch norm statistics for w5a5" in invoke("eval", f"{file}@5", "--data", "digits", code=1)
    assert "there is no file" in invoke("eval", tmp_path / "none.elastic@4", "--data", "digits", code=1)
    (tmp_path / "bad.elastic").write_bytes(b"x")
    assert "not a readable elastic network" in invoke("eval", tmp_path / "bad.elastic@4", "--data", "digits", code=1)


def test_procedures_are_listed_and_no_recipes():
    listed = {entry["name"]: entry["used as"] for entry in json.loads(invoke("recipes", "--json"))}
    assert listed["cross-entropy"] == "[train] recipe"
    for procedure in PROCEDURES:
        assert listed[procedure.name] == procedure.function
        module, _, name = procedure.function.rpartition(".")
        assert callable(getattr(__import__(module, fromlist=[name]), name))
        with pytest.raises(EdgeError, match="trains networks of its own"):
            find_recipe(procedure.name)
