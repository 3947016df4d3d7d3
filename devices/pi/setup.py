"""Makes the emulated arm64 system: Debian's Python for arm64, unpacked, and runtimes from their wheels.

    python -m devices.pi.setup [litert] [tflite-runtime] [onnxruntime] [openvino]

Everything goes into the user's cache folder, about 80 MB for the system and 70 to 160 MB for each runtime; nothing of
this machine is changed. Packages come from where apt and pip are set to look. A piece takes its place when it is
whole, a runtime when a model has run in it; what is there is left alone.
"""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from devices import tools
from devices.errors import DeviceError
from devices.pi.cores import CORES, PI5, system_files
from devices.pi.system import GUESTS, PYTHON, Guest, execute, home, site
from export.runtimes.tflite_part import TINY_INPUT, TINY_MODEL, TINY_OUTPUT

RELEASE = "bookworm"
PACKAGES = ("python3", "python3-minimal", "libstdc++6", "libgomp1", "zlib1g", "libc6", "libgcc-s1")
#: Folders of the unpacked system that every core sees; /proc and /sys are its own.
SHARED = ("usr", "lib", "bin", "sbin", "etc", "var")
#: Every tag that one of the wheels has: pip silently takes an old version when one is missing.
PLATFORMS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in (17, 27, 28, 31, 34, 35)))
ABIS = ("cp311", "abi3", "none")
_LIMIT_S = 1800.0
#: y = -x for one float, opset 17: ONNX Runtime and OpenVINO read it.
TINY_ONNX = base64.b64decode("CAgSADoyCgsKAXgSAXkiA05lZxIBdFoPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE=")


def set_up(guests: tuple[Guest, ...] = GUESTS, say: Callable[[str], None] = print) -> None:
    """Make what is not there yet.

    Args:
        guests: the runtimes that are wanted.
        say: told what is being done.

    Raises:
        DeviceError: a tool is missing, a download fails, or a runtime does not compute what it should.
    """
    tools.require([tools.MMDEBSTRAP, tools.QEMU_AARCH64])
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _place(folder / "root", _unpack, say, f"unpacking {RELEASE} for arm64")
        for core in CORES:
            _place(folder / core.name, partial(_core, system_files(core)), say, core.name)
        for guest in guests:
            _place(site(guest), partial(_install, guest), say, f"installing {guest.name}")
    except OSError as error:
        raise DeviceError(f"{folder} cannot be written: {error.strerror}. Set XDG_CACHE_HOME to another.") from error


def _place(path: Path, make: Callable[[Path], None], say: Callable[[str], None], what: str) -> None:
    """Make a folder under another name, and give it its own when it is whole."""
    if path.exists():
        say(f"{what}: is there")
        return
    say(f"{what} ...")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="making-") as work:
        made = Path(work) / path.name
        make(made)
        made.rename(path)


def _unpack(made: Path) -> None:
    argv = ["mmdebstrap", "--variant=extract", "--architectures=arm64", f"--include={','.join(PACKAGES)}"]
    tools.call([*argv, RELEASE, str(made), *_sources()], "unpacking the arm64 system", _LIMIT_S)
    if not (made / PYTHON).exists():
        raise DeviceError(f"the arm64 system holds no {PYTHON}; was another release than {RELEASE} unpacked?")


def _sources() -> list[str]:
    """Return where apt looks for packages on this machine, when it is of the same release."""
    try:
        same = f"VERSION_CODENAME={RELEASE}" in Path("/etc/os-release").read_text().splitlines()
    except OSError:
        same = False
    files = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d/debian.sources"))
    return [str(file) for file in files if same and file.is_file() and "deb" in file.read_text()]


def _core(files: dict[str, str], made: Path) -> None:
    """Make the system as one core shows it: the shared folders by link, /proc and /sys as files."""
    made.mkdir()
    for name in SHARED:
        (made / name).symlink_to(Path("..") / "root" / name)
    for path, text in files.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_text(text)


def _install(guest: Guest, made: Path) -> None:
    argv = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
    argv += ["--target", str(made), "--python-version", "3.11", "--implementation", "cp"]
    argv += [word for platform in PLATFORMS for word in ("--platform", f"{platform}_aarch64")]
    argv += [word for abi in ABIS for word in ("--abi", abi)]
    tools.call([*argv, *guest.packages], f"installing {guest.name} for arm64", _LIMIT_S)
    _prove(made, guest)


def _prove(made: Path, guest: Guest) -> None:
    """Run the smallest model: an import shows too little."""
    lite = guest.suffix == ".tflite"
    with tempfile.TemporaryDirectory(prefix="edgemill-") as work:
        folder = Path(work)
        for name in ("root", *(core.name for core in CORES)):
            (folder / name).symlink_to(home() / name)
        shutil.move(made, site(guest, folder))
        model, given, out = folder / f"tiny{guest.suffix}", folder / "in.npy", folder / "out.npz"
        model = model if lite else model.with_suffix(".onnx")
        model.write_bytes(TINY_MODEL if lite else TINY_ONNX)
        np.save(given, np.array([[TINY_INPUT]], np.int8) if lite else np.ones(1, np.float32))
        execute(guest, PI5, (model, given, out), folder=folder)
        with out.open("rb") as file, np.load(file, allow_pickle=False) as found:
            value = float(found["0"].ravel()[0])
        shutil.move(site(guest, folder), made)
    wanted = TINY_OUTPUT if lite else -1
    if value != wanted:
        raise DeviceError(f"{guest.name} for arm64 computes {value:g} where {wanted} is right; it is not installed.")


def main(words: list[str]) -> int:
    """Set up the runtimes that are named, all without a name; returns the exit code."""
    known = {guest.name: guest for guest in GUESTS}
    unknown = [word for word in words if word not in known]
    if unknown:
        print(f"unknown runtime '{unknown[0]}'; known are {', '.join(known)}.", file=sys.stderr)
        return 2
    try:
        set_up(tuple(known[word] for word in words) or GUESTS)
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
