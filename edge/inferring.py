"""The head's side of a split network over data: run the head here, ask the server's tail, count who answered."""

from __future__ import annotations

import ssl
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.evaluate import code_labels, inputs_of
from edge.link.codec import codec_of
from edge.serve.client import Client, Ends, Outcome, Tally
from edge.serve.head import open_head
from edge.serve.tail import digest_of, tail_of
from export.bundle_read import Bundle, read_bundle
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run

#: Heads run on so many images at once; the tail is asked for each image by itself.
BATCH = 32


@dataclass(frozen=True, slots=True)
class Inferred:
    """What a stream of images gave.

    `dropped` frames were empty to a filter: nothing was sent or answered. `accuracy` and `agreement`, the share of
    answers whose codes are those of the unsplit network, speak of the answered ones; None where there are none. Times
    are medians over the frames that the server answered, from the head's codes to the answer; None where it answered
    none. Bytes are per frame, dropped ones included.
    """

    frames: int
    dropped: int
    by_server: int
    by_local: int
    accuracy: float | None
    agreement: float | None
    sent_bytes_per_frame: float
    server_latency_s: float | None
    reasons: dict[str, int]

    def record(self) -> dict[str, object]:
        """Return what --json prints."""
        return asdict(self)


def infer(
    path: Path,
    server: tuple[str, int],
    dataset: Dataset,
    *,
    deadline_s: float,
    local: bool,
    entropy: str,
    tls: ssl.SSLContext | None,
    most: int | None,
    say: Callable[[str], None],
) -> Inferred:
    """Run test images through the head here and the tail there.

    Args:
        path: a bundle with a head and a tail; filters may stand before the link.
        server: host and port.
        dataset: its test images.
        deadline_s: how long a frame waits for the server.
        local: whether the bundle's own tail answers what the server does not.
        entropy: how requests are compressed.
        tls: for an encrypted connection.
        most: only so many images.
        say: told how far it is.

    Raises:
        EdgeError: the bundle is not split, the data does not fit, or a frame got no answer.
    """
    bundle = read_bundle(path)
    tail = tail_of(bundle)
    run_tail = _runner(tail.graph)
    ends = Ends(
        digest_of(bundle),
        codec_of(tail.record.input, entropy),
        codec_of(tail.record.output),
        run_tail if local else None,
    )
    client = Client(ends, *server, deadline_s=deadline_s, tls=tls)
    outcomes: list[Outcome | None] = []
    same: list[bool] = []
    try:
        for codes in _heads(bundle, dataset, most):
            outcome = None if codes is None else client.infer(codes)
            outcomes.append(outcome)
            if codes is not None and outcome is not None:
                same.append(np.array_equal(outcome.codes, run_tail(codes[None])[0]))
            if len(outcomes) % 100 == 0:
                say(f"{len(outcomes)} frames")
    finally:
        client.close()
    return _inferred(outcomes, same, tail.graph, dataset)


def _runner(graph: Graph) -> Callable[[Array], Array]:
    program = lower(graph)
    return lambda codes: run(program, codes, fast_dot)[program.output]


def _heads(bundle: Bundle, dataset: Dataset, most: int | None) -> Iterator[Array | None]:
    """Yield what crosses the link for each image; None where a filter dropped it."""
    images, head, first = dataset.x_test[:most], open_head(bundle), bundle.parts[0].graph
    for start in range(0, len(images), BATCH):
        x = inputs_of(first, dataset, images[start : start + BATCH])
        made = head(quantise_input(first.quant(first.input), x))
        yield from (codes if sent else None for codes, sent in zip(made.codes, made.sent, strict=True))


def _inferred(outcomes: list[Outcome | None], same: list[bool], tail: Graph, dataset: Dataset) -> Inferred:
    if not outcomes:
        raise EdgeError(f"data '{dataset.name}' has no test image.")
    tally, answered = Tally(), [(index, outcome) for index, outcome in enumerate(outcomes) if outcome is not None]
    for _, outcome in answered:
        tally.add(outcome)
    times = [outcome.latency_s for _, outcome in answered if outcome.answered_by == "server"]
    return Inferred(
        frames=len(outcomes),
        dropped=len(outcomes) - len(answered),
        by_server=tally.by_server,
        by_local=tally.frames - tally.by_server,
        accuracy=_accuracy(answered, tail, dataset) if answered else None,
        agreement=float(np.mean(same)) if same else None,
        sent_bytes_per_frame=tally.sent_bytes / len(outcomes),
        server_latency_s=statistics.median(times) if times else None,
        reasons=tally.reasons,
    )


def _accuracy(answered: list[tuple[int, Outcome]], tail: Graph, dataset: Dataset) -> float:
    codes = np.stack([outcome.codes for _, outcome in answered])
    return float((code_labels(tail, codes) == dataset.y_test[[index for index, _ in answered]]).mean())
