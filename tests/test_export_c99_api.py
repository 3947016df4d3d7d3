"""The C interface of a generated part: refused arenas, two instances at a time, two parts in one program."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.arm_m import TARGET
from export.bundle import write_bundle
from export.bundle_read import read_bundle
from export.errors import ExportError
from export.parity import check_bundle
from export.runtimes.c_host import RUNTIME
from export.target import Source
from quant.program import lower
from quant.reference import run
from tests.bundles import toy_spec
from tests.toys import random_codes, toy_graph

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
CHECKED = ("-g", "-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")


def write(folder: Path, name: str = "toy", seed: int = 0) -> Source:
    graph = toy_graph(seed=seed)
    inputs = random_codes(graph, 8)
    source = Source(name, graph, inputs, run(lower(graph), inputs)[graph.output])
    TARGET.write(source, folder)
    return source


def built_and_run(folder: Path, main: str, *sources: str, flags: tuple[str, ...] = CHECKED) -> str:
    (folder / "main.c").write_text(main)
    command = ["cc", *STRICT, *flags, "main.c", *sources, "-o", "main"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    done = subprocess.run(["./main"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_init_refuses_what_invoke_could_not_use(tmp_path):
    write(tmp_path)
    main = """
#include <stdio.h>
#include "toy.h"
static TOY_ARENA(arena);
static unsigned char more[TOY_ARENA_BYTES + 64];
int main(void)
{
    toy_t net;
    unsigned char *odd = more;
    while ((size_t)(odd - more) < 2 || (uintptr_t)odd % TOY_ARENA_ALIGNMENT != 8) {
        odd++;
    }
    printf("%d %d ", toy_init(NULL, arena, sizeof arena), toy_init(&net, NULL, sizeof arena));
    printf("%d %d ", toy_init(&net, arena, sizeof arena - 1), toy_init(&net, odd, sizeof arena));
    printf("%d\\n", toy_init(&net, arena, sizeof arena));
    return TOY_ERROR_NULL == 1 && TOY_ERROR_ARENA_SIZE == 2 && TOY_ERROR_ARENA_ALIGNMENT == 3 ? 0 : 1;
}
"""
    assert built_and_run(tmp_path, main, "toy.c") == "1 1 2 3 0\n"


THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "toy.h"
#include "toy_vectors.h"
static unsigned char arena[4][TOY_ARENA_BYTES] __attribute__((aligned(16)));
static int wrong[4];
static void *work(void *given)
{
    const int mine = *(const int *)given;
    toy_output_t y[TOY_OUTPUT_SIZE];
    toy_t net;
    int round;
    wrong[mine] = toy_init(&net, arena[mine], sizeof arena[mine]);
    for (round = 0; round < 400; round++) {
        const int vector = (round + mine) % TOY_VECTORS;
        memset(y, 0x55, sizeof y);
        toy_invoke(&net, toy_inputs[vector], y);
        wrong[mine] += memcmp(y, toy_outputs[vector], sizeof y) != 0;
    }
    return NULL;
}
int main(void)
{
    static int numbers[4] = {0, 1, 2, 3};
    pthread_t threads[4];
    int i;
    for (i = 0; i < 4; i++) {
        if (pthread_create(&threads[i], NULL, work, &numbers[i]) != 0) {
            return 2;
        }
    }
    for (i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("%d %d %d %d\\n", wrong[0], wrong[1], wrong[2], wrong[3]);
    return 0;
}
"""


def test_threads_with_their_own_arenas_do_not_disturb_each_other(tmp_path):
    source = write(tmp_path)
    assert len(np.unique(source.outputs.argmax(axis=1))) > 1
    assert built_and_run(tmp_path, THREADS, "toy.c", flags=("-O2", "-pthread", "-D_GNU_SOURCE")) == "0 0 0 0\n"


def test_a_part_has_no_memory_of_its_own(tmp_path):
    """Nothing but constants: no .data, no .bss, and the two functions are all that is visible."""
    write(tmp_path)
    subprocess.run(["cc", "-O2", "-fno-pie", "-c", "toy.c"], cwd=tmp_path, check=True)
    listed = subprocess.run(["nm", "toy.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    symbols = [line.split()[-2:] for line in listed.splitlines()]
    assert sorted(name for kind, name in symbols if kind == "T") == ["toy_init", "toy_invoke"]
    assert {kind for kind, _ in symbols} <= {"T", "t", "r", "U"}


def test_two_parts_fit_into_one_program(tmp_path):
    write(tmp_path, "first", 1)
    write(tmp_path, "second", 2)
    calls = "".join(
        f"""
    {{
        {name}_t net;
        {name}_output_t y[{name.upper()}_OUTPUT_SIZE];
        int v;
        if ({name}_init(&net, arena, sizeof arena) != {name.upper()}_OK) {{
            return 1;
        }}
        for (v = 0; v < {name.upper()}_VECTORS; v++) {{
            {name}_invoke(&net, {name}_inputs[v], y);
            wrong += memcmp(y, {name}_outputs[v], sizeof y) != 0;
        }}
    }}"""
        for name in ("first", "second")
    )
    includes = '#include <stdio.h>\n#include <string.h>\n#include "first_vectors.h"\n#include "second_vectors.h"\n'
    size = "FIRST_ARENA_BYTES > SECOND_ARENA_BYTES ? FIRST_ARENA_BYTES : SECOND_ARENA_BYTES"
    memory = f"static unsigned char arena[{size}] __attribute__((aligned(16)));\n"
    main = f"{includes}{memory}int main(void)\n{{\n    int wrong = 0;{calls}\n    return wrong;\n}}\n"
    assert built_and_run(tmp_path, main, "first.c", "second.c") == ""


@pytest.mark.parametrize(
    ("title", "split", "stems"),
    [
        ("Digits 8x8, v2", False, ["digits_8x8_v2"]),
        ("9 lives", True, ["net_9_lives_head", "net_9_lives_tail"]),
        ("string", False, ["net_string"]),
        ("features", False, ["net_features"]),
        ("数字", False, ["model"]),
        ("x" * 100, True, ["x" * 40 + "_head", "x" * 40 + "_tail"]),
    ],
)
def test_a_bundle_names_its_c_after_itself_and_runs_under_that_name(tmp_path, title, split, stems):
    write_bundle(tmp_path / "b", toy_spec(split=split, name=title), TARGET)
    bundle = read_bundle(tmp_path / "b")
    assert [part.stem for part in bundle.parts] == stems
    assert [part.facts["c_prefix"] for part in bundle.parts] == stems
    for part in bundle.parts:
        assert (part.folder / f"{part.stem}.c").is_file()
        assert f"int {part.stem}_init(" in (part.folder / f"{part.stem}.h").read_text()
    results = check_bundle(bundle, [RUNTIME])
    assert {result.status for result in results} == {"bit-exact"}


def test_a_part_written_before_there_were_prefixes_has_its_own_name(tmp_path):
    write_bundle(tmp_path / "b", toy_spec(), TARGET)
    part = read_bundle(tmp_path / "b").parts[0]
    old = replace(part.record, facts={key: value for key, value in part.facts.items() if key != "c_prefix"})
    assert replace(part, record=old).stem == "model"


def test_a_prefix_that_leaves_the_folder_is_refused(tmp_path):
    write_bundle(tmp_path / "b", toy_spec(), TARGET)
    part = read_bundle(tmp_path / "b").parts[0]
    bad = replace(part.record, facts={**part.facts, "c_prefix": "../../etc/passwd"})
    with pytest.raises(ExportError, match="cannot name a part"):
        _ = replace(part, record=bad).stem
