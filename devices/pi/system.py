"""Where the arm64 system lies, which runtimes it has, and how a program in it is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devices import tools
from devices.emulators import icount
from devices.errors import DeviceError
from devices.pi.cores import CORES, Core

#: Part of the folder's name: a system made by another recipe is not taken for this one.
RECIPE = 1
GUEST = Path(__file__).with_name("guest.py")
PYTHON = "usr/bin/python3.11"
#: With a fixed hash seed dictionaries look alike in every run, and counts repeat exactly.
_STEADY = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
_LIMIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Guest:
    """A runtime in the system: the word its program knows it by, what it executes, the exact packages it is made of.

    `cannot` names a core it does not work on, and says why.
    """

    name: str
    target: str
    suffix: str
    packages: tuple[str, ...]
    cannot: tuple[tuple[str, str], ...] = ()


LITERT = Guest("litert", "arm-a", ".tflite", ("ai-edge-litert==2.3.0", "numpy==2.2.6"))
#: tflite-runtime needs numpy below 2: with numpy 2 it imports, and fails when a model is opened.
TFLITE = Guest("tflite-runtime", "arm-a", ".tflite", ("tflite-runtime==2.14.0", "numpy==1.26.4"))
ORT = Guest("onnxruntime", "host", ".onnx", ("onnxruntime==1.31.1", "numpy==2.2.6"))
OPENVINO = Guest(
    "openvino",
    "host",
    ".xml",
    ("openvino==2026.4.1", "numpy==2.2.6"),
    (("pi4", "it cannot be initialised on an emulated Cortex-A72"),),
)
GUESTS = (LITERT, TFLITE, ORT, OPENVINO)
#: Every runtime on every core that it works on.
PAIRS = tuple((guest, core) for core in CORES for guest in GUESTS if core.name not in dict(guest.cannot))


def runtime_name(guest: Guest, core: Core) -> str:
    """Return the name of a runtime, and of the board, such as `pi5-litert`."""
    return f"{core.name}-{guest.name}"


def home() -> Path:
    """Return the folder of the system, in the user's cache."""
    return tools.cache_folder() / f"pi-{RECIPE}"


def site(guest: Guest, folder: Path | None = None) -> Path:
    """Return the folder of a runtime's packages."""
    return (folder or home()) / f"site-{guest.name}"


def missing(guest: Guest, core: Core) -> str | None:
    """Return None when a runtime can be used on a core, else the reason and how to get it.

    A runtime's folder only takes its place after a model ran in it (see `devices.pi.setup`).
    """
    unfit = dict(guest.cannot).get(core.name)
    if unfit:
        return f"{guest.name} does not run on {core.name}: {unfit}; there is nothing to install"
    reason = tools.missing_tools([tools.QEMU_AARCH64])
    if reason:
        return reason
    if not ((home() / core.name / PYTHON).exists() and site(guest).is_dir()):
        return f"the emulated arm64 system has no {guest.name}; to install it: python -m devices.pi.setup {guest.name}"
    return None


def execute(
    guest: Guest,
    core: Core,
    arguments: tuple[Path, Path, Path],
    *,
    word: str = "",
    options: str | None = None,
    folder: Path | None = None,
) -> None:
    """Run the guest's program on a model.

    Args:
        guest: which runtime.
        core: on which processor.
        arguments: model, inputs and outputs, as absolute paths: files of this machine are seen by the system.
        word: the runtime's word when it is not its name, such as `litert-ref`.
        options: of the instruction counter, or None.
        folder: the system, when it is not the one in the cache.

    Raises:
        DeviceError: it died or took too long; the message holds the last line it wrote.
    """
    root = (folder or home()) / core.name
    plugin = ("-plugin", options) if options else ()
    values = {"PYTHONPATH": site(guest, folder), **_STEADY}
    environment = [word for name, value in values.items() for word in ("-E", f"{name}={value}")]
    program = (str(root / PYTHON), "-s", str(GUEST), word or guest.name, *map(str, arguments))
    argv = (tools.QEMU_AARCH64.name, "-cpu", core.cpu, "-L", str(root), *environment, *plugin, *program)
    what = f"{guest.name} on {core.name}"
    done = tools.run(argv, what, _LIMIT_S, arguments[2].parent)
    if done.code != 0:
        raise DeviceError(f"{what} {tools.ending(done.code)}: {_last(done.stderr)}")


def _last(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing to stderr."


def counter_options(report: Path) -> str:
    """Return the options of the instruction counter that find the guest's markers."""
    return f"{icount.escaped(icount.build())},mark={icount.MARK_SYSCALL},out={icount.escaped(report)}"
