"""The head's side: send codes to a tail, wait no longer than a deadline, and fall back to the local tail.

Nothing is lost: a frame that the server did not answer in time, for whatever reason, is answered here, and the outcome
says by whom and why. Frames are asked one after another, as a device has them.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.errors import EdgeError
from edge.link.codec import Codec, from_packet, to_packet
from edge.link.wire import CHECKSUM, HEADER, Kind, Packet, decode, decode_header, encode
from quant.formats import Array

#: After a failed connection the server is left alone for so long, doubled up to the most.
RETRY_S, MOST_RETRY_S = 0.5, 30.0

Clock = Callable[[], float]


@dataclass(frozen=True, eq=False)
class Ends:
    """What both sides agree on, and the tail that runs here when the other does not answer; None: there is none."""

    digest: bytes
    request: Codec
    answer: Codec
    local: Callable[[Array], Array] | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """One frame's answer.

    Attributes:
        codes: of the output.
        answered_by: `server` or `local`.
        reason: why the server did not answer; empty where it did.
        sent_bytes: on the wire, 0 where nothing could be sent.
        latency_s: from the head's codes to the answer.
    """

    codes: Array
    answered_by: str
    reason: str
    sent_bytes: int
    latency_s: float


class ServerRefusedError(EdgeError):
    """The server said why it does not answer: trying again will not help."""


@dataclass(slots=True)
class Client:
    """A connection to a tail's server, made when it is needed and made again after it broke. Close it at the end.

    Attributes:
        ends: what both sides agree on.
        host, port: of the server.
        deadline_s: a frame waits no longer than this for the server.
        tls: for an encrypted connection.
        clock: monotonic seconds; tests replace it.
    """

    ends: Ends
    host: str
    port: int
    deadline_s: float = 1.0
    tls: ssl.SSLContext | None = None
    clock: Clock = time.monotonic
    frame: int = 0
    stream: socket.socket | None = None
    not_before: float = 0.0
    retry_s: float = RETRY_S

    def infer(self, codes: Array) -> Outcome:
        """Answer one frame.

        Args:
            codes: what the head made, of the cut's shape without the batch.

        Raises:
            EdgeError: the server did not answer and there is no local tail.
        """
        begin, sent = self.clock(), 0
        try:
            packet = self._packet(codes)
            stream = self._connected(begin + self.deadline_s)
            stream.sendall(packet)
            sent = len(packet)
            found = self._answer(stream, begin + self.deadline_s)
            return Outcome(found, "server", "", sent, self.clock() - begin)
        except (OSError, EdgeError) as error:
            reason = self._failed(error)
            if self.ends.local is None:
                raise EdgeError(f"frame {self.frame}: {reason}, and there is no local tail to fall back to.") from error
        return Outcome(self.ends.local(codes[None])[0], "local", reason, sent, self.clock() - begin)

    def close(self) -> None:
        """End the connection."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None

    def _packet(self, codes: Array) -> bytes:
        self.frame += 1
        ends = self.ends
        return encode(to_packet(ends.request, codes, kind=Kind.REQUEST, digest=ends.digest, frame=self.frame))

    def _connected(self, until: float) -> socket.socket:
        if self.stream is None:
            if self.clock() < self.not_before:
                raise EdgeError("the server was away, and is tried again later")
            plain = socket.create_connection((self.host, self.port), timeout=max(until - self.clock(), 1e-3))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.stream = self.tls.wrap_socket(plain, server_hostname=self.host) if self.tls else plain
            self.retry_s = RETRY_S
        self.stream.settimeout(max(until - self.clock(), 1e-3))
        return self.stream

    def _answer(self, stream: socket.socket, until: float) -> Array:
        """Return this frame's codes."""
        packet = self._read(stream, until)
        if packet.kind is Kind.REFUSAL:
            raise ServerRefusedError(packet.payload.decode(errors="replace"))
        if packet.digest != self.ends.digest or packet.kind is not Kind.ANSWER:
            raise EdgeError("the server answers for another bundle")
        if packet.frame != self.frame:
            raise EdgeError(f"the server answers frame {packet.frame}, not {self.frame}")
        return from_packet(self.ends.answer, packet)

    def _read(self, stream: socket.socket, until: float) -> Packet:
        head = self._exactly(stream, HEADER.size, until)
        header = decode_header(head)
        return decode(head + self._exactly(stream, header.payload_bytes + CHECKSUM.size, until))

    def _exactly(self, stream: socket.socket, count: int, until: float) -> bytes:
        data = b""
        while len(data) < count:
            stream.settimeout(max(until - self.clock(), 1e-3))
            more = stream.recv(count - len(data))
            if not more:
                raise ConnectionResetError("the server closed the connection")
            data += more
        return data

    def _failed(self, error: OSError | EdgeError) -> str:
        """Drop the connection, so that half a packet never meets the next frame; wait before the next attempt."""
        self.close()
        if isinstance(error, TimeoutError):
            return f"no answer within {self.deadline_s * 1e3:g} ms"
        if not isinstance(error, EdgeError) and self.clock() >= self.not_before:
            self.not_before = self.clock() + self.retry_s
            self.retry_s = min(2 * self.retry_s, MOST_RETRY_S)
        if isinstance(error, EdgeError):
            return str(error).rstrip(".")
        where = f"the server at {self.host} port {self.port}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{where} shows a certificate that is not trusted here: {error.verify_message}"
        if isinstance(error, ssl.SSLError):
            return f"{where} broke off TLS: {error.reason or error}"
        if isinstance(error, ConnectionResetError):
            return f"{where} closed the connection; if it always does, it may want TLS or a certificate"
        return f"{where} is not there: {error.strerror or error}"


@dataclass(slots=True)
class Tally:
    """What became of a stream of frames: how many, who answered, why not the server, bytes sent."""

    frames: int = 0
    by_server: int = 0
    sent_bytes: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one frame."""
        self.frames += 1
        self.by_server += outcome.answered_by == "server"
        self.sent_bytes += outcome.sent_bytes
        if outcome.reason:
            self.reasons[outcome.reason] = self.reasons.get(outcome.reason, 0) + 1
