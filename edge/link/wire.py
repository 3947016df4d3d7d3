"""The wire format, version 1: one packet for one frame. docs/wire.md is its specification.

offset  bytes  little endian
     0      4  magic 'EMLK'
     4      1  version, 1
     5      1  kind: 1 request, 2 answer, 3 refusal
     6      1  flags: bit 0 = the payload is zstandard-compressed; the others are 0
     7      1  reserved, 0
     8     16  the first bytes of the bundle's digest: both sides run the same model
    24      8  frame id: answers may come in another order
    32      4  codes in the payload
    36      4  payload bytes
    40      n  payload
  40+n      4  CRC-32 (IEEE 802.3) of everything before
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from edge.errors import EdgeError

MAGIC = b"EMLK"
VERSION = 1
HEADER = struct.Struct("<4sBBBB16sQII")
CHECKSUM = struct.Struct("<I")
DIGEST_BYTES = 16
COMPRESSED = 1
#: Bytes around a payload.
OVERHEAD_BYTES = HEADER.size + CHECKSUM.size
#: No feature map of a lightweight classifier comes near this; a larger length is damaged or hostile.
MAX_PAYLOAD_BYTES = 16 << 20
MAX_ID = (1 << 64) - 1


class Kind(IntEnum):
    """What a packet is: codes of a cut, codes of an output, or the reason why there are none (UTF-8)."""

    REQUEST = 1
    ANSWER = 2
    REFUSAL = 3


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. `digest` holds 16 bytes; `count` is the number of codes, 0 in a refusal."""

    kind: Kind
    digest: bytes
    frame: int
    count: int
    payload: bytes
    compressed: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes on the wire, header and checksum included."""
        return OVERHEAD_BYTES + len(self.payload)


@dataclass(frozen=True, slots=True)
class Header:
    """What a reader knows before the payload: enough to read the rest, or to refuse it."""

    kind: Kind
    compressed: bool
    digest: bytes
    frame: int
    count: int
    payload_bytes: int


def encode(packet: Packet) -> bytes:
    """Return the bytes of a packet.

    Raises:
        EdgeError: a field is out of its range.
    """
    if len(packet.digest) != DIGEST_BYTES:
        raise EdgeError(f"a packet names its model by {DIGEST_BYTES} bytes of the digest, not {len(packet.digest)}.")
    if not 0 <= packet.frame <= MAX_ID or not 0 <= packet.count < 1 << 32:
        raise EdgeError(f"frame {packet.frame} with {packet.count} codes does not fit the header.")
    if len(packet.payload) > MAX_PAYLOAD_BYTES:
        raise EdgeError(f"a payload of {len(packet.payload)} bytes; {MAX_PAYLOAD_BYTES} are the most.")
    head = HEADER.pack(
        MAGIC, VERSION, packet.kind, COMPRESSED * packet.compressed, 0,
        packet.digest, packet.frame, packet.count, len(packet.payload),
    )  # fmt: skip
    return head + packet.payload + CHECKSUM.pack(zlib.crc32(head + packet.payload))


def decode_header(data: bytes, most_bytes: int = MAX_PAYLOAD_BYTES) -> Header:
    """Read the first 40 bytes.

    Args:
        data: exactly the header.
        most_bytes: longer payloads are refused before they are read.

    Raises:
        EdgeError: it is no header of this version, or promises too much.
    """
    if len(data) != HEADER.size:
        raise EdgeError(f"a header has {HEADER.size} bytes, not {len(data)}.")
    magic, version, kind, flags, reserved, digest, frame, count, length = HEADER.unpack(data)
    if magic != MAGIC:
        raise EdgeError(f"the packet begins with {magic!r}, not {MAGIC!r}: the other side speaks another protocol.")
    if version != VERSION:
        raise EdgeError(f"the packet has wire version {version}; this side speaks {VERSION}.")
    if kind not in tuple(Kind):
        raise EdgeError(f"the packet has the unknown kind {kind}.")
    if flags & ~COMPRESSED or reserved:
        raise EdgeError(f"the packet has flags {flags:#x} and reserved byte {reserved:#x}; only bit 0 is known.")
    if length > most_bytes:
        raise EdgeError(f"the packet promises a payload of {length} bytes; {most_bytes} are the most here.")
    return Header(Kind(kind), bool(flags & COMPRESSED), digest, frame, count, length)


def decode(data: bytes, most_bytes: int = MAX_PAYLOAD_BYTES) -> Packet:
    """Read a whole packet.

    Raises:
        EdgeError: as `decode_header`, or it is truncated, too long, or its checksum is wrong.
    """
    header = decode_header(data[: HEADER.size], most_bytes)
    expected = OVERHEAD_BYTES + header.payload_bytes
    if len(data) != expected:
        raise EdgeError(f"the packet has {len(data)} bytes; its header says {expected}.")
    body, (checksum,) = data[: -CHECKSUM.size], CHECKSUM.unpack(data[-CHECKSUM.size :])
    if zlib.crc32(body) != checksum:
        raise EdgeError(f"frame {header.frame}: the checksum is wrong; the packet was damaged on its way.")
    return Packet(header.kind, header.digest, header.frame, header.count, body[HEADER.size :], header.compressed)
