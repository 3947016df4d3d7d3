"""Use a bundle from Python: `load(bundle).classify(image)` gives a label and scores.

The pre-processing that the bundle declares is applied. Importing this loads numpy and nothing heavier.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeError
from edge.image_input import raw_image
from export.bundle_read import Bundle, read_bundle
from export.dynamic import DROPPED, Answers, run_parts
from export.runtimes.session import Runtime, Session
from quant.formats import Array
from quant.program import Program, lower
from quant.reference import dequantise, fast_dot, quantise_input, run

#: What executes a bundle where nothing else does: numpy, exact, on every machine.
REFERENCE = "reference"
#: Images executed at once: bounds the memory of a batch.
BATCH = 32

Image = str | Path | Array


class Answer(NamedTuple):
    """The label with the greatest score, and the score of every label, float32 in the order of the labels.

    Where a filter dropped the input, `label` is None and scores are 0.
    """

    label: str | None
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """An opened bundle. `executed_by` is a runtime's name or "reference". Close it, or use it in a `with` block."""

    bundle: Bundle
    executed_by: str
    _sessions: tuple[Session, ...]
    _programs: tuple[Program, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores."""
        return self.bundle.manifest.labels

    def classify(self, image: Image) -> Answer:
        """Return label and scores of one image.

        Args:
            image: a file, or raw values [height, width, channels] ([height, width] where there is one channel) of the
                type the bundle declares: uint8 as a camera gives them.

        Raises:
            EdgeError: the file is no image, or type or shape are not the network's.
            ExportError: the size is another one and the bundle declares no resize.
        """
        return self.classify_all([image])[0]

    def classify_all(self, images: Iterable[Image]) -> list[Answer]:
        """Return label and scores of each image; see `classify`."""
        given = self.bundle.manifest.preprocess
        raw = [raw_image(given, image) for image in images]
        if not raw:
            return []
        groups = [np.stack(raw[at : at + BATCH]) for at in range(0, len(raw), BATCH)]
        return [answer for group in groups for answer in self._answers(group)]

    def close(self) -> None:
        """Free what the runtime holds."""
        for session in self._sessions:
            session.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _answers(self, raw: Array) -> list[Answer]:
        """Raw values [N, height, width, channels] to answers."""
        first = self._programs[0]
        shape = first.tensors[first.input].shape
        x = self.bundle.manifest.preprocess.input_for(raw.transpose(0, 3, 1, 2), shape)
        found = run_parts(self.bundle.manifest, self._run, quantise_input(first.quant(first.input), x))
        return [self._answer(found, row) for row in range(len(raw))]

    def _run(self, index: int, codes: Array) -> Array:
        """Run one part."""
        if self._sessions:
            return self._sessions[index].run(codes)
        program = self._programs[index]
        return run(program, codes, fast_dot)[program.output]

    def _answer(self, found: Answers, row: int) -> Answer:
        manifest, part = self.bundle.manifest, int(found.part[row])
        if part == DROPPED:
            return Answer(None, np.zeros(len(manifest.labels), np.float32))
        program = self._programs[part]
        values = dequantise(program.quant(program.output), found.outputs[part][row].reshape(1, -1))
        scores = softmax(values) if manifest.postprocess == "softmax" else values
        return Answer(manifest.labels[found.label[row]], scores[0])


def load(bundle: str | Path, runtime: str | None = None) -> Classifier:
    """Open a bundle of any target.

    Args:
        bundle: its folder; every byte is checked.
        runtime: what executes it: a runtime's name, "reference" for the integer reference, or None for the first
            runtime that works here and is no emulator or simulator, else the reference.

    Raises:
        ExportError: the bundle is not intact.
        EdgeError: the runtime is for another target, or does not work here; says why.
        DeviceError: there is no runtime of this name.
    """
    read = read_bundle(Path(bundle))
    chosen = _chosen(read, runtime)
    programs = tuple(lower(part.graph) for part in read.parts)
    if chosen is None:
        return Classifier(read, REFERENCE, (), programs)
    sessions = tuple(chosen.open(part.folder, part.stem, part.graph) for part in read.parts)
    return Classifier(read, chosen.name, sessions, programs)


def softmax(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Turn logits [N, labels] into probabilities, float32."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    made: npt.NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return made


def _chosen(bundle: Bundle, name: str | None) -> Runtime | None:
    from devices.runtimes import find_runtime, runtimes_for

    target = bundle.manifest.target
    if name == REFERENCE:
        return None
    if name is None:
        here = (runtime for runtime in runtimes_for(target) if runtime.name not in _simulated())
        return next((runtime for runtime in here if runtime.missing() is None), None)
    runtime = find_runtime(name)
    if runtime.target != target:
        names = ", ".join((REFERENCE, *(known.name for known in runtimes_for(target))))
        raise EdgeError(
            f"runtime '{name}' executes bundles for {runtime.target}; {bundle.path} is for {target}: {names}."
        )
    reason = runtime.missing()
    if reason is not None:
        raise EdgeError(f"runtime '{name}' does not work here: {reason}. The runtime '{REFERENCE}' always does.")
    return runtime


def _simulated() -> frozenset[str]:
    """Runtimes that emulate another machine: exact, and too slow to answer questions."""
    from devices.emulators import emulated
    from export.runtimes import verilator

    return frozenset(runtime.name for runtime in (*emulated.RUNTIMES, verilator.RUNTIME))
