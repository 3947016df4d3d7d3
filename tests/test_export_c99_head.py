"""A filter before the link in C: what is dropped makes no packet, what is sent is the packet that Python makes."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from edge.link.codec import codec_of, to_packet
from edge.link.wire import Kind, encode
from edge.serve.head import open_head
from edge.serve.tail import digest_of
from export.bundle import write_bundle
from export.c99.layout import to_c
from export.targets import find_target
from tests.dynamic_bundles import cascade, exits, filtered

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror")
COMPILERS = (
    ("host", ("gcc", *FLAGS, "-fsanitize=address,undefined"), ()),
    ("aarch64", ("aarch64-linux-gnu-gcc", *FLAGS, "-static"), ("qemu-aarch64",)),
)
#: Frames in; for each one byte, 1 where it is sent, and its packet behind that.
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
        int sent = toy_head(&network, input, &codes);
        putchar(sent);
        if (sent) {
            toy_link_request(codes, digest, ++frame, packet);
            fwrite(packet, sizeof packet, 1, stdout);
        }
    }
    return 0;
}
"""


@pytest.mark.parametrize("compiler", COMPILERS, ids=[c[0] for c in COMPILERS])
def test_c_drops_and_sends_what_python_does(tmp_path, compiler):
    _, command, emulator = compiler
    if shutil.which(command[0]) is None or (emulator and shutil.which(emulator[0]) is None):
        pytest.skip(f"{command[0]} or its emulator is not installed")
    bundle = write_bundle(tmp_path / "bundle", filtered(), find_target("arm-m"))
    (tmp_path / "main.c").write_text(MAIN)
    sources = [bundle.path / "toy.c", bundle.path / "toy_link.c"]
    sources += [part.folder / name for part in bundle.parts for name in part.record.facts["sources"]]
    places = [f"-I{bundle.path}", *(f"-I{part.folder}" for part in bundle.parts)]
    subprocess.run([*command, *places, "main.c", *map(str, sources), "-o", "program"], cwd=tmp_path, check=True)
    digest, codes = digest_of(bundle), bundle.parts[0].inputs
    done = subprocess.run(
        [*emulator, "./program"], cwd=tmp_path, input=digest + to_c(codes).tobytes(), capture_output=True, check=True
    )
    made, request = open_head(bundle)(codes), codec_of(bundle.parts[-1].record.input)
    wanted, frame = b"", 0
    for crossing, sent in zip(made.codes, made.sent.tolist(), strict=True):
        wanted += bytes([sent])
        if sent:
            frame += 1
            wanted += encode(to_packet(request, crossing, kind=Kind.REQUEST, digest=digest, frame=frame))
    assert done.stdout == wanted
    assert 0 < made.sent.sum() < len(codes) and len(np.unique(made.codes[made.sent])) > 5


@pytest.mark.parametrize("made", [exits, cascade])
def test_where_a_part_before_the_last_answers_there_is_no_link(tmp_path, made):
    bundle = write_bundle(tmp_path / "bundle", made(), find_target("arm-m"))
    assert not (bundle.path / "toy_link.c").exists()
    assert "toy_head(" not in (bundle.path / "toy.h").read_text()
