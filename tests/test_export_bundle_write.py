"""Writing bundles: what is in them, what is refused, and that nothing is ever half written."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.bundle import add_certificate, write_bundle
from export.bundle_read import read_bundle
from export.errors import ExportError
from export.manifest import VERSION
from export.target import Facts, Source
from quant import graph_file
from quant.formats import E4M3, INT8
from tests.bundles import plain_target, toy_spec

TARGET = plain_target()


def everything(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder by relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("fmt", [INT8, E4M3])
def test_a_bundle_reads_back_as_it_was_written(tmp_path, fmt, split):
    spec = toy_spec(fmt, fmt, split=split)
    written = write_bundle(tmp_path / "b", spec, TARGET)
    bundle = read_bundle(tmp_path / "b")
    assert [part.name for part in bundle.parts] == (["head", "tail"] if split else ["model"])
    assert bundle.digest == written.digest
    for part, source in zip(bundle.parts, spec.parts, strict=True):
        assert graph_file.to_bytes(part.graph) == graph_file.to_bytes(source.graph)
        assert np.array_equal(part.inputs, source.inputs)
        assert np.array_equal(part.outputs, source.outputs)
        assert part.inputs.dtype == fmt.dtype
        assert part.facts == {"nodes": len(source.graph.nodes), "layout": ["N", "C"]}
        assert part.folder == tmp_path / "b" / part.name
    labels = spec.parts[-1].outputs.argmax(axis=1)
    assert len(set(labels.tolist())) > 1
    assert bundle.manifest.preprocess == spec.preprocess
    assert bundle.manifest.labels == spec.labels
    assert (bundle.manifest.target, bundle.manifest.scheme, bundle.manifest.postprocess) == ("plain", "w8a8", "softmax")


def test_the_manifest_describes_the_edges_of_the_parts(tmp_path):
    bundle = write_bundle(tmp_path / "b", toy_spec(split=True), TARGET)
    head, tail = bundle.manifest.parts
    assert (head.input.shape, head.input.format, head.input.zero) == ((1, 3, 8, 8), "int8", -3)
    assert head.input.scale == float(np.float32(0.02))
    assert head.output == tail.input
    assert head.macs == 8 * 27 * 16 + 8 * 9 * 16
    assert tail.macs == 80
    assert tail.after is None


def test_time_and_place_leave_no_mark(tmp_path):
    one = write_bundle(tmp_path / "one", toy_spec(), TARGET)
    (tmp_path / "far").mkdir()
    two = write_bundle(tmp_path / "far" / "two", toy_spec(), TARGET)
    assert everything(tmp_path / "one") == everything(tmp_path / "far" / "two")
    assert one.digest == two.digest
    other = write_bundle(tmp_path / "three", toy_spec(name="other"), TARGET)
    assert other.digest != one.digest


def test_the_version_is_that_of_the_distribution():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_an_existing_output_is_refused(tmp_path):
    write_bundle(tmp_path / "b", toy_spec(), TARGET)
    before = everything(tmp_path)
    with pytest.raises(ExportError, match="exists already"):
        write_bundle(tmp_path / "b", toy_spec(name="new"), TARGET)
    assert everything(tmp_path) == before


def test_overwriting_replaces_a_bundle_and_only_a_bundle(tmp_path):
    write_bundle(tmp_path / "b", toy_spec(split=True), TARGET)
    write_bundle(tmp_path / "b", toy_spec(name="new"), TARGET, overwrite=True)
    assert read_bundle(tmp_path / "b").manifest.name == "new"
    assert not (tmp_path / "b" / "head").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    with pytest.raises(ExportError, match="is not a bundle, so it is not overwritten"):
        write_bundle(tmp_path / "mine", toy_spec(), TARGET, overwrite=True)
    assert (tmp_path / "mine" / "diary.txt").read_text() == "dear"
    assert {p.name for p in tmp_path.iterdir()} == {"b", "mine"}


def test_overwriting_what_is_not_there_just_writes(tmp_path):
    assert write_bundle(tmp_path / "b", toy_spec(), TARGET, overwrite=True).path == tmp_path / "b"


def failing(source: Source, folder: Path) -> Facts:
    """Write half a part, then give up."""
    (folder / "half.txt").write_text("half")
    raise ExportError("the tool gave up.")


def interrupted(source: Source, folder: Path) -> Facts:
    """Be interrupted by a person."""
    (folder / "half.txt").write_text("half")
    raise KeyboardInterrupt


def full(source: Source, folder: Path) -> Facts:
    """Find no room on the disk."""
    raise OSError(28, "No space left on device", str(folder))


@pytest.mark.parametrize(("write", "error"), [(failing, ExportError), (interrupted, KeyboardInterrupt)])
def test_a_failure_leaves_nothing_behind(tmp_path, write, error):
    with pytest.raises(error):
        write_bundle(tmp_path / "b", toy_spec(), replace(TARGET, write=write))
    assert list(tmp_path.iterdir()) == []
    write_bundle(tmp_path / "b", toy_spec(), TARGET)
    before = everything(tmp_path)
    with pytest.raises(error):
        write_bundle(tmp_path / "b", toy_spec(), replace(TARGET, write=write), overwrite=True)
    assert everything(tmp_path) == before


def test_a_full_disk_is_one_clear_line(tmp_path):
    with pytest.raises(ExportError, match=r"cannot write .*No space left"):
        write_bundle(tmp_path / "b", toy_spec(), replace(TARGET, write=full))
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_or_missing_parent_is_refused(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with pytest.raises(ExportError, match="closed is read-only"):
        write_bundle(closed / "b", toy_spec(), TARGET)
    assert list(closed.iterdir()) == []
    with pytest.raises(ExportError, match="is not a folder"):
        write_bundle(tmp_path / "nowhere" / "b", toy_spec(), TARGET)


def reserved(source: Source, folder: Path) -> Facts:
    """Write a name that the bundle needs."""
    (folder / "vectors.npz").write_text("mine")
    return {}


def odd_facts(source: Source, folder: Path) -> Facts:
    """Note something JSON has no word for."""
    return {"path": folder}


def empty_folder(source: Source, folder: Path) -> Facts:
    """Leave an empty folder."""
    (folder / "empty").mkdir()
    return {}


def link(source: Source, folder: Path) -> Facts:
    """Leave a symbolic link."""
    (folder / "link").symlink_to("/etc/passwd")
    return {}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (reserved, "keeps for itself"),
        (odd_facts, "the facts cannot be written as JSON"),
        (empty_folder, "empty folder"),
        (link, "symbolic link"),
    ],
)
def test_a_target_that_misbehaves_is_refused(tmp_path, write, message):
    with pytest.raises(ExportError, match=message):
        write_bundle(tmp_path / "b", toy_spec(), replace(TARGET, write=write))
    assert list(tmp_path.iterdir()) == []


def test_the_target_must_take_the_formats(tmp_path):
    with pytest.raises(ExportError, match="plain: activation 'x' is e4m3; this target takes int8"):
        write_bundle(tmp_path / "b", toy_spec(E4M3, E4M3), plain_target(("int8",)))


def with_part(spec, **changes):
    """Return a spec whose first part is changed."""
    return replace(spec, parts=(replace(spec.parts[0], **changes), *spec.parts[1:]))


def broken_specs():
    """Each broken spec with what its refusal says."""
    spec, split = toy_spec(), toy_spec(split=True)
    inputs, outputs = spec.parts[0].inputs, spec.parts[0].outputs
    same = np.repeat(outputs[:1], 4, axis=0)
    return [
        (with_part(spec, outputs=same), "all the same"),
        (with_part(spec, inputs=inputs[:1], outputs=outputs[:1]), "all the same"),
        (with_part(spec, inputs=inputs[:2]), "2 test inputs, but 4 outputs"),
        (with_part(spec, inputs=inputs[:0], outputs=outputs[:0]), "needs int8"),
        (with_part(spec, inputs=inputs.astype(np.int16)), "test inputs are int16"),
        (with_part(spec, inputs=inputs[:, :2]), "test inputs are int8"),
        (with_part(spec, name="../x"), "cannot name a part"),
        (with_part(split, name="tail"), "each with its own name"),
        (replace(spec, parts=()), "at least one"),
        (replace(split, parts=split.parts[::-1]), "pre-processing gives"),
        (with_part(split, outputs=split.parts[0].outputs[::-1]), "is not what part 'tail' takes"),
        (replace(spec, labels=spec.labels[1:]), "9 labels for an output of shape"),
        (replace(spec, labels=("a\nb", *spec.labels[1:])), "is not one line"),
        (replace(spec, postprocess="sigmoid"), "unknown postprocess 'sigmoid'"),
        (replace(spec, name=" "), "cannot name a bundle"),
        (replace(spec, preprocess=replace(spec.preprocess, height=9)), "pre-processing gives"),
    ]


@pytest.mark.parametrize("case", range(len(broken_specs())))
def test_an_incoherent_spec_is_refused(tmp_path, case):
    spec, message = broken_specs()[case]
    with pytest.raises(ExportError, match=message):
        write_bundle(tmp_path / "b", spec, TARGET)
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_is_added_replaced_and_tied_to_its_bundle(tmp_path):
    bundle = write_bundle(tmp_path / "b", toy_spec(), TARGET)
    assert bundle.certificate is None
    add_certificate(tmp_path / "b", {"runtimes": [{"name": "host", "equal": True}]})
    again = add_certificate(tmp_path / "b", {"runtimes": []})
    assert again.certificate == {"runtimes": []}
    assert again.digest == bundle.digest
    write_bundle(tmp_path / "c", toy_spec(name="other"), TARGET)
    (tmp_path / "c" / "parity.json").write_bytes((tmp_path / "b" / "parity.json").read_bytes())
    with pytest.raises(ExportError, match=r"parity\.json certifies another bundle"):
        read_bundle(tmp_path / "c")
    with pytest.raises(ExportError, match="cannot be written as JSON"):
        add_certificate(tmp_path / "b", {"worst": float("nan")})
    assert read_bundle(tmp_path / "b").certificate == {"runtimes": []}
