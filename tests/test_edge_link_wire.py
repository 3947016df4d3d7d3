"""The wire: every code of every format crosses it, exact bytes, and nothing damaged gets through."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.link.codec import ENTROPY, Codec, codec_of, from_packet, to_packet
from edge.link.packing import pack, packed_bytes, unpack
from edge.link.wire import HEADER, MAX_PAYLOAD_BYTES, OVERHEAD_BYTES, Kind, Packet, decode, decode_header, encode
from export.manifest import TensorSpec
from quant.formats import FORMATS, INT8, find_format

DIGEST = bytes(range(16))
NARROW = [fmt for fmt in FORMATS if fmt.bits <= 8]
PACKET = Packet(Kind.REQUEST, DIGEST, 7, 3, b"abc")


def codes_of(fmt):
    return fmt.from_ordinals(np.array(fmt.ordinals(), np.int64))


@pytest.mark.parametrize("fmt", NARROW, ids=lambda fmt: fmt.name)
def test_every_code_of_every_narrow_format_crosses(fmt):
    codes = codes_of(fmt)
    payload = pack(fmt, codes)
    assert len(payload) == packed_bytes(fmt, len(codes)) == -(-len(codes) * fmt.bits // 8)
    back = unpack(fmt, payload, len(codes))
    assert back.dtype == fmt.dtype
    np.testing.assert_array_equal(back, codes)


@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=200, deadline=None)
def test_any_codes_cross_and_bits_lie_where_the_specification_says(fmt, data):
    ordinals = data.draw(st.lists(st.integers(fmt.min_ordinal, fmt.max_ordinal), min_size=1, max_size=40))
    codes = fmt.from_ordinals(np.array(ordinals))
    payload = pack(fmt, codes)
    whole = int.from_bytes(payload, "little")
    for i, code in enumerate(codes):
        assert whole >> (i * fmt.bits) & ((1 << fmt.bits) - 1) == int(code) & ((1 << fmt.bits) - 1)
    np.testing.assert_array_equal(unpack(fmt, payload, len(codes)), codes)


def test_bits_beyond_the_last_code_must_be_zero():
    fmt = find_format("int4")
    assert pack(fmt, np.array([-1, 2, 3], np.int8)) == bytes([0x2F, 0x03])
    with pytest.raises(EdgeError, match="beyond"):
        unpack(fmt, bytes([0x2F, 0x13]), 3)
    with pytest.raises(EdgeError, match="take 2 bytes"):
        unpack(fmt, bytes(3), 3)


def test_reserved_codes_never_cross():
    fmt = find_format("e4m3fn")
    with pytest.raises(EdgeError, match="no number"):
        pack(fmt, np.array([0x7F], np.uint8))
    with pytest.raises(EdgeError, match="no number"):
        unpack(fmt, b"\x7f", 1)


@given(
    st.sampled_from(Kind),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=300),
    st.booleans(),
)
def test_packets_read_back(kind, digest, frame, count, payload, compressed):
    packet = Packet(kind, digest, frame, count, payload, compressed)
    data = encode(packet)
    assert len(data) == packet.size_bytes == OVERHEAD_BYTES + len(payload)
    assert decode(data) == packet


@given(st.integers(0, len(encode(PACKET)) - 1), st.integers(1, 255))
def test_no_changed_byte_gets_through(place, change):
    data = bytearray(encode(PACKET))
    data[place] ^= change
    with pytest.raises(EdgeError):
        decode(bytes(data))


@given(st.binary(max_size=200))
def test_noise_is_refused(data):
    with pytest.raises(EdgeError):
        decode(data)


@given(st.integers(0, len(encode(PACKET)) - 1))
def test_a_truncated_packet_is_refused(length):
    with pytest.raises(EdgeError):
        decode(encode(PACKET)[:length])


def forged(**changes):
    """A packet with a right checksum and wrong header fields."""
    names = ("magic", "version", "kind", "flags", "reserved", "digest", "frame", "count", "length")
    values = dict(zip(names, (b"EMLK", 1, 1, 0, 0, DIGEST, 7, 3, 3), strict=True)) | changes
    head = HEADER.pack(*values.values())
    return head + b"abc" + struct.pack("<I", zlib.crc32(head + b"abc"))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"magic": b"HTTP"}, "another protocol"),
        ({"version": 2}, "wire version 2"),
        ({"kind": 9}, "unknown kind 9"),
        ({"flags": 2}, "only bit 0"),
        ({"reserved": 1}, "reserved"),
        ({"length": MAX_PAYLOAD_BYTES + 1}, "the most"),
        ({"length": 2}, "header says"),
    ],
)
def test_a_header_of_another_kind_is_named(changes, word):
    with pytest.raises(EdgeError, match=word):
        decode(forged(**changes))


def test_a_limit_holds_before_the_payload_is_read():
    with pytest.raises(EdgeError, match="2 are the most"):
        decode_header(encode(PACKET)[: HEADER.size], most_bytes=2)


@pytest.mark.parametrize(
    "packet", [replace(PACKET, digest=b""), replace(PACKET, frame=-1), replace(PACKET, frame=2**64)]
)
def test_what_does_not_fit_is_not_written(packet):
    with pytest.raises(EdgeError):
        encode(packet)


@pytest.mark.parametrize("entropy", ENTROPY)
@pytest.mark.parametrize("fmt", ["int8", "int4", "e3m2", "uint3"])
def test_a_codec_carries_a_tensor(fmt, entropy):
    codec = codec_of(TensorSpec((1, 3, 5, 7), fmt, 0.1, 0), entropy)
    draw = np.random.default_rng(1)
    spread = draw.integers(codec.format.min_ordinal, codec.format.max_ordinal + 1, codec.shape)
    for ordinals in (spread, np.zeros(codec.shape, np.int64)):
        codes = codec.format.from_ordinals(ordinals)
        packet = to_packet(codec, codes, kind=Kind.REQUEST, digest=DIGEST, frame=1)
        assert packet.compressed == (entropy == "zstd" and not ordinals.any())
        assert packet.size_bytes <= codec.packet_bytes
        np.testing.assert_array_equal(from_packet(codec, decode(encode(packet))), codes)


def test_a_packet_of_another_tensor_is_refused():
    codec = Codec(INT8, (4,))
    packet = to_packet(codec, np.zeros(4, np.int8), kind=Kind.REQUEST, digest=DIGEST, frame=1)
    with pytest.raises(EdgeError, match="5 make one"):
        from_packet(Codec(INT8, (5,)), packet)
    with pytest.raises(EdgeError, match="shape"):
        to_packet(codec, np.zeros(5, np.int8), kind=Kind.REQUEST, digest=DIGEST, frame=1)
    with pytest.raises(EdgeError, match="entropy"):
        Codec(INT8, (4,), "gzip")


def test_a_payload_that_expands_too_far_or_not_at_all_is_refused():
    codec = Codec(INT8, (64,), "zstd")
    bomb = to_packet(
        Codec(INT8, (1 << 20,), "zstd"), np.zeros(1 << 20, np.int8), kind=Kind.REQUEST, digest=DIGEST, frame=1
    )
    for payload in (bomb.payload, b"not zstd"):
        with pytest.raises(EdgeError, match="decompress"):
            from_packet(codec, Packet(Kind.REQUEST, DIGEST, 1, 64, payload, compressed=True))
