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
from edge.serve.tail import digest_of, local_of, tail_of
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

    `dropped` frames were empty to a filter: nothing was sent or answered. `by_local` frames were answered on the device
    by the part `local_part`; it was sure of `settled` ones, for which the server was not asked. `accuracy` and
    `agreement`, the share of answers that are those of the bundle run in one place, speak of the answered ones; None
    where there are none. Times are medians over the frames that the server answered, from the head's codes to the
    answer; None where it answered none. Bytes are per frame, dropped ones included.
    """

    frames: int
    dropped: int
    by_server: int
    by_local: int
    settled: int
    local_part: str | None
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
        path: a bundle with a head and a tail; filters and a small local tail may stand before the link.
        server: host and port.
        dataset: its test images.
        deadline_s: how long a frame waits for the server.
        local: whether the bundle's local tail, else its tail, answers here what the server does not.
        entropy: how requests are compressed.
        tls: for an encrypted connection.
        most: only so many images.
        say: told how far it is.

    Raises:
        EdgeError: the bundle is not split, the data does not fit, or a frame got no answer.
    """
    bundle = read_bundle(path)
    tail, here = tail_of(bundle), local_of(bundle)
    run_tail, run_here = _runner(tail.graph), _runner(here.graph)
    ends = Ends(
        digest_of(bundle),
        codec_of(tail.record.input, entropy),
        codec_of(tail.record.output),
        run_here if local else None,
    )
    client = Client(ends, *server, deadline_s=deadline_s, tls=tls)
    answers: list[Answer | None] = []
    try:
        for frame in _heads(bundle, dataset, most):
            if isinstance(frame, Answer) or frame is None:
                answers.append(frame)
            else:
                outcome = client.infer(frame)
                part = tail if outcome.answered_by == "server" else here
                # Another tail than the bundle's own is another network, whatever its codes.
                same = part is tail and np.array_equal(outcome.codes, run_tail(frame[None])[0])
                answers.append(Answer(outcome, _label(part.graph, outcome.codes), same))
            if len(answers) % 100 == 0:
                say(f"{len(answers)} frames")
    finally:
        client.close()
    return _inferred(answers, here.name if local or here is not tail else None, dataset)


@dataclass(frozen=True, eq=False)
class Answer:
    """A frame's outcome and label, whether that is what the bundle says in one place, and whether nobody was asked."""

    outcome: Outcome
    label: int
    same: bool
    settled: bool = False


def _label(graph: Graph, codes: Array) -> int:
    return int(code_labels(graph, codes[None])[0])


def _runner(graph: Graph) -> Callable[[Array], Array]:
    program = lower(graph)
    return lambda codes: run(program, codes, fast_dot)[program.output]


def _heads(bundle: Bundle, dataset: Dataset, most: int | None) -> Iterator[Array | Answer | None]:
    """Yield what crosses the link for each image, the local tail's answer where it was sure, None for dropped ones."""
    images, head, first = dataset.x_test[:most], open_head(bundle), bundle.parts[0].graph
    graph = local_of(bundle).graph
    for start in range(0, len(images), BATCH):
        x = inputs_of(first, dataset, images[start : start + BATCH])
        made = head(quantise_input(first.quant(first.input), x))
        for index, codes in enumerate(made.codes):
            if made.answers is not None and made.settled[index]:
                own = made.answers[index]
                yield Answer(Outcome(own, "local", "", 0, 0.0), _label(graph, own), same=True, settled=True)
            else:
                yield codes if made.sent[index] else None


def _inferred(answers: list[Answer | None], local_part: str | None, dataset: Dataset) -> Inferred:
    if not answers:
        raise EdgeError(f"data '{dataset.name}' has no test image.")
    tally, answered = Tally(), [(index, answer) for index, answer in enumerate(answers) if answer is not None]
    for _, answer in answered:
        tally.add(answer.outcome)
    times = [answer.outcome.latency_s for _, answer in answered if answer.outcome.answered_by == "server"]
    right = [answer.label == dataset.y_test[index] for index, answer in answered]
    return Inferred(
        frames=len(answers),
        dropped=len(answers) - len(answered),
        by_server=tally.by_server,
        by_local=tally.frames - tally.by_server,
        settled=sum(answer.settled for _, answer in answered),
        local_part=local_part,
        accuracy=float(np.mean(right)) if right else None,
        agreement=float(np.mean([answer.same for _, answer in answered])) if answered else None,
        sent_bytes_per_frame=tally.sent_bytes / len(answers),
        server_latency_s=statistics.median(times) if times else None,
        reasons=tally.reasons,
    )
