"""Executable stand-ins for what a Jetson has: trtexec of a generation, nvpmodel and jetson_clocks that keep a state."""

from __future__ import annotations

import sys
from pathlib import Path

from export.jetson_profiles import Profile

FAKE = Path(__file__).with_name("fake_trtexec.py")
#: What each generation's banner says.
BANNERS = {"8.2": "v8201", "8.5": "v8502", "8.6": "v8602", "10": "v100300", "11": "v110100"}


def stand_in_trtexec(folder: Path, profile: Profile) -> Path:
    """Write `folder/trtexec`, which answers like the one of a board."""
    folder.mkdir(parents=True, exist_ok=True)
    words = (profile.generation, BANNERS[profile.generation], profile.compute)
    tool = folder / "trtexec"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} {" ".join(words)} -- "$@"\n')
    tool.chmod(0o755)
    return tool


_NVPMODEL = """#!/bin/sh
state="{state}/mode"
echo "nvpmodel $*" >> "{state}/calls"
case "$1" in
  -q)
    read -r mode < "$state"
    case "$mode" in 0) echo "NV Power Mode: MAXN" ;; *) echo "NV Power Mode: MODE_15W_6CORE" ;; esac
    echo "$mode" ;;
  -m)
    if test "$2" -gt 3; then echo "NVPM ERROR: Error in parsing: $2" >&2; exit 1; fi
    if test -f "{state}/stuck"; then echo "NVPM WARN: Reboot required" >&2; exit 0; fi
    echo "$2" > "$state" ;;
esac
"""
_JETSON_CLOCKS = """#!/bin/sh
echo "jetson_clocks $1" >> "{state}/calls"
case "$1" in
  --store) test -e "$2" && {{ echo "File $2 already exists" >&2; exit 1; }}; cp "{state}/clocks" "$2" ;;
  --restore) cp "$2" "{state}/clocks" ;;
  *) echo max > "{state}/clocks" ;;
esac
"""
_SUDO = """#!/bin/sh
test "$1" = -n && shift
exec "$@"
"""


def stand_in_power(folder: Path, mode: int = 2) -> Path:
    """Write nvpmodel, jetson_clocks and sudo into a folder; return where they keep their state."""
    state = folder / "state"
    state.mkdir(parents=True)
    (state / "mode").write_text(f"{mode}\n")
    (state / "clocks").write_text("dynamic\n")
    for name, text in (("nvpmodel", _NVPMODEL), ("jetson_clocks", _JETSON_CLOCKS), ("sudo", _SUDO)):
        (folder / name).write_text(text.format(state=state))
        (folder / name).chmod(0o755)
    return state


def state_of(state: Path) -> tuple[str, str]:
    """Return the power mode and the clocks that are set."""
    return (state / "mode").read_text().strip(), (state / "clocks").read_text().strip()
