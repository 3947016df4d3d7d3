"""Rules before the link in C: what is dropped or settled makes no packet, what is sent is the packet Python makes."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from edge.link.codec import codec_of, to_packet
from edge.link.wire import Kind, encode
from edge.serve.head import open_head
from edge.serve.tail import digest_of
from export.bundle import write_bundle
from export.c99.layout import to_c
from export.rule import rule
from export.targets import find_target
from tests.dynamic_bundles import cascade, exits, filtered

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror")
COMPILERS = (
    ("host", ("gcc", *FLAGS, "-fsanitize=address,undefined"), ()),
    ("aarch64", ("aarch64-linux-gnu-gcc", *FLAGS, "-static"), ("qemu-aarch64",)),
)
#: Frames in; for each one byte, 1 where it is sent, and its packet behind that. With a local tail, before the packet of
#: what is not dropped, its label, part and codes.
MAIN = """
#include <stdio.h>
#include "toy.h"
#include "toy_link.h"
static unsigned char arena[TOY_ARENA_BYTES] __attribute__((aligned(16)));
static uint8_t digest[16], packet[TOY_LINK_REQUEST_BYTES];
static toy_input_t input[TOY_INPUT_SIZE];
int main(void)
{
    toy_t network;
    const void *codes;
    uint64_t frame = 0;
    if (toy_init(&network, arena, sizeof arena) != TOY_OK || fread(digest, sizeof digest, 1, stdin) != 1) return 2;
    while (fread(input, sizeof input, 1, stdin) == 1) {
#ifdef TOY_HEAD_SETTLED
        toy_answer_t local;
        int sent = toy_head(&network, input, &codes, &local);
        putchar(sent);
        if (sent) {
            putchar((int)local.label);
            putchar((int)local.part);
            fwrite(local.codes, TOY_LABELS, 1, stdout);
        } else if (local.part != TOY_DROPPED || local.label != -1 || local.codes != NULL) {
            return 3;
        }
        if (sent == TOY_HEAD_SETTLED && codes != NULL) return 4;
#else
        int sent = toy_head(&network, input, &codes);
        putchar(sent);
#endif
        if (sent == 1) {
            toy_link_request(codes, digest, ++frame, packet);
            fwrite(packet, sizeof packet, 1, stdout);
        }
    }
    return 0;
}
"""


def with_filter():
    """A stage, an exit, a filter behind it, and the rest."""
    stage, leave, rest = exits().parts
    return replace(exits(), parts=(stage, leave, replace(filtered(0.3).parts[1], source="stage"), rest))


def surer():
    """An exit before the link, and the surer of it and the tail answers."""
    made = exits()
    last = replace(made.parts[2], after=rule("max_probability", -np.inf))
    return replace(made, parts=(*made.parts[:2], last), combine="surer")


def two_exits():
    """Two exits that read what the tail reads."""
    stage, leave, rest = exits().parts
    return replace(exits(), parts=(stage, leave, replace(leave, name="other", source="stage"), rest))


def run_c(bundle, folder, compiler, codes):
    """What the program prints for frames."""
    _, command, emulator = compiler
    if shutil.which(command[0]) is None or (emulator and shutil.which(emulator[0]) is None):
        pytest.skip(f"{command[0]} or its emulator is not installed")
    (folder / "main.c").write_text(MAIN)
    sources = [bundle.path / "toy.c", bundle.path / "toy_link.c"]
    sources += [part.folder / name for part in bundle.parts for name in part.record.facts["sources"]]
    places = [f"-I{bundle.path}", *(f"-I{part.folder}" for part in bundle.parts)]
    subprocess.run([*command, *places, "main.c", *map(str, sources), "-o", "program"], cwd=folder, check=True)
    given = digest_of(bundle) + to_c(codes).tobytes()
    return subprocess.run([*emulator, "./program"], cwd=folder, input=given, capture_output=True, check=True).stdout


@pytest.mark.parametrize("compiler", COMPILERS, ids=[c[0] for c in COMPILERS])
@pytest.mark.parametrize("made", [filtered, exits, with_filter])
def test_c_drops_settles_and_sends_what_python_does(tmp_path, compiler, made):
    bundle = write_bundle(tmp_path / "bundle", made(), find_target("arm-m"))
    digest, codes = digest_of(bundle), bundle.parts[0].inputs
    told = run_c(bundle, tmp_path, compiler, codes)
    crossing, request = open_head(bundle)(codes), codec_of(bundle.parts[-1].record.input)
    wanted, frame = b"", 0
    for k, sent in enumerate(crossing.sent.tolist()):
        settled = bool(crossing.settled[k])
        wanted += bytes([2 if settled else sent])
        if crossing.answers is not None and (sent or settled):
            answer = crossing.answers[k]
            wanted += bytes([int(answer.argmax()), 1]) + answer.tobytes()
        if sent:
            frame += 1
            wanted += encode(to_packet(request, crossing.codes[k], kind=Kind.REQUEST, digest=digest, frame=frame))
    assert told == wanted
    assert 0 < crossing.sent.sum() < len(codes) and len(np.unique(crossing.codes[crossing.sent])) > 5
    assert crossing.settled.any() == (made is not filtered)
    assert (~crossing.sent & ~crossing.settled).any() == (made is not exits)


@pytest.mark.parametrize("made", [cascade, surer, two_exits])
def test_what_is_no_local_tail_makes_no_link(tmp_path, made):
    bundle = write_bundle(tmp_path / "bundle", made(), find_target("arm-m"))
    assert not (bundle.path / "toy_link.c").exists()
    assert "toy_head(" not in (bundle.path / "toy.h").read_text()
