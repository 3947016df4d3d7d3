"""Which board a tree of files is of, and whether a part was written for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.errors import DeviceError
from devices.jetson.identity import CHIPS, JETPACKS, Identity, identify, jetpack_of, require_fit
from export.jetson_profiles import NANO, ORIN, ORIN_JETPACK5, ORIN_JETPACK60, PROFILES, THOR, XAVIER, Profile


def tree(root: Path, release: str, compatible: str, model: str = "NVIDIA Jetson") -> Path:
    """A board's files, with the NULs that the device tree has."""
    files = {
        "etc/nv_tegra_release": release,
        "proc/device-tree/compatible": compatible.replace(" ", "\0") + "\0",
        "proc/device-tree/model": f"{model}\0",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_an_orin_nano(tmp_path: Path) -> None:
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan 8 2025\n"
    words = "nvidia,p3768-0000+p3767-0005-super nvidia,p3767-0005 nvidia,tegra234"
    found = identify(tree(tmp_path, release, words, "NVIDIA Jetson Orin Nano Developer Kit"))
    assert found == Identity(
        l4t="36.4.3",
        jetpack="6.2",
        chip="tegra234",
        compute="8.7",
        module="Orin Nano 8 GB developer kit",
        model="NVIDIA Jetson Orin Nano Developer Kit",
    )
    require_fit(found, ORIN)


def test_a_nano(tmp_path: Path) -> None:
    release = "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64\n"
    found = identify(tree(tmp_path, release, "nvidia,p3449-0000-b00+p3448-0000-b00 nvidia,jetson-nano nvidia,tegra210"))
    assert (found.l4t, found.jetpack, found.compute, found.module) == ("32.7.1", "4.6.1", "5.3", "Nano")
    require_fit(found, NANO)


def test_a_machine_that_is_no_jetson_is_unknown_and_not_refused(tmp_path: Path) -> None:
    found = identify(tmp_path)
    assert found == Identity(None, None, None, None, None, None)
    for profile in PROFILES:
        require_fit(found, profile)


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("32.6.1", "4.6"),
        ("32.7.6", "4.6.6"),
        ("35.4.1", "5.1.2"),
        ("36.4.7", "6.2.1"),
        ("38.2.1", "7.0"),
        ("39.2.0", "7.2"),
        ("36.9.9", None),
        ("3", None),
    ],
)
def test_jetpacks(l4t: str, jetpack: str | None) -> None:
    assert jetpack_of(l4t) == jetpack


def test_every_profile_has_a_release_and_a_chip_of_the_tables() -> None:
    for profile in PROFILES:
        assert any(release.startswith(profile.l4t) for release, _ in JETPACKS), profile.target
        assert profile.compute in {compute for _, _, compute in CHIPS}


@pytest.mark.parametrize(
    ("l4t", "compute", "profile", "message"),
    [
        ("35.4.1", "8.7", ORIN, r"it has L4T 35\.4\.1 \(JetPack 5\.1\.2\), not 36.* target jetson-orin-jp5"),
        ("36.3.0", "8.7", ORIN, r"target jetson-orin-jp60\."),
        ("36.4.3", "8.7", ORIN_JETPACK60, r"Export for target jetson or jetson-fp16\."),
        ("32.7.1", "5.3", XAVIER, r"compute 5\.3\), not compute 7\.2\. Export for target jetson-nano"),
        ("38.2.0", "11.0", ORIN_JETPACK5, r"tegra264.* and it has L4T 38.* target jetson-thor"),
        ("40.1.0", "8.7", ORIN, "a JetPack that is not known here.*No target of this version fits"),
        (None, "8.7", THOR, r"compute 8\.7"),
    ],
)
def test_a_part_for_another_board_is_refused_with_the_target_that_fits(
    l4t: str | None, compute: str, profile: Profile, message: str
) -> None:
    chip = next(name for name, _, number in CHIPS if number == compute)
    found = Identity(l4t, jetpack_of(l4t) if l4t else None, chip, compute, None, None)
    with pytest.raises(DeviceError, match=message):
        require_fit(found, profile)
