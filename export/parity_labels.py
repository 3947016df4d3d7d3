"""Labels of codes, and the streams of a part that has more outputs than the codes of its network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.runtimes.session import Session, Streaming
from quant.formats import Array
from quant.graph import Graph, Quant


def labels_of(quant: Quant, codes: Array) -> Array:
    """Return the place of the first maximum of each frame of codes [N, ...], over all its values: [N]."""
    found: Array = quant.format.to_ordinals(codes).reshape(len(codes), -1).argmax(axis=1)
    return found


def stream_fault(graph: Graph, session: Session, codes: Array, reference: Mapping[str, Array]) -> str:
    """Return what is wrong with the streams of a part, empty where nothing is.

    Codes must be those of the reference; labels must be its arg max.
    """
    if not isinstance(session, Streaming):
        return ""
    for stream in session.beyond(codes):
        wanted = reference[stream.tensor]
        if stream.labels:
            wanted = labels_of(graph.quant(stream.tensor), wanted)
        if wanted.shape != stream.values.shape:
            return f"{stream.port} carried {stream.values.shape} values of '{stream.tensor}', not {wanted.shape}"
        places = np.argwhere(wanted != stream.values)
        if len(places):
            place, what = tuple(int(i) for i in places[0]), "labels" if stream.labels else "codes"
            return (
                f"{len(places)} of {wanted.size} {what} of '{stream.tensor}' on {stream.port} differ from the "
                f"reference: {int(stream.values[place])} instead of {int(wanted[place])} at {list(place)}"
            )
    return ""
