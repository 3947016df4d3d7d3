"""Parts of a bundle in the emulated arm64 system: codes in and out, and instructions of an inference."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from devices import tools
from devices.emulators import icount
from devices.errors import DeviceError
from devices.pi.cores import Core
from devices.pi.system import PAIRS, Guest, counter_options, execute, missing, runtime_name
from export.runtimes.session import Runtime
from export.runtimes.tflite_part import node_outputs, read_part, run_batch
from export.tflite_flat import with_outputs
from export.tflite_layout import to_file
from quant.formats import Array
from quant.graph import Graph
from quant.reference import dequantise, quantise_input


@dataclass(frozen=True, eq=False)
class PiSession:
    """One part in one runtime on one core; see `export.runtimes.session.Session`. Each call starts the system anew."""

    guest: Guest
    core: Core
    folder: Path
    name: str
    graph: Graph

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch."""
        if self.guest.suffix != ".tflite":
            (found,) = self._execute(self._model, self._real(codes))
            return quantise_input(self.graph.quant(self.graph.output), found.reshape(len(codes), *found.shape[2:]))
        return self._lite(self._model, codes, (self.graph.output,))[0]

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes of every tensor of a `.tflite` part, of the output only where a file hides the others."""
        if self.guest.suffix != ".tflite":
            return {self.graph.output: self.run(codes)}
        names = node_outputs(self.graph)
        with tempfile.TemporaryDirectory(prefix="edgemill-") as work:
            shown = Path(work) / "shown.tflite"
            shown.write_bytes(with_outputs(read_part(self.folder, self.name), names))
            values = self._lite(shown, codes, names)
        return {self.graph.input: codes, **dict(zip(names, values, strict=True))}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Raise DeviceError: how long an emulator takes says nothing about a device."""
        raise DeviceError(f"{self.core.name} is emulated, and emulated time is not time; it counts instructions.")

    def instructions(self, codes: Array) -> tuple[int, ...]:
        """Return the instructions of each inference of a batch.

        Counted: the runtime's call of one inference from Python. With ONNX Runtime and OpenVINO that includes passing
        the float32 input and making the output array; with LiteRT and tflite-runtime the input is in place before.
        """
        icount.check_version(tools.QEMU_AARCH64.name, icount.qemu_version(tools.QEMU_AARCH64))
        images = self._real(codes) if self.guest.suffix != ".tflite" else self._stored(codes)
        with tempfile.TemporaryDirectory(prefix="edgemill-") as work:
            report = Path(work) / "icount.txt"
            self._execute(self._model, images, counter_options(report))
            counts = icount.per_inference(icount.read(report))
        if len(counts) != len(codes):
            raise DeviceError(f"{self.core.name}: {len(counts)} counts for {len(codes)} inferences.")
        return counts

    def close(self) -> None:
        """Nothing to do: nothing is left running."""

    @property
    def _model(self) -> Path:
        return self.folder / f"{self.name}{self.guest.suffix}"

    def _real(self, codes: Array) -> Array:
        shape = self.graph.shape(self.graph.input)
        if codes.shape[1:] != shape[1:] or not len(codes):
            raise DeviceError(f"input codes have shape {codes.shape}; the part takes [N, {str(shape[1:])[1:-1]}].")
        return dequantise(self.graph.quant(self.graph.input), codes)

    def _stored(self, codes: Array) -> Array:
        return to_file(codes, self.graph.quant(self.graph.input).format)

    def _lite(self, model: Path, codes: Array, names: tuple[str, ...]) -> list[Array]:
        rows = iter(zip(*self._execute(model, self._stored(codes)), strict=True))
        return run_batch(self.graph, codes, lambda image: list(next(rows)), names)

    def _execute(self, model: Path, images: Array, options: str | None = None) -> list[Array]:
        """Return each output of the model for every image, [N, 1, ...]."""
        if not model.is_file():
            raise DeviceError(f"{model} is not there; export '{self.name}' to {self.guest.target} first.")
        with tempfile.TemporaryDirectory(prefix="edgemill-") as work:
            given, made = Path(work) / "inputs.npy", Path(work) / "outputs.npz"
            np.save(given, images)
            execute(self.guest, self.core, (model, given, made), options=options)
            return _read(made, self.guest)


def _read(path: Path, guest: Guest) -> list[Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return [found[str(i)] for i in range(len(found.files))]
    except (OSError, LookupError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DeviceError(f"{guest.name} wrote no readable outputs: {error}.") from error


def open_session(guest: Guest, core: Core, folder: Path, name: str, graph: Graph) -> PiSession:
    """Open a part on a core.

    Raises:
        DeviceError: the runtime is not set up.
    """
    reason = missing(guest, core)
    if reason:
        raise DeviceError(f"{reason}.")
    return PiSession(guest, core, folder.resolve(), name, graph)


def runtime_of(guest: Guest, core: Core) -> Runtime:
    """Return a runtime on a core."""
    return Runtime(
        runtime_name(guest, core),
        guest.target,
        False,
        partial(missing, guest, core),
        partial(open_session, guest, core),
    )


def find_pair(name: str) -> tuple[Guest, Core]:
    """Return runtime and core of a runtime's name."""
    return next(pair for pair in PAIRS if runtime_name(*pair) == name)


#: Not in `devices.runtimes.RUNTIMES`: starting a runtime takes seconds, so they verify when asked for by name.
RUNTIMES: tuple[Runtime, ...] = tuple(runtime_of(guest, core) for guest, core in PAIRS)
