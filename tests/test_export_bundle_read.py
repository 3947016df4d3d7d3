"""Reading bundles: whatever was changed, added, taken away or made up is refused with the name of the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.bundle import add_certificate, write_bundle
from export.bundle_read import file_record, read_bundle
from export.errors import ExportError
from export.strict_json import canonical, sha256_of
from quant import graph_file
from quant.formats import E4M3
from tests.bundles import plain_target, toy_spec
from tests.toys import toy_graph


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A split bundle with a certificate, never changed."""
    path = tmp_path_factory.mktemp("bundle") / "b"
    write_bundle(path, toy_spec(split=True), plain_target())
    add_certificate(path, {"runtimes": ["host"]})
    return path


@pytest.fixture
def bundle(original, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(original, tmp_path / "b"))


def test_the_copy_is_intact(bundle):
    assert read_bundle(bundle).certificate == {"runtimes": ["host"]}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_refused(bundle, data):
    files = sorted(p for p in bundle.rglob("*") if p.is_file())
    file = data.draw(st.sampled_from(files))
    good = file.read_bytes()
    position, mask = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(1, 255))
    bad = bytearray(good)
    bad[position] ^= mask
    file.write_bytes(bad)
    try:
        with pytest.raises(ExportError) as error:
            read_bundle(bundle)
    finally:
        file.write_bytes(good)
    assert str(bundle) in str(error.value)


@pytest.mark.parametrize("name", ["manifest.json", "parity.json"])
def test_every_single_byte_of_the_records_counts(bundle, name):
    file = bundle / name
    good = file.read_bytes()
    for position in range(0, len(good), 3):
        bad = bytearray(good)
        bad[position] ^= 1
        file.write_bytes(bad)
        with pytest.raises(ExportError):
            read_bundle(bundle)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_truncated_and_longer_files_are_refused(bundle, data):
    files = sorted(p for p in bundle.rglob("*") if p.is_file())
    file = data.draw(st.sampled_from(files))
    good = file.read_bytes()
    cut = data.draw(st.integers(0, len(good) - 1))
    file.write_bytes(data.draw(st.sampled_from([good[:cut], good + b"\n", good + good])))
    try:
        with pytest.raises(ExportError, match=str(bundle)):
            read_bundle(bundle)
    finally:
        file.write_bytes(good)


def delete_file(bundle: Path) -> None:
    """Take a target's file away."""
    (bundle / "head" / "model.txt").unlink()


def delete_manifest(bundle: Path) -> None:
    """Take the manifest away."""
    (bundle / "manifest.json").unlink()


def add_file(bundle: Path) -> None:
    """Add a file nobody lists."""
    (bundle / "tail" / "more" / "extra.txt").write_text("x")


def add_folder(bundle: Path) -> None:
    """Add an empty folder."""
    (bundle / "tail" / "new").mkdir()


def link_file(bundle: Path) -> None:
    """Replace a file by a link to the same content."""
    file = bundle / "head" / "model.txt"
    file.rename(bundle.parent / "elsewhere.txt")
    file.symlink_to(bundle.parent / "elsewhere.txt")


def link_folder(bundle: Path) -> None:
    """Replace a part's folder by a link to the same content."""
    (bundle / "head").rename(bundle.parent / "elsewhere")
    (bundle / "head").symlink_to(bundle.parent / "elsewhere", target_is_directory=True)


def link_manifest(bundle: Path) -> None:
    """Replace the manifest by a link to it."""
    (bundle / "manifest.json").rename(bundle.parent / "m.json")
    (bundle / "manifest.json").symlink_to(bundle.parent / "m.json")


def link_bundle(bundle: Path) -> None:
    """Replace the bundle's own folder by a link."""
    bundle.rename(bundle.parent / "real")
    bundle.symlink_to(bundle.parent / "real", target_is_directory=True)


def make_pipe(bundle: Path) -> None:
    """Add something that is neither file nor folder."""
    os.mkfifo(bundle / "head" / "pipe")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (delete_file, r"head/model\.txt is missing"),
        (delete_manifest, r"manifest\.json is missing"),
        (add_file, r"tail/more/extra\.txt is not in the manifest"),
        (add_folder, r"tail/new is an empty folder"),
        (link_file, r"head/model\.txt is a symbolic link"),
        (link_folder, r"b/head is a symbolic link"),
        (link_manifest, r"manifest\.json is missing or is no regular file"),
        (link_bundle, r"b is a symbolic link"),
        (make_pipe, r"head/pipe is neither"),
    ],
)
def test_a_damaged_tree_is_refused(bundle, damage, message):
    damage(bundle)
    with pytest.raises(ExportError, match=message):
        read_bundle(bundle)


def test_what_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(ExportError, match="is not a folder"):
        read_bundle(tmp_path / "nothing")
    with pytest.raises(ExportError, match="is no bundle"):
        read_bundle(tmp_path)


def renewed(bundle: Path, entry: dict) -> dict:
    """Return a manifest's file entry with the size and hash the file has now."""
    now = file_record(bundle, entry["path"])
    return {"path": now.path, "bytes": now.size_bytes, "sha256": now.sha256}


def forge(bundle: Path, change: Callable[[dict], None]) -> None:
    """Change the manifest and recompute its digest, as someone with the program could; drop the certificate."""
    (bundle / "parity.json").unlink()
    file = bundle / "manifest.json"
    record = json.loads(file.read_text())
    change(record)
    record["files"] = [renewed(bundle, entry) if entry.pop("renew", False) else entry for entry in record["files"]]
    record.pop("digest", None)
    record["digest"] = sha256_of(record)
    file.write_bytes(canonical(record))


def test_forging_without_change_is_accepted(bundle):
    forge(bundle, lambda record: None)
    assert read_bundle(bundle).certificate is None


FORGERIES: list[tuple[Callable[[dict], object], str]] = [
    (lambda r: r.update(schema=2), "is not that of its parts|missing|combine"),
    (lambda r: r.update(schema=True), "bundle schema True"),
    (lambda r: r.pop("schema"), "bundle schema None"),
    (lambda r: r.update(colour="red"), r"manifest\.json has the unknown key 'colour'"),
    (lambda r: r.pop("labels"), r"manifest\.json lacks the key 'labels'"),
    (lambda r: r.update(name=7), "name must be of type str, not int"),
    (lambda r: r.update(labels=["a"]), r"labels\.txt does not hold the labels"),
    (lambda r: r.update(labels="ten"), "labels must be a list"),
    (lambda r: r.update(postprocess="argmax"), "unknown postprocess 'argmax'"),
    (lambda r: r.update(parts=[]), "parts must be at least one"),
    (lambda r: r.update(parts=r["parts"][:1]), "b/tail belongs to no part"),
    (lambda r: r["parts"].reverse(), "pre-processing gives"),
    (lambda r: r["parts"][0].update(name="../tail"), "cannot name a part"),
    (lambda r: r["parts"][0].update(after={"score": 1}), "a rule after a part is not known"),
    (lambda r: r["parts"][0].update(macs=1), r"head/graph\.graph: the graph does not have the 1 MACs"),
    (lambda r: r["parts"][0].update(macs=-1), "macs must not be negative"),
    (lambda r: r["parts"][0]["input"].update(scale=0.5), "tensor 'x' is not as the manifest describes"),
    (lambda r: r["parts"][0]["input"].update(scale=-0.5), "a positive scale"),
    (lambda r: r["parts"][0]["input"].update(scale=1), "scale must be of type float"),
    (lambda r: r["parts"][0]["input"].update(zero=4), "tensor 'x' is not as the manifest describes"),
    (lambda r: r["parts"][0]["input"].update(format="int9000"), "unknown number format 'int9000'"),
    (lambda r: r["parts"][0]["input"].update(shape=[2, 3, 8, 8]), "starts with batch 1"),
    (lambda r: r["parts"][0]["input"].update(shape=[]), "starts with batch 1"),
    (lambda r: r["parts"][0]["input"].update(unit="m"), "unknown key 'unit'"),
    (lambda r: r["preprocess"].update(gamma=1), r"manifest\.json: pre-processing: key 'gamma' is unknown"),
    (lambda r: r["preprocess"].update(height=9), "pre-processing gives"),
    (lambda r: r.update(preprocess=3), "pre-processing must be of type dict"),
    (lambda r: r["files"][0].update(path="/etc/passwd"), "the path '/etc/passwd' leaves the bundle"),
    (lambda r: r["files"][0].update(path="../passwd"), "leaves the bundle"),
    (lambda r: r["files"][0].update(path="head/../../passwd"), "leaves the bundle"),
    (lambda r: r["files"][0].update(path="head//model.txt"), "plainest form"),
    (lambda r: r["files"][0].update(path="./head/model.txt"), "plainest form"),
    (lambda r: r["files"][0].update(path="head\\model.txt"), "plainest form"),
    (lambda r: r["files"][0].update(path=""), "plainest form"),
    (lambda r: r["files"].reverse(), "sorted by path"),
    (lambda r: r["files"].insert(0, r["files"][0]), "each listed once"),
    (lambda r: r["files"][0].update(bytes=1), "bytes; the manifest says 1"),
    (lambda r: r["files"][0].update(sha256="0" * 64), "was changed"),
    (lambda r: r["files"].pop(0), "is not in the manifest"),
    (lambda r: r["files"][0].update(mode=0), "unknown key 'mode'"),
]


@pytest.mark.parametrize("case", range(len(FORGERIES)))
def test_a_forged_manifest_is_refused(bundle, case):
    change, message = FORGERIES[case]
    forge(bundle, lambda record: change(record) and None)
    with pytest.raises(ExportError, match=message):
        read_bundle(bundle)


def renew(name: str) -> Callable[[dict], None]:
    """Return a change that lists a file with the hash it has now."""

    def change(record: dict) -> None:
        for entry in record["files"]:
            if entry["path"] == name:
                entry["renew"] = True

    return change


def test_another_graph_with_a_right_hash_is_refused(bundle):
    graph_file.save(toy_graph(E4M3, E4M3), bundle / "head" / "graph.graph")
    forge(bundle, renew("head/graph.graph"))
    with pytest.raises(ExportError, match=r"head/graph\.graph: tensor 'x' is not as the manifest describes"):
        read_bundle(bundle)


def test_no_graph_with_a_right_hash_is_refused(bundle):
    (bundle / "head" / "graph.graph").write_bytes(b"not a zip")
    forge(bundle, renew("head/graph.graph"))
    with pytest.raises(ExportError, match=r"head/graph\.graph"):
        read_bundle(bundle)


def save_vectors(bundle: Path, **arrays: np.ndarray) -> None:
    """Replace the head's vectors and list their new hash."""
    np.savez(bundle / "head" / "vectors.npz", **arrays)
    forge(bundle, renew("head/vectors.npz"))


def test_vectors_are_never_unpickled(bundle):
    objects = np.array([{"a": 1}], dtype=object)
    save_vectors(bundle, inputs=objects, outputs=objects)
    with pytest.raises(ExportError, match=r"head/vectors\.npz does not hold readable test vectors"):
        read_bundle(bundle)


def test_other_vectors_with_a_right_hash_are_refused(bundle, original):
    part = read_bundle(original).parts[0]
    save_vectors(bundle, inputs=part.inputs, outputs=part.outputs, more=part.inputs)
    with pytest.raises(ExportError, match=r"head/vectors\.npz must hold exactly"):
        read_bundle(bundle)


def test_vectors_that_do_not_meet_at_the_cut_are_refused(bundle, original):
    part = read_bundle(original).parts[0]
    save_vectors(bundle, inputs=part.inputs, outputs=part.outputs[::-1])
    with pytest.raises(ExportError, match="what part 'head' gives is not what part 'tail' takes"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not readable JSON"),
        (b"[]", "must hold a JSON object"),
        (b"\xff\xfe", "is not readable JSON"),
        (b'{"schema": 1, "schema": 1}', "'schema' stands there twice"),
        (b'{"schema": NaN}', "NaN is not a number"),
        (b'{"schema": 1e999}', "is not spelt as edgemill writes it"),
        (b'{"schema":1}', "is not spelt as edgemill writes it"),
        (b"[" * 100_000, "is not readable JSON"),
        (b"9" * 10_000, "is not readable JSON"),
    ],
)
def test_a_manifest_that_is_no_record_is_refused(bundle, text, message):
    (bundle / "manifest.json").write_bytes(text)
    with pytest.raises(ExportError, match=message):
        read_bundle(bundle)


def test_an_oversized_manifest_is_not_even_read(bundle):
    with (bundle / "manifest.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ExportError, match="is larger than"):
        read_bundle(bundle)
