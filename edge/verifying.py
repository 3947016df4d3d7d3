"""What the command verify does: a bundle's integrity, and its parity on the runtimes of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.runtimes import find_runtime, runtimes_for
from edge.errors import EdgeError
from export.binary_bundle import certify_binary, is_binary_bundle, read_binary
from export.binary_parity import check_binary
from export.bundle import add_certificate
from export.bundle_read import Bundle, read_bundle
from export.parity import Parity, certificate, check_bundle
from export.runtimes.session import Runtime


@dataclass(frozen=True, eq=False)
class Verified:
    """The digest of a bundle whose every byte is right, and what was executed."""

    digest: str
    results: tuple[Parity, ...]


def verified(path: Path, names: Sequence[str], vectors: int | None, *, certify: bool) -> Verified:
    """Check a bundle, also that of a binary network.

    Args:
        path: the bundle.
        names: of runtimes; none for those that verify by themselves.
        vectors: at most this many test vectors.
        certify: write the result into the bundle.

    Raises:
        EdgeError: a runtime executes bundles of another target.
        ExportError: the bundle is not intact.
    """
    if is_binary_bundle(path):
        return _binary(path, names, vectors, certify=certify)
    bundle = read_bundle(path)
    results = check_bundle(bundle, _chosen(bundle, names), vectors)
    if certify:
        add_certificate(path, certificate(results))
    return Verified(bundle.digest, results)


def _binary(path: Path, names: Sequence[str], vectors: int | None, *, certify: bool) -> Verified:
    from edge.binary_bundles import runtimes

    bundle = read_binary(path)
    results = check_binary(bundle, runtimes(names), vectors)
    if certify:
        certify_binary(path, certificate(results))
    return Verified(bundle.digest, results)


def _chosen(bundle: Bundle, names: Sequence[str]) -> tuple[Runtime, ...]:
    target = bundle.manifest.target
    chosen = tuple(find_runtime(name) for name in names) or runtimes_for(target)
    for runtime in chosen:
        if runtime.target != target:
            raise EdgeError(
                f"runtime '{runtime.name}' executes bundles of target {runtime.target}; this one is for "
                f"{target}: {', '.join(r.name for r in runtimes_for(target))} would do."
            )
    return chosen
