"""tegrastats: every form of its lines, and its process."""

from __future__ import annotations

import doctest
import time
from pathlib import Path

import numpy as np
import pytest

from devices.meters import lpm01a_lines, tegrastats, tegrastats_line
from devices.meters.tegrastats import Tegrastats
from devices.meters.tegrastats_line import parse

HEAD = "RAM 1900/7620MB (lfb 4x2MB) SWAP 0/3810MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "

#: Board, a line in its form, and what it says: rails in W, temperatures, load and clocks of the GPU.
LINES = {
    "Nano": (
        HEAD + "CPU [3%@729,off,off,0%@729] EMC_FREQ 0% GR3D_FREQ 0%@76 APE 25 PLL@26C CPU@28C PMIC@100C GPU@27C "
        "AO@34.5C thermal@27.5C POM_5V_IN 1871/1902 POM_5V_GPU 0/0 POM_5V_CPU 285/301",
        {"POM_5V_IN": 1.871, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.285},
        {"CPU": 28.0, "GPU": 27.0},
        (0.0, (76e6,)),
    ),
    "TX2": (
        HEAD + "CPU [0%@345,off,off,1%@345] BCPU@30C MCPU@30C GPU@28C PLL@30C Tboard@27C VDD_IN 1400/1390 "
        "VDD_CPU 229/200 VDD_GPU 0/10 VDD_SOC 381/381 VDD_WIFI 0/0 VDD_DDR 172/170",
        {"VDD_IN": 1.4, "VDD_CPU": 0.229, "VDD_GPU": 0.0, "VDD_SOC": 0.381, "VDD_WIFI": 0.0, "VDD_DDR": 0.172},
        {"BCPU": 30.0, "MCPU": 30.0},
        (None, ()),
    ),
    "AGX Xavier, JetPack 4": (
        HEAD + "CPU [2%@1190] GR3D_FREQ 12%@318 AO@27C GPU@-256C CPU@28C GPU 1100/1090 CPU 380/380 SOC 950/951 "
        "CV 0/0 VDDRQ 152/150 SYS5V 1340/1345",
        {"GPU": 1.1, "CPU": 0.38, "SOC": 0.95, "CV": 0.0, "VDDRQ": 0.152, "SYS5V": 1.34},
        {"CPU": 28.0, "AO": 27.0},
        (0.12, (318e6,)),
    ),
    "AGX Orin, JetPack 5": (
        "03-22-2023 10:00:01 " + HEAD + "CPU [1%@729] GR3D_FREQ 12%@[1300,1300] cv0@-256C Tboard@33C "
        "VDD_GPU_SOC 2400mW/2390mW VDD_CPU_CV 400mW/401mW VIN_SYS_5V0 3200mW/3200mW NC 0mW/0mW "
        "VDDQ_VDD2_1V8AO 510mW/512mW NC 0mW/0mW",
        {"VDD_GPU_SOC": 2.4, "VDD_CPU_CV": 0.4, "VIN_SYS_5V0": 3.2, "VDDQ_VDD2_1V8AO": 0.51},
        {"Tboard": 33.0},
        (0.12, (1300e6, 1300e6)),
    ),
    "Orin Nano": (
        "03-22-2024 10:00:01 " + HEAD + "CPU [1%@729] NVENC0 off GR3D_FREQ 0%@305 cpu@41.2C VDD_IN 4790mW/4790mW "
        "VDD_CPU_GPU_CV 511mW/511mW VDD_SOC 1432mW/1432mW",
        {"VDD_IN": 4.79, "VDD_CPU_GPU_CV": 0.511, "VDD_SOC": 1.432},
        {"cpu": 41.2},
        (0.0, (305e6,)),
    ),
    "AGX Orin, JetPack 7.2": (
        "03-22-2026 10:00:01 " + HEAD + "GR3D_FREQ 3%@[1300,1300] cpu@52.9C/53.0C gpu@50.1C/50.2C "
        "VDD_GPU_SOC 5100mW/5120mW/5140mW VDD_CPU_CV 800mW/810mW/820mW",
        {"VDD_GPU_SOC": 5.1, "VDD_CPU_CV": 0.8},
        {"cpu": 52.9, "gpu": 50.1},
        (0.03, (1300e6, 1300e6)),
    ),
    "Thor": (
        "03-22-2026 10:00:01 " + HEAD + "GR3D_FREQ @[1000,1000,1000] cpu@52.9C VIN 20100mW/20000mW",
        {"VIN": 20.1},
        {"cpu": 52.9},
        (None, (1000e6, 1000e6, 1000e6)),
    ),
}


@pytest.mark.parametrize("board", LINES)
def test_every_form_of_tegrastats(board: str) -> None:
    line, power, temperatures, (load, clocks) = LINES[board]
    for ending in ("", "\n", "\r\n"):
        found = parse(line + ending)
        assert dict(found.power_w) == pytest.approx(power)
        assert [name for name, _ in found.power_w] == list(power)
        assert temperatures.items() <= dict(found.temperature_c).items()
        assert (found.gpu_load, found.gpu_hz) == (load, clocks)
    assert min(dict(found.temperature_c).values()) > -50


def test_a_line_of_another_program_says_nothing() -> None:
    assert parse("bash: tegrastats: command not found") == tegrastats_line.Stats((), (), None, ())


def test_the_examples_of_the_lines_come_out_as_written() -> None:
    for module in (tegrastats_line, lpm01a_lines):
        result = doctest.testmod(module)
        assert result.attempted
        assert result.failed == 0


def test_tegrastats_without_rails_says_what_may_help(tmp_path: Path) -> None:
    script = tmp_path / "tegrastats"
    script.write_text("#!/bin/sh\nwhile :; do echo 'RAM 1/2MB CPU [1%@729]'; sleep 0.1; done\n")
    script.chmod(0o755)
    found = Tegrastats(start=lambda argv: tegrastats.start((str(script), *argv[1:]))).probe()
    assert not found.available
    assert "may need sudo" in found.detail


def test_tegrastats_from_a_real_process(tmp_path: Path) -> None:
    script = tmp_path / "tegrastats"
    script.write_text('#!/bin/sh\ni=0\nwhile :; do i=$((i+1)); echo "VDD_IN $((4000+i))mW/4000mW"; done\n')
    script.chmod(0o755)
    meter = Tegrastats(start=lambda argv: tegrastats.start((str(script), *argv[1:])))
    with meter.record() as recording:
        for _ in range(1000):
            if len(recording.rows) >= 50:
                break
            time.sleep(0.01)
    trace = recording.trace()
    assert trace.channel == "VDD_IN"
    assert np.all(np.diff(trace.values) > 0)
