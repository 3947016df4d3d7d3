"""What a Jetson is and has, asked over a link without running anything of a part."""

from __future__ import annotations

from devices.errors import DeviceError
from devices.jetson import power
from devices.jetson.identity import Identity, require_fit
from devices.jetson.trtexec_log import version_of
from devices.remote.job import Site
from devices.remote.link import Steady
from export.jetson_profiles import Profile
from export.jetson_selftest import DEFAULT_TOOL

#: Argument: trtexec, or `-` for the one on the PATH or where JetPack puts it. Writes its banner.
BANNER = f"""tool=$1
test "$tool" = - && tool=$(command -v trtexec || echo {DEFAULT_TOOL})
command -v "$tool" > /dev/null 2>&1 || {{ echo "no trtexec at $tool" >&2; exit 3; }}
"$tool" --help 2>&1 | sed -n 's/.*TensorRT.trtexec \\[TensorRT v\\([0-9.]*\\)\\].*/\\1/p' | head -n 1
"""


async def describe(steady: Steady, site: Site, profile: Profile, identity: Identity, tool: str | None) -> str:
    """Say in words what a board has: TensorRT, module, JetPack, power mode.

    Raises:
        DeviceError: it has no trtexec, another TensorRT than parts for it are written for, or is another board.
    """
    require_fit(identity, profile)
    answer = await steady.run(BANNER, (tool or "-",))
    number = answer.out.decode(errors="replace").strip()
    if answer.code != 0 or not number:
        why = answer.err.decode(errors="replace").strip() or "it names no version"
        raise DeviceError(f"{why[:200]}; install JetPack's TensorRT there, or give 'trtexec' in the inventory")
    version = version_of(number)
    if version.split(".")[0] != profile.tensorrt.split(".")[0]:
        raise DeviceError(f"it has TensorRT {version}; parts for {profile.target} are written for {profile.tensorrt}")
    mode, _ = await power.current_mode(steady, site.folder)
    pack = f"JetPack {identity.jetpack or 'unknown'} (L4T {identity.l4t})" if identity.l4t else None
    words = (f"TensorRT {version}", identity.module, pack, f"power mode {mode}" if mode else None)
    return ", ".join(word for word in words if word)
