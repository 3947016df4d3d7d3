"""Bundles with rules: read and written strictly, and run part by part as their definition says."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from export.bundle import write_bundle
from export.bundle_read import read_bundle
from export.decide import decider, is_sure, scores
from export.dynamic import DROPPED, answers_from, macs_spent, run_every_part, run_parts
from export.errors import ExportError
from export.manifest import SCHEMA, from_record, to_record
from export.rule import rule
from export.targets import find_target
from quant.program import lower
from quant.reference import fast_dot, run
from tests import dynamic_bundles as made
from tests.dynamic_bundles import cascade, exits, filtered

HOST = find_target("arm-m")


def executed(bundle):
    """Run a bundle with the reference; returns the answers and how often each part ran."""
    counts = dict.fromkeys((part.name for part in bundle.parts), 0)

    def execute(index, codes):
        part = bundle.parts[index]
        counts[part.name] += len(codes)
        return run(lower(part.graph), codes, fast_dot)[part.graph.output]

    return run_parts(bundle.manifest, execute, bundle.parts[0].inputs), counts


def written(tmp_path, spec):
    return write_bundle(tmp_path / "bundle", spec, HOST)


def labels_of(codes):
    return codes.reshape(len(codes), -1).argmax(axis=1)


def test_a_bundle_with_rules_reads_back(tmp_path):
    bundle = written(tmp_path, exits())
    again = read_bundle(bundle.path)
    assert [part.record.source for part in again.parts] == [None, None, "stage"]
    assert again.manifest.parts[1].after == rule("max_probability", 0.4)
    assert json.loads((bundle.path / "manifest.json").read_text())["schema"] == 2


def test_a_chain_is_written_as_it_always_was(tmp_path):
    parts = [replace(part, after=None, source=None) for part in cascade().parts[:1]]
    bundle = written(tmp_path, made.spec(*parts))
    record = json.loads((bundle.path / "manifest.json").read_text())
    assert record["schema"] == SCHEMA == 1 and "combine" not in record and "source" not in record["parts"][0]


def test_exits_run_only_what_is_needed(tmp_path):
    bundle = written(tmp_path, exits())
    found, counts = executed(bundle)
    stage, leave, rest = bundle.parts
    sure = is_sure(decider(leave.record.after, leave.record.output), leave.outputs)
    assert 0 < sure.sum() < made.COUNT  # both ways are taken
    assert counts == {"stage": made.COUNT, "exit": made.COUNT, "rest": int((~sure).sum())}
    np.testing.assert_array_equal(found.part, np.where(sure, 1, 2))
    np.testing.assert_array_equal(found.label, np.where(sure, labels_of(leave.outputs), labels_of(rest.outputs)))
    spent = macs_spent(bundle.manifest, found)
    assert set(spent) == {stage.record.macs + leave.record.macs, sum(part.record.macs for part in bundle.parts)}


@pytest.mark.parametrize(("threshold", "part"), [(-math.inf, 1), (math.inf, 2)])
def test_thresholds_beyond_every_score_are_always_first_and_always_last(tmp_path, threshold, part):
    bundle = written(tmp_path, exits(threshold))
    found, _ = executed(bundle)
    assert (found.part == part).all()
    np.testing.assert_array_equal(found.label, labels_of(bundle.parts[part].outputs))


def test_a_cascade_takes_the_surer_answer(tmp_path):
    bundle = written(tmp_path, cascade())
    found, counts = executed(bundle)
    a, b = bundle.parts
    mine, theirs = (scores(decider(p.record.after, p.record.output), p.outputs) for p in (a, b))
    sure = is_sure(decider(a.record.after, a.record.output), a.outputs)
    takes_b = ~sure & (theirs > mine)
    assert counts["b"] == (~sure).sum() and 0 < takes_b.sum() < (~sure).sum()
    np.testing.assert_array_equal(found.part, takes_b.astype(int))
    np.testing.assert_array_equal(found.label, np.where(takes_b, labels_of(b.outputs), labels_of(a.outputs)))


def test_without_the_post_check_the_last_word_is_the_seconds(tmp_path):
    found, counts = executed(written(tmp_path, cascade(combine="last")))
    assert (found.part == 1).sum() == counts["b"] > 0


def test_a_dropped_frame_has_no_answer_and_costs_no_tail(tmp_path):
    bundle = written(tmp_path, filtered())
    found, counts = executed(bundle)
    dropped = found.part == DROPPED
    assert 0 < dropped.sum() < made.COUNT
    assert (found.label[dropped] == DROPPED).all() and (found.label[~dropped] >= 0).all()
    assert counts["rest"] == (~dropped).sum() == found.ran[2].sum()
    assert len(set(found.label[~dropped])) > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, parts=(s.parts[0], s.parts[1], replace(s.parts[2], source="tail"))), "no part before it"),
        (lambda s: replace(s, parts=(replace(s.parts[0], source="rest"), *s.parts[1:])), "no part before it"),
        (lambda s: replace(s, parts=(*s.parts[:2], replace(s.parts[2], source=None))), "is not what part 'rest' takes"),
        (lambda s: replace(s, parts=(*s.parts[:2], replace(s.parts[2], after=rule("entropy", 0.5)))), "nothing runs"),
        (lambda s: replace(s, combine="surer"), "need rules"),
        (lambda s: replace(s, labels=s.labels[:9]), "9 labels"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(ExportError, match=message):
        written(tmp_path, change(exits()))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(schema=1), "missing|unknown|combine"),
        (lambda r: r.update(combine="loudest"), "unknown combination"),
        (lambda r: r["parts"][1]["after"].update(score="luck"), "score"),
        (lambda r: r["parts"][1]["after"].update(threshold=0.9), "steps of"),
        (lambda r: r["parts"][1]["after"].update(threshold=0.5), "digest"),
        (lambda r: r["parts"][2].update(source=7), "source"),
        (lambda r: [part.update(after=None, source=None) for part in r["parts"]], "schema 2 is not that"),
    ],
)
def test_a_changed_manifest_is_refused(tmp_path, change, message):
    record = json.loads(json.dumps(to_record(written(tmp_path, exits()).manifest)))
    assert from_record(record, "here").is_dynamic
    change(record)
    with pytest.raises(ExportError, match=message):
        from_record(record, "here")


def test_a_runtime_that_is_exact_answers_as_defined(tmp_path):
    from export.parity import check_bundle
    from export.runtimes import c_host

    if c_host.RUNTIME.missing():
        pytest.skip(c_host.RUNTIME.missing())
    for name, spec in (("exits", exits()), ("cascade", cascade()), ("filter", filtered())):
        bundle = write_bundle(tmp_path / name, spec, HOST)
        *parts, together = check_bundle(bundle, (c_host.RUNTIME,))
        assert [item.status for item in parts] == ["bit-exact"] * len(bundle.parts)
        assert (together.part, together.status) == ("+".join(p.name for p in bundle.parts), "bit-exact")
        assert together.labels > 1 and together.top1_agreement == 1.0


def test_a_runtime_that_answers_otherwise_is_wrong(tmp_path):
    from export.parity import check_bundle
    from export.runtimes.session import Runtime

    bundle = written(tmp_path, exits())

    class Shifted:
        """Runs the reference and moves one code of the exit."""

        def __init__(self, graph):
            self.program = lower(graph)

        def run(self, codes):
            made = run(self.program, codes, fast_dot)[self.program.output].copy()
            made[:, 0] ^= self.program.output == "y"
            return made

        def tensors(self, codes):
            return {self.program.output: self.run(codes)}

        def close(self):
            """Nothing to free."""

    shifted = Runtime("shifted", "arm-m", exact=True, missing=lambda: None, open=lambda f, n, g: Shifted(g))
    *_, together = check_bundle(bundle, (shifted,))
    assert together.status == "wrong" and together.differing > 0 and "answered otherwise" in together.reason


def test_python_applications_get_the_answer_and_who_gave_it(tmp_path):
    from edge.app import load
    from edge.evaluate import bundle_labels
    from quant.reference import dequantise

    bundle = written(tmp_path, filtered())
    first = bundle.parts[0].graph
    images = dequantise(first.quant(first.input), bundle.parts[0].inputs).astype(np.float32)
    found, _ = executed(bundle)
    np.testing.assert_array_equal(bundle_labels(bundle, None, images), found.label)
    with load(bundle.path, "reference") as classifier:
        raw = np.clip(np.rint(images.transpose(0, 2, 3, 1)), 0, 255).astype(np.uint8)
        answers = classifier.classify_all(list(raw))
    assert len(answers) == len(raw)
    for answer in answers:
        assert (answer.label is None) == (not answer.scores.any())


@pytest.mark.parametrize("spec", [exits(), cascade(), filtered()], ids=["exits", "cascade", "filter"])
def test_outputs_that_are_there_are_judged_as_parts_that_run(tmp_path, spec):
    bundle = written(tmp_path, spec)

    def execute(index, codes):
        graph = bundle.parts[index].graph
        return run(lower(graph), codes, fast_dot)[graph.output]

    found, _ = executed(bundle)
    outputs = run_every_part(bundle.manifest, execute, bundle.parts[0].inputs)
    for part, codes in zip(bundle.parts, outputs, strict=True):
        np.testing.assert_array_equal(codes, part.outputs)
    again = answers_from(bundle.manifest, outputs)
    for name in ("part", "label", "ran"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    for a, b in zip(again.outputs, found.outputs, strict=True):
        np.testing.assert_array_equal(a, b)
