"""TLS for both ends, with mutual authentication where both give an authority: nothing older than TLS 1.2."""

from __future__ import annotations

import ssl
from pathlib import Path

from edge.errors import EdgeError


def server_context(certificate: Path, key: Path, clients: Path | None = None) -> ssl.SSLContext:
    """Return what a server needs; with `clients` (an authority's certificate) a client has to show one of its own.

    Raises:
        EdgeError: a file is missing or is no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, certificate, key)
    if clients is not None:
        _trust(context, clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(server: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Return what a client needs: the authority that signed the server, and its own certificate where one is asked for.

    Raises:
        EdgeError: a file is missing or is no certificate or key, or only one of certificate and key is given.
    """
    if (certificate is None) != (key is None):
        raise EdgeError("a client's certificate and its key come together; give both or neither.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(context, server)
    if certificate is not None and key is not None:
        _load(context, certificate, key)
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise EdgeError(f"{certificate} and {key} are no certificate with its key: {error}.") from error


def _trust(context: ssl.SSLContext, authority: Path) -> None:
    try:
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        raise EdgeError(f"{authority} is no certificate of an authority: {error}.") from error
