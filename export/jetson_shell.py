"""The shell scripts of a Jetson part: build.sh, run.sh and profile.sh, POSIX sh, to be run on the board.

build.sh builds an engine once: it is kept with a key of everything that it depends on, and built again when one of
them changes (the ONNX file, the TensorRT version, the chip, the flags). The power mode is no part of the key.
"""

from __future__ import annotations

from export.jetson_profiles import Profile
from export.jetson_script import build_flags, profile_flags, run_flags

#: TRTEXEC, else the one on PATH, else where JetPack puts it.
_TOOL = """TRTEXEC="${TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}"
if ! command -v "$TRTEXEC" >/dev/null 2>&1; then
  echo "$0: no trtexec at $TRTEXEC; install JetPack's TensorRT, or set TRTEXEC to the full path of trtexec." >&2
  exit 2
fi"""
_ON_DLA = """DLA_CORE="${DLA_CORE:-}"
case "$DLA_CORE" in
  *[!0-9]*) echo "$0: DLA_CORE is the number of a DLA core, not '$DLA_CORE'." >&2; exit 2 ;;
esac"""
_DLA_COMMENTS = (
    "With DLA_CORE=0 it builds for DLA core 0, and for the GPU what the DLA cannot;",
    "run.sh, profile.sh and selftest.py want the same DLA_CORE then.",
)
_NO_DLA = """if [ -n "${DLA_CORE:-}" ]; then
  echo "$0: DLA_CORE is set, but this board has no DLA that its TensorRT drives." >&2
  exit 2
fi
DLA_CORE="""
#: trtexec prints its version first, whatever it is asked. Without a device tree the machine's own name stands in.
_KEY = """BANNER='s/.*TensorRT.trtexec \\(\\[TensorRT v[0-9.]*\\]\\).*/\\1/p'
VERSION="$("$TRTEXEC" --help 2>&1 | sed -n "$BANNER" | head -n 1)"
CHIP="$(tr '\\0' ' ' 2>/dev/null </proc/device-tree/compatible || uname -nm)"
KEY="onnx $(sha256sum {name}.onnx | cut -d ' ' -f 1)
tensorrt $VERSION
chip $CHIP compute {compute}
flags {flags} $DLA_CORE"
if [ -n "$VERSION" ] && [ -f {name}.plan ] && [ "$(cat {name}.plan.key 2>/dev/null)" = "$KEY" ]; then
  echo "{name}.plan fits this ONNX file, $VERSION, this chip and these flags; it is not built again."
  exit 0
fi
rm -f {name}.plan {name}.plan.key"""
_KEEP = """printf '%s\\n' "$KEY" >{name}.plan.key"""


def build_script(profile: Profile, name: str) -> str:
    """Return `build.sh`."""
    flags = build_flags(profile, name)
    key = _KEY.format(name=name, compute=profile.compute, flags=" ".join(flags))
    return _script(
        (
            f"Builds {name}.plan on the board, unless one is there that fits. {_board(profile)}.",
            "An engine fits one GPU and one TensorRT version; the timing cache makes the next build faster.",
            *(_DLA_COMMENTS if profile.dla else ()),
        ),
        _TOOL,
        _ON_DLA if profile.dla else _NO_DLA,
        key,
        _call(flags, "${DLA_CORE:+--useDLACore=$DLA_CORE --allowGPUFallback}"),
        _KEEP.format(name=name),
    )


def run_script(profile: Profile, name: str, *, duration_s: int = 10, warmup_ms: int = 500) -> str:
    """Return `run.sh`, which infers for so many seconds behind so many milliseconds of warm-up."""
    return _script(
        (
            f"Times {name}.plan on the board. {_board(profile)}.",
            f"Latency includes data transfers. Every sample goes to {name}.times.json.",
        ),
        *_run(profile, run_flags(profile, name, duration_s=duration_s, warmup_ms=warmup_ms)),
    )


def profile_script(profile: Profile, name: str) -> str:
    """Return `profile.sh`."""
    return _script(
        (
            f"Times each layer of {name}.plan on the board. {_board(profile)}.",
            f"The profiler waits behind every layer: their sum exceeds the latency. Goes to {name}.profile.json.",
        ),
        *_run(profile, profile_flags(profile, name)),
    )


def _board(profile: Profile) -> str:
    return f"{profile.board}, JetPack {profile.jetpack}, TensorRT {profile.tensorrt}"


def _run(profile: Profile, flags: tuple[str, ...]) -> tuple[str, ...]:
    """An engine for a DLA core is loaded for that core."""
    return _TOOL, _ON_DLA if profile.dla else _NO_DLA, _call(flags, "${DLA_CORE:+--useDLACore=$DLA_CORE}")


def _call(flags: tuple[str, ...], more: str = "") -> str:
    return " \\\n  ".join(('"$TRTEXEC"', *flags, *((more,) if more else ())))


def _script(comments: tuple[str, ...], *steps: str) -> str:
    head = ("#!/bin/sh", *(f"# {comment}" for comment in comments), "set -eu", 'cd "$(dirname "$0")"')
    return "\n".join((*head, *steps)) + "\n"
