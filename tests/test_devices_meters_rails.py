"""Rails of boards: which are found, which are skipped, and which make up the total."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from devices.meters import ina, rails
from devices.meters.supply import supply
from tests import meter_trees as trees


def names(root: Path) -> list[str]:
    return [rail.name for rail in rails.rails(root)]


def powers(root: Path) -> dict[str, float]:
    found = rails.rails(root)
    return dict(zip(names(root), rails.reader(root, found, Path.read_text)(), strict=True))


def test_every_chip_of_an_agx_orin_without_unconnected_channels(tmp_path: Path) -> None:
    root = trees.write(tmp_path, trees.AGX_ORIN)
    assert names(root) == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]
    assert powers(root) == pytest.approx(
        {"VDD_GPU_SOC": 4.8, "VDD_CPU_CV": 1.2, "VIN_SYS_5V0": 4.5, "VDDQ_VDD2_1V8AO": 0.54}
    )
    assert {rail.chip for rail in rails.rails(root)} == {"1-0040", "1-0041"}
    assert rails.total_names(tuple(names(root))) == tuple(names(root))  # nothing holds everything: all, and listed
    notes = ina.ina3221(root).probe().detail
    assert "the total is VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 + VDDQ_VDD2_1V8AO" in notes


def test_the_sum_of_shunt_voltages_and_the_sum_of_currents_are_no_rails(tmp_path: Path) -> None:
    found = rails.rails(trees.write(tmp_path, trees.ORIN_NANO))
    paths = [path for rail in found for path in rail.paths]
    assert len(paths) == 6
    assert not any("in7" in path or "curr4" in path for path in paths)


@pytest.mark.parametrize(("tree", "whole"), [(trees.ORIN_NANO, "VDD_IN"), (trees.NANO, "POM_5V_IN")])
def test_the_rail_that_holds_everything_is_the_total(tree: dict[str, object], whole: str, tmp_path: Path) -> None:
    root = trees.write(tmp_path, tree)
    assert len(names(root)) == 3
    assert rails.total_names(tuple(names(root))) == (whole,)
    with ina.ina3221(root).record() as recording:
        pass
    assert recording.trace().rails == (whole,)
    assert {trace.channel for trace in recording.rails()} == set(names(root))


def test_the_iio_form_of_jetpack_4(tmp_path: Path) -> None:
    root = trees.write(tmp_path, trees.NANO)
    assert powers(root) == pytest.approx({"POM_5V_IN": 2.5, "POM_5V_GPU": 0.2, "POM_5V_CPU": 1.0})
    assert rails.rails(root)[0].paths == ("sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input",)
    for n in (0, 1, 2):  # some drivers have no power files
        (root / f"sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power{n}_input").unlink()
    assert powers(root)["POM_5V_IN"] == pytest.approx(2.5)


def test_folders_that_are_links_are_followed(tmp_path: Path) -> None:
    """In a real /sys the driver's entry is a link to the device."""
    home = trees.write(tmp_path / "devices", trees.ORIN_NANO) / "sys/bus/i2c/drivers/ina3221/1-0040"
    driver = tmp_path / "root/sys/bus/i2c/drivers/ina3221"
    driver.mkdir(parents=True)
    (driver / "1-0040").symlink_to(home)
    assert names(tmp_path / "root") == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]


def test_a_copy_of_a_tree_names_the_boards_own_files(tmp_path: Path) -> None:
    """Patterns reach every file that is looked at; paths are relative, so that a runner on the board can use them."""
    root, copy = trees.write(tmp_path / "board", {**trees.AGX_ORIN, **trees.INA226}), tmp_path / "copy"
    for pattern in rails.sysfs_files():
        for file in root.glob(pattern):
            target = copy / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    assert rails.rails(copy) == rails.rails(root)
    assert rails.ina2xx_rails(copy) == rails.ina2xx_rails(root)
    assert all(not path.startswith("/") for rail in rails.rails(copy) for path in rail.paths)


def test_rails_by_name_make_up_the_total_instead(tmp_path: Path) -> None:
    root = trees.write(tmp_path, trees.AGX_ORIN)
    assert "the total is VDD_CPU_CV" in ina.ina3221(root, "VDD_CPU_CV").probe().detail
    lost = ina.ina3221(root, "VDD_CPU_CV,VDD_DLA").probe()
    assert not lost.available
    assert "there is no rail VDD_DLA; there are VDD_GPU_SOC" in lost.detail


def test_one_ina226_is_the_total_and_two_have_to_be_chosen_from(tmp_path: Path) -> None:
    root = trees.write(tmp_path, trees.INA226)
    assert powers(root) == pytest.approx({"hwmon3": 3.5})
    assert ina.ina2xx(root).probe().available
    second = {path.replace("hwmon3", "hwmon4"): value for path, value in trees.INA226.items()}
    trees.write(tmp_path, second)
    refused = ina.ina2xx(root).probe()
    assert not refused.available
    assert "ina2xx:hwmon3" in refused.detail
    assert ina.ina2xx(root, "hwmon4").probe().available


def test_another_sensor_of_hwmon_is_no_meter(tmp_path: Path) -> None:
    root = trees.write(tmp_path, {"sys/class/hwmon/hwmon0/name": "acpitz", "sys/class/hwmon/hwmon0/power1_input": 1})
    assert not ina.ina2xx(root).probe().available


def test_resolution_follows_from_the_shunt(tmp_path: Path) -> None:
    """5 mOhm: 8 mA a step, 40 mW at 5 V; the voltage's 8 mV add 8 mW at 1 A."""
    found = rails.rails(trees.write(tmp_path, trees.ORIN_NANO))[0]
    assert found.shunt_ohm == pytest.approx(5e-3)
    assert found.lsb_w(5.0, 0.0) == pytest.approx(0.040)
    assert found.lsb_w(5.0, 1.0) == pytest.approx((0.040**2 + 0.008**2) ** 0.5)


def test_equal_names_on_two_chips_are_told_apart(tmp_path: Path) -> None:
    tree = trees.ina3221_hwmon("1-0040", {1: ("VDD", 5000, 100)}) | trees.ina3221_hwmon(
        "1-0041", {1: ("VDD", 5000, 200)}
    )
    assert names(trees.write(tmp_path, tree)) == ["1-0040/VDD", "1-0041/VDD"]


def test_a_supply_is_read_in_micro_units(tmp_path: Path) -> None:
    root = trees.write(tmp_path, trees.SUPPLY)
    assert "ucsi-source 12 W" in supply(root).probe().detail
    trees.write(root, {"sys/class/power_supply/ucsi-source/status": "Charging"})
    assert "is being charged" in supply(root).probe().detail


def test_a_battery_beside_it_has_to_be_chosen_from(tmp_path: Path) -> None:
    battery = {
        "sys/class/power_supply/BAT0/voltage_now": 12_000_000,
        "sys/class/power_supply/BAT0/current_now": -500_000,
    }
    root = trees.write(tmp_path, {**trees.SUPPLY, **battery})
    assert "name the one that feeds the board" in supply(root).probe().detail
    assert "BAT0 6 W" in supply(root, "BAT0").probe().detail
    assert "has no BAT1" in supply(root, "BAT1").probe().detail


def test_a_rail_that_goes_away_is_named(tmp_path: Path) -> None:
    root = trees.write(tmp_path, trees.ORIN_NANO)

    def read(path: Path) -> str:
        if path.name == "in2_input":
            raise OSError(errno.ENXIO, "No such device or address")
        return path.read_text()

    detail = ina.ina3221(root, read=read).probe().detail
    assert "hwmon1/in2_input cannot be read: No such device or address" in detail
