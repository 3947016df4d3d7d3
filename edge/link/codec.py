"""The codec of a cut: a tensor's codes to a payload with exact bytes, and back; compressed where that makes it smaller.

The format of the link is the format of the tensor at the cut, so nothing is rounded here: the tail sees the very codes
that the head made. To send fewer bits, requantise the tensor in the graph (`requantised`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.errors import EdgeError
from edge.link.packing import pack, packed_bytes, unpack
from edge.link.wire import OVERHEAD_BYTES, Kind, Packet
from export.manifest import TensorSpec
from quant.formats import Array, Format, find_format

ENTROPY = ("none", "zstd")
ZSTD_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Codec:
    """How one tensor crosses the link: its format, its shape without the batch, and the entropy coder."""

    format: Format
    shape: tuple[int, ...]
    entropy: str = "none"

    def __post_init__(self) -> None:
        """Refuse an entropy coder that nobody has."""
        if self.entropy not in ENTROPY:
            raise EdgeError(f"entropy coder '{self.entropy}' is unknown; known are {', '.join(ENTROPY)}.")

    @property
    def count(self) -> int:
        """Codes of one frame."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def payload_bytes(self) -> int:
        """Bytes of one frame's payload before entropy coding."""
        return packed_bytes(self.format, self.count)

    @property
    def packet_bytes(self) -> int:
        """Bytes of one frame on the wire without entropy coding."""
        return OVERHEAD_BYTES + self.payload_bytes


def codec_of(spec: TensorSpec, entropy: str = "none") -> Codec:
    """Return the codec of what a part writes or reads."""
    return Codec(find_format(spec.format), tuple(spec.shape[1:]), entropy)


def to_packet(codec: Codec, codes: Array, *, kind: Kind, digest: bytes, frame: int) -> Packet:
    """Put the codes of one frame, of `codec.shape`, into a packet; compressed only where that is shorter.

    Raises:
        EdgeError: the shape is another, a code is no number, or zstandard is not installed.
    """
    if codes.shape != codec.shape:
        raise EdgeError(f"the codec carries codes of shape {codec.shape}, not {codes.shape}.")
    plain = pack(codec.format, codes)
    if codec.entropy == "zstd":
        small = compress(plain)
        if len(small) < len(plain):
            return Packet(kind, digest, frame, codec.count, small, compressed=True)
    return Packet(kind, digest, frame, codec.count, plain)


def from_packet(codec: Codec, packet: Packet) -> Array:
    """Return the codes of a packet, of `codec.shape`.

    Raises:
        EdgeError: it holds another number of codes, does not decompress to their bytes, or as `unpack`.
    """
    if packet.count != codec.count:
        raise EdgeError(f"frame {packet.frame} holds {packet.count} codes; {codec.count} make one here.")
    plain = decompress(packet.payload, codec.payload_bytes) if packet.compressed else packet.payload
    return unpack(codec.format, plain, codec.count).reshape(codec.shape)


def compress(data: bytes) -> bytes:
    """Compress with zstandard.

    Raises:
        EdgeError: it is not installed.
    """
    return bytes(_zstandard().ZstdCompressor(level=ZSTD_LEVEL).compress(data))


def decompress(data: bytes, expected_bytes: int) -> bytes:
    """Decompress what must have `expected_bytes`; no more is ever made, whatever the data promises.

    Raises:
        EdgeError: it is damaged, has another length, or zstandard is not installed.
    """
    zstandard = _zstandard()
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data)
        plain = bytes(reader.read(expected_bytes + 1))
    except zstandard.ZstdError as error:
        raise EdgeError(f"the payload does not decompress: {error}.") from error
    if len(plain) != expected_bytes:
        more = "more than " if len(plain) > expected_bytes else ""
        raise EdgeError(
            f"the payload decompresses to {more}{min(len(plain), expected_bytes)} bytes, not {expected_bytes}."
        )
    return plain


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise EdgeError("entropy coder 'zstd' needs zstandard: pip install 'edgemill[link]'") from error
    return zstandard
