"""Commands for the two halves of a split network: serve, infer."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.common import data_options, json_option, load_data, print_json

if TYPE_CHECKING:
    import ssl

    from edge.serve.limits import Limits
    from edge.serve.tail import Tail

_PATH = click.Path(path_type=Path)
bundle_argument = click.argument("bundle", type=_PATH)


def address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`; an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"an address is HOST:PORT, such as 127.0.0.1:7070, not '{text}'.")
    return host.removeprefix("[").removesuffix("]"), int(port)


@click.command()
@bundle_argument
@click.option("--listen", default="127.0.0.1:7070", show_default=True, help="HOST:PORT; port 0 lets the system choose.")
@click.option("--runtime", default="reference", show_default=True, help="What executes the tail.")
@click.option("--entropy", type=click.Choice(["none", "zstd"]), default="none", show_default=True, help="Of answers.")
@click.option("--tls-cert", type=_PATH, help="The server's certificate: connections are encrypted.")
@click.option("--tls-key", type=_PATH, help="Its key.")
@click.option("--tls-ca", type=_PATH, help="Clients must show a certificate that this authority signed.")
@click.option("--connections", type=click.IntRange(min=1), default=256, show_default=True, help="Clients at once.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Frames run together at most.")
@click.option(
    "--wait-ms", type=click.FloatRange(min=0), default=1.0, show_default=True, help="How long a frame waits for others."
)
@click.option("--status-s", type=click.FloatRange(min=0, min_open=True), help="Log how the server is, so often.")
def serve(
    bundle: Path,
    listen: str,
    runtime: str,
    entropy: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    connections: int,
    batch: int,
    wait_ms: float,
    status_s: float | None,
) -> None:
    """Run the tail of a split bundle for many heads.

    Every event is a line of JSON on stdout. Ctrl-C or SIGTERM answers what was begun, then ends.
    """
    from edge.serve.limits import Limits
    from edge.serve.tail import open_tail

    host, port = address(listen)
    tls = _server_tls(tls_cert, tls_key, tls_ca)
    tail = open_tail(bundle, runtime, entropy)
    limits = Limits(connections=connections, batch=batch, wait_s=wait_ms / 1e3)
    asyncio.run(_serve(tail, host, port, limits, tls, status_s))


def _server_tls(cert: Path | None, key: Path | None, ca: Path | None) -> ssl.SSLContext | None:
    from edge.serve.tls import server_context

    if (cert is None) != (key is None) or (ca is not None and cert is None):
        raise click.UsageError("--tls-cert and --tls-key come together, and --tls-ca needs both.")
    return None if cert is None or key is None else server_context(cert, key, ca)


async def _serve(
    tail: Tail, host: str, port: int, limits: Limits, tls: ssl.SSLContext | None, status_s: float | None
) -> None:
    from edge.serve.server import report, start, stop

    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = await start(tail, host, port, click.echo, limits, tls)
    while not ended.is_set():
        try:
            await asyncio.wait_for(ended.wait(), status_s)
        except TimeoutError:
            report(server)
    await stop(server)


@click.command()
@bundle_argument
@click.option("--server", required=True, metavar="HOST:PORT", help="Where 'edgemill serve' listens.")
@data_options("--data", "Images to classify: the test part.")
@click.option(
    "--deadline-ms",
    type=click.FloatRange(min=0, min_open=True),
    default=1000.0,
    show_default=True,
    help="A frame waits no longer for the server.",
)
@click.option("--local/--no-local", default=True, show_default=True, help="Let the bundle's own tail answer otherwise.")
@click.option("--entropy", type=click.Choice(["none", "zstd"]), default="none", show_default=True, help="Of requests.")
@click.option("--count", type=click.IntRange(min=1), help="Only so many images.")
@click.option("--tls-ca", type=_PATH, help="The authority that signed the server: connections are encrypted.")
@click.option("--tls-cert", type=_PATH, help="A certificate to show.")
@click.option("--tls-key", type=_PATH, help="Its key.")
@json_option
def infer(
    bundle: Path,
    server: str,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    deadline_ms: float,
    local: bool,
    entropy: str,
    count: int | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    as_json: bool,
) -> None:
    """Run a head here and its tail on a server.

    Says who answered, how well, with how many bytes and how fast.
    """
    from edge.inferring import infer as run_infer
    from edge.serve.tls import client_context

    if tls_ca is None and (tls_cert or tls_key):
        raise click.UsageError("--tls-cert and --tls-key need --tls-ca.")
    where = address(server)
    tls = client_context(tls_ca, tls_cert, tls_key) if tls_ca else None
    found = run_infer(
        bundle,
        where,
        load_data(data, pixel_scale, mean, std, test_share=1.0),
        deadline_s=deadline_ms / 1e3,
        local=local,
        entropy=entropy,
        tls=tls,
        most=count,
        say=lambda line: click.echo(line, err=True),
    )
    if as_json:
        print_json(found.record())
        return
    took = "" if found.server_latency_s is None else f", {found.server_latency_s * 1e3:.2f} ms each (median)"
    dropped = f", {found.dropped} dropped and not sent" if found.dropped else ""
    here = f"{found.by_local} locally" + (f" by {found.local_part}" if found.by_local else "")
    settled = f" ({found.settled} sure and not sent)" if found.settled else ""
    click.echo(f"{found.frames} frames: {found.by_server} answered by the server{took}, {here}{settled}{dropped}")
    if found.accuracy is not None and found.agreement is not None:
        click.echo(f"accuracy {found.accuracy:.2%}; {found.agreement:.2%} of answers as the unsplit network's")
    click.echo(f"{found.sent_bytes_per_frame:.1f} bytes sent per frame")
    for reason, number in found.reasons.items():
        click.echo(f"{number} x not the server: {reason}")
