"""Packets made and read in C are those of the wire format, byte for byte."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from edge.link.codec import codec_of, from_packet, to_packet
from edge.link.wire import Kind, Packet, decode, encode
from edge.serve.tail import digest_of
from edge.split import cut
from export.bundle import write_bundle
from export.c99.layout import from_c, to_c
from export.targets import find_target
from quant.formats import find_format
from tests.dynamic_bundles import part, spec
from tests.toys import random_codes, toy_graph

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
COMPILERS = (
    ("host", ("gcc", *FLAGS, "-fsanitize=address,undefined"), ()),
    ("aarch64", ("aarch64-linux-gnu-gcc", *FLAGS, "-static"), ("qemu-aarch64",)),
)
#: `r`: a head's output in, a request out. `a`: a packet of given length in, status and codes out.
MAIN = """
#include <stdio.h>
#include <string.h>
#include "toy_link.h"
#include "toy_head.h"
#include "toy_tail.h"
static uint8_t digest[16], packet[1 << 16];
static toy_head_output_t codes[TOY_HEAD_OUTPUT_SIZE];
static toy_tail_output_t made[TOY_TAIL_OUTPUT_SIZE];
int main(void)
{
    int what = getchar();
    if (fread(digest, sizeof digest, 1, stdin) != 1) return 2;
    if (what == 'r') {
        if (fread(codes, sizeof codes, 1, stdin) != 1) return 2;
        toy_link_request(codes, digest, UINT64_C(0x1122334455667788), packet);
        fwrite(packet, TOY_LINK_REQUEST_BYTES, 1, stdout);
        return 0;
    }
    {
        size_t count = fread(packet, 1, sizeof packet, stdin);
        int status = toy_link_answer(packet, count, digest, UINT64_C(0x1122334455667788), made);
        putchar(status);
        fwrite(made, sizeof made, 1, stdout);
    }
    return 0;
}
"""
FRAME = 0x1122334455667788
STATUSES = ("OK", "REFUSED", "HEADER", "MODEL", "FRAME", "SIZE", "DAMAGED")


def split(folder, act="int8"):
    fmt = find_format(act)
    head, tail = cut(toy_graph(fmt), "a")
    codes = random_codes(head, 6)
    first = part("head", replace(head, name="head"), codes)
    return write_bundle(
        folder / "bundle", spec(first, part("tail", replace(tail, name="tail"), first.outputs)), find_target("arm-m")
    )


def program(bundle, folder, compiler):
    name, command, _ = compiler
    if shutil.which(command[0]) is None or (compiler[2] and shutil.which(compiler[2][0]) is None):
        pytest.skip(f"{command[0]} or its emulator is not installed")
    (folder / "main.c").write_text(MAIN)
    places = [f"-I{bundle.path}", *(f"-I{p.folder}" for p in bundle.parts)]
    done = folder / f"program-{name}"
    subprocess.run(
        [*command, *places, "main.c", str(bundle.path / "toy_link.c"), "-o", str(done)], cwd=folder, check=True
    )
    return (*compiler[2], str(done))


def ask(command, what, digest, data):
    return subprocess.run(command, input=what + digest + data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("compiler", COMPILERS, ids=[c[0] for c in COMPILERS])
@pytest.mark.parametrize("act", ["int8", "int16", "e3m2", "e4m3"])
def test_requests_and_answers_are_those_of_python(tmp_path, act, compiler):
    bundle = split(tmp_path, act)
    command, digest = program(bundle, tmp_path, compiler), digest_of(bundle)
    head, tail = bundle.parts
    request, answer = codec_of(tail.record.input), codec_of(tail.record.output)
    for codes, outputs in zip(head.outputs, tail.outputs, strict=True):
        wanted = encode(to_packet(request, codes, kind=Kind.REQUEST, digest=digest, frame=FRAME))
        found = ask(command, b"r", digest, to_c(codes[None]).tobytes())
        assert found == wanted
        np.testing.assert_array_equal(from_packet(request, decode(found)), codes)
        reply = encode(to_packet(answer, outputs, kind=Kind.ANSWER, digest=digest, frame=FRAME))
        status, *rest = ask(command, b"a", digest, reply)
        assert STATUSES[status] == "OK"
        back = np.frombuffer(bytes(rest), answer.format.dtype)[None]
        np.testing.assert_array_equal(from_c(back, tail.record.output.shape)[0], outputs)
    assert len({codes.tobytes() for codes in head.outputs}) == len(head.outputs)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("link")
    bundle = split(folder)
    return bundle, program(bundle, folder, COMPILERS[0])


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda p: encode(p)[:-1], "SIZE"),
        (lambda p: encode(p)[:20], "SIZE"),
        (lambda p: encode(p) + b"x", "SIZE"),
        (lambda p: encode(replace(p, count=9)), "SIZE"),
        (lambda p: encode(replace(p, payload=p.payload + b"x")), "SIZE"),
        (lambda p: encode(replace(p, digest=bytes(16))), "MODEL"),
        (lambda p: encode(replace(p, frame=1)), "FRAME"),
        (lambda p: encode(replace(p, kind=Kind.REQUEST)), "HEADER"),
        (lambda p: encode(replace(p, compressed=True)), "HEADER"),
        (lambda p: b"HTTP" + encode(p)[4:], "HEADER"),
        (lambda p: encode(p)[:45] + b"\xff" + encode(p)[46:], "DAMAGED"),
        (lambda p: encode(Packet(Kind.REFUSAL, p.digest, p.frame, 0, b"why")), "REFUSED"),
    ],
)
def test_what_is_no_answer_is_told_apart(here, change, status):
    bundle, command = here
    digest, tail = digest_of(bundle), bundle.parts[1]
    good = to_packet(codec_of(tail.record.output), tail.outputs[0], kind=Kind.ANSWER, digest=digest, frame=FRAME)
    assert STATUSES[ask(command, b"a", digest, change(good))[0]] == status
