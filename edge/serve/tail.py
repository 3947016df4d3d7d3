"""The tail of a split bundle, ready to run batches: by a runtime, or by the reference, which is exact everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.errors import EdgeError
from edge.link.codec import Codec, codec_of
from edge.link.wire import DIGEST_BYTES
from export.bundle_read import Bundle, BundlePart, read_bundle
from export.chain import source_of
from export.runtimes.session import Session
from quant.formats import Array
from quant.program import lower
from quant.reference import fast_dot, run

REFERENCE = "reference"


@dataclass(frozen=True, eq=False)
class Tail:
    """What a server runs.

    Attributes:
        digest: the first bytes of the bundle's digest, which every packet carries.
        request, answer: how codes come in and go out.
        run: codes [N, ...] of the cut to codes [N, ...] of the output.
        executed_by: a runtime's name, or `reference`.
        close: frees what the runtime holds.
    """

    digest: bytes
    request: Codec
    answer: Codec
    run: Callable[[Array], Array]
    executed_by: str
    close: Callable[[], None]


def open_tail(path: Path, runtime: str = REFERENCE, entropy: str = "none") -> Tail:
    """Open the last part of a split bundle.

    Args:
        path: the bundle's folder.
        runtime: a runtime's name, or `reference`.
        entropy: how answers are compressed; requests tell themselves.

    Raises:
        ExportError: the bundle is not intact.
        EdgeError: it is not split into a head and a tail, or the runtime does not work here.
        DeviceError: there is no runtime of this name.
    """
    bundle = read_bundle(path)
    tail = tail_of(bundle)
    execute, close = _executor(tail, runtime)
    spec = tail.record
    return Tail(digest_of(bundle), codec_of(spec.input), codec_of(spec.output, entropy), execute, runtime, close)


def digest_of(bundle: Bundle) -> bytes:
    """Return what packets carry of a bundle's digest."""
    return bytes.fromhex(bundle.digest)[:DIGEST_BYTES]


def tail_of(bundle: Bundle) -> BundlePart:
    """Return the part behind the link: the last one. Those before it run on the device, filters among them.

    One part before it may answer where its rule says so: a small local tail, which reads what the tail reads.

    Raises:
        EdgeError: the bundle is not a head and a tail, or another part before the link answers.
    """
    parts = bundle.manifest.parts
    last = len(parts) - 1
    answering = [index for index in range(last) if _answers(bundle.parts[index])]
    source = source_of(parts, last) if last else None
    if source is None or len(answering) > 1 or any(source_of(parts, index) != source for index in answering):
        names = ", ".join(part.name for part in parts)
        raise EdgeError(
            f"{bundle.path} has the parts {names}; a server needs a head and a tail that reads what the head makes, "
            "and beside them at most one local tail, which reads the same. Export with --cut, or let 'edgemill split' "
            "choose the cut."
        )
    return bundle.parts[-1]


def local_of(bundle: Bundle) -> BundlePart:
    """Return what answers on the device where the server does not: the small local tail, else the tail itself.

    Raises:
        EdgeError: as `tail_of`.
    """
    tail = tail_of(bundle)
    return next((part for part in bundle.parts[:-1] if _answers(part)), tail)


def _answers(part: BundlePart) -> bool:
    return part.record.after is not None and part.record.after.action == "answer"


def _executor(part: BundlePart, name: str) -> tuple[Callable[[Array], Array], Callable[[], None]]:
    if name == REFERENCE:
        program = lower(part.graph)
        return lambda codes: run(program, codes, fast_dot)[program.output], lambda: None
    session = _session(part, name)
    return session.run, session.close


def _session(part: BundlePart, name: str) -> Session:
    from devices.runtimes import find_runtime

    runtime = find_runtime(name)
    reason = runtime.missing()
    if reason is not None:
        raise EdgeError(f"runtime '{name}' does not work here: {reason}. '{REFERENCE}' always does.")
    return runtime.open(part.folder, part.stem, part.graph)
