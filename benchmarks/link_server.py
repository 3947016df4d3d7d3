"""A server of the tail of a split bundle, or of the whole network for devices that run nothing.

python -m benchmarks.link_server split|remote BUNDLE HOST
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from edge.link.codec import codec_of
from edge.serve.server import start
from edge.serve.tail import Tail, open_tail
from export.bundle_read import read_bundle
from quant.program import lower
from quant.reference import fast_dot, run


def main() -> None:
    way, bundle, host = sys.argv[1:]
    asyncio.run(_serve(tail_for(way, Path(bundle)), host))


def tail_for(way: str, bundle: Path) -> Tail:
    """Return what a server runs: the tail (`split`), or head and tail after one another (`remote`)."""
    tail = open_tail(bundle)
    if way == "split":
        return tail
    head = read_bundle(bundle).parts[0]
    program = lower(head.graph)
    return replace(
        tail,
        request=codec_of(head.record.input),
        run=lambda codes: tail.run(run(program, codes, fast_dot)[program.output]),
    )


async def _serve(tail: Tail, host: str) -> None:
    server = await start(tail, host, 0, lambda line: None)
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
