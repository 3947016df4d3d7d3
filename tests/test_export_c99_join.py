"""Networks in parts, in C: the same parts run, the same one answers, the same label, as the definition says."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from devices import tools
from export.bundle import write_bundle
from export.c99.layout import c_type, to_c
from export.dynamic import DROPPED, run_parts
from export.errors import ExportError
from export.rule import rule
from export.targets import find_target
from quant.formats import find_format
from quant.program import lower
from quant.reference import fast_dot, run
from tests import dynamic_bundles as made
from tests.dynamic_bundles import cascade, exits, filtered

pytestmark = pytest.mark.skipif(tools.missing_tool(tools.GCC) is not None, reason="gcc is not installed")
FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-fsanitize=address,undefined")

#: Reads frames of codes on stdin, writes part and label of each.
MAIN = """
#include <stdio.h>
#include "toy.h"
static unsigned char arena[TOY_ARENA_BYTES] __attribute__((aligned(TOY_ARENA_ALIGNMENT)));
int main(void)
{
    toy_t network;
    toy_input_t input[TOY_INPUT_SIZE];
    toy_answer_t answer;
    if (toy_init(NULL, arena, sizeof arena) != TOY_ERROR_NULL) return 3;
    if (toy_init(&network, arena, sizeof arena - 1) != TOY_ERROR_ARENA_SIZE) return 3;
    if (toy_init(&network, arena + 1, sizeof arena) != TOY_ERROR_ARENA_ALIGNMENT) return 3;
    if (toy_init(&network, arena, sizeof arena) != TOY_OK) return 2;
    while (fread(input, sizeof input, 1, stdin) == 1) {
        toy_invoke(&network, input, &answer);
        printf("%d %d %d\\n", (int)answer.part, (int)answer.label, answer.codes != NULL);
    }
    return 0;
}
"""


def wanted(bundle, codes):
    def execute(index, given):
        graph = bundle.parts[index].graph
        return run(lower(graph), given, fast_dot)[graph.output]

    return run_parts(bundle.manifest, execute, codes)


def compiled(bundle, folder):
    """Compile a bundle's C with a main of the test."""
    (folder / "main.c").write_text(MAIN)
    sources = [str(bundle.path / "toy.c"), *(str(p.folder / name) for p in bundle.parts for name in p.facts["sources"])]
    places = [f"-I{bundle.path}", *(f"-I{part.folder}" for part in bundle.parts)]
    program = folder / "program"
    subprocess.run(["gcc", *FLAGS, *places, "main.c", *sources, "-o", str(program)], cwd=folder, check=True)
    return program


def answers(program, codes, fmt):
    assert c_type(fmt).startswith(codes.dtype.name)
    done = subprocess.run([str(program)], input=to_c(codes).tobytes(), capture_output=True, check=True)
    return np.array([line.split() for line in done.stdout.decode().splitlines()], np.int64)


CASES = [
    ("exits", exits()),
    ("exits by difference", exits(0.2, "difference")),
    ("exits by logit", exits(4.0, "max_logit")),
    ("always the first", exits(-np.inf)),
    ("always the last", exits(np.inf)),
    ("cascade", cascade()),
    ("cascade by logit", cascade(5.0, score="max_logit")),
    ("cascade without post-check", cascade(combine="last")),
    ("filter", filtered()),
]


@pytest.mark.parametrize(("name", "spec"), CASES, ids=[name for name, _ in CASES])
def test_c_answers_as_the_definition(tmp_path, name, spec):
    bundle = write_bundle(tmp_path / "bundle", spec, find_target("arm-m"))
    codes = bundle.parts[0].inputs
    expected = wanted(bundle, codes)
    found = answers(compiled(bundle, tmp_path), codes, find_format(bundle.manifest.parts[0].input.format))
    np.testing.assert_array_equal(found[:, 0], expected.part)
    np.testing.assert_array_equal(found[:, 1], expected.label)
    np.testing.assert_array_equal(found[:, 2] == 0, expected.part == DROPPED)
    if "always" not in name:
        assert len(set(found[:, 0])) > 1
    assert len(set(found[:, 1])) > 1


@pytest.mark.parametrize("act", ["e4m3", "e3m2", "int16"])
@pytest.mark.parametrize("score", ["difference", "max_logit"])
def test_outputs_of_other_formats_decide_alike(tmp_path, act, score):
    spec = made.in_format(find_format(act), score)
    bundle = write_bundle(tmp_path / "bundle", spec, find_target("arm-m"))
    codes = bundle.parts[0].inputs
    expected = wanted(bundle, codes)
    found = answers(compiled(bundle, tmp_path), codes, find_format(act))
    np.testing.assert_array_equal(found[:, :2], np.stack([expected.part, expected.label], axis=1))
    assert len(set(found[:, 0])) == 2


def test_entropy_is_refused_for_devices_and_taken_elsewhere(tmp_path):
    spec = exits(0.3, "entropy")
    with pytest.raises(ExportError, match="logarithms"):
        write_bundle(tmp_path / "c", spec, find_target("arm-m"))
    assert not (tmp_path / "c").exists()
    bundle = write_bundle(tmp_path / "rtl", spec, find_target("arm-a"))
    assert set(wanted(bundle, bundle.parts[0].inputs).part) <= {1, 2}


def test_the_arena_is_what_the_parts_need_and_their_outputs(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", exits(), find_target("arm-m"))
    text = (bundle.path / "toy.h").read_text()
    found = int(text.split("ARENA_BYTES ")[1].split()[0])
    arenas = [part.facts["arena_bytes"] for part in bundle.parts]
    outputs = [part.outputs[0].nbytes for part in bundle.parts]
    assert max(arenas) + sum(outputs) <= found <= max(arenas) + sum(outputs) + 16 * (len(arenas) + 1)


def test_a_chain_needs_no_joint(tmp_path):
    parts = [replace(part, after=None, source=None) for part in cascade().parts[:1]]
    bundle = write_bundle(tmp_path / "bundle", made.spec(*parts), find_target("arm-m"))
    assert not (bundle.path / "toy.c").exists()


def test_a_part_with_the_name_of_the_bundle_in_c_is_refused(tmp_path):
    spec = exits()
    parts = (replace(spec.parts[0], c_prefix="toy"), *spec.parts[1:])
    with pytest.raises(ExportError, match="another name"):
        write_bundle(tmp_path / "bundle", replace(spec, parts=parts), find_target("arm-m"))
    assert rule("difference", 0.5).action == "answer"
