"""The device side in C on a pseudo-terminal: a bundle's own protocol and network, driven through a real serial port."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from devices.boards import HOST_C
from devices.dut.accuracy import accuracy, load_vectors
from devices.dut.driver import open_dut
from devices.dut.probe import probe_serial
from devices.dut.profile import profile_dut
from devices.dut.simulate import PROFILE, on_terminal, simulated
from devices.dut.windows import Rule, performance
from devices.errors import DeviceError
from devices.inventory import serial_boards
from devices.plan import plans
from devices.scenario import OFFLINE
from export.embed.packages import find_form, write_package
from quant.formats import find_format
from tests.embedded import STRICT, bundle, spec
from tests.house import ROOT

pytest.importorskip("serial", reason="pyserial is not installed")
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler 'gcc' here")


@pytest.mark.parametrize("act", ["int8", "int4", "int16", "e4m3", "e4m3fn"])
def test_every_answer_is_the_references(tmp_path, act):
    made = bundle(tmp_path / "b", spec(act=find_format(act)))
    vectors = load_vectors(made.parts[0].folder)
    with simulated(made) as address:
        dut = open_dut(f"{address}?baud=115200")
        assert dut.greet() == "toy"
        assert dut.profile() == (PROFILE, "toy")
        found = accuracy(dut, vectors)
        assert (found.exact, found.same_label, found.first) == (8, 8, None)
        assert found.labels > 1
        assert len({tuple(row) for row in vectors.outputs.tolist()}) > 1
        assert dut.stored(len(vectors.inputs[-1])) == vectors.inputs[-1]
        assert dut.results() == tuple(vectors.outputs[-1])
        dut.close()


def test_windows_and_refusals_of_the_firmware(tmp_path):
    made = bundle(tmp_path / "b", spec())
    vectors = load_vectors(made.parts[0].folder)
    with simulated(made) as address:
        dut = open_dut(address)
        dut.greet()
        with pytest.raises(DeviceError, match="No input is loaded"):
            dut.infer(1, 0)
        found = performance(dut, vectors.inputs, Rule(3, 0.02))
        assert len(found.windows) == 3 and all(window.elapsed_s >= 0.02 for window in found.windows)
        assert [list(window.results) for window in found.windows] == vectors.outputs[:3].tolist()
        assert 0 < found.median_s < 0.01
        for command, says in (
            ("db load 3", "This network takes 108 bytes"),
            ("db 00", "Announce the bytes"),
            ("infer 0 0", "infer takes a number"),
            ("infer 1 x", "infer takes a number"),
            ("db print 4 108", "offset within the input"),
            ("dance", "Unknown command"),
            ("db " + "0" * 90, "Command too long"),
        ):
            with pytest.raises(DeviceError, match=says):
                dut.ask(command)
        dut.ask(f"db load {len(vectors.inputs[0])}")
        for digits, says in (("0", "Insufficient"), ("0g", "Invalid hex")):
            with pytest.raises(DeviceError, match=says):
                dut.ask(f"db {digits}")
        dut.close()


def test_bytes_that_are_no_codes_are_refused(tmp_path):
    made = bundle(tmp_path / "b", spec(act=find_format("int4")))
    with simulated(made) as address:
        dut = open_dut(address)
        dut.greet()
        data = bytearray(load_vectors(made.parts[0].folder).inputs[0])
        data[7] = 0x70
        with pytest.raises(DeviceError, match="Element 7 is no code"):
            dut.load(bytes(data))
        dut.close()


def test_a_profile_says_what_it_is(tmp_path):
    made = bundle(tmp_path / "b", spec())
    (plan,) = plans(made, HOST_C, windows=5, window_s=0.02, images=4)
    said: list[str] = []
    with simulated(made) as address:
        profiled = profile_dut(plan, address, said.append)
    found = profiled.found
    assert profiled.conditions.cpu_model == "toy" and profiled.conditions.load_before is None
    assert found.method == "simulated"
    assert found.latency_s is not None and [len(window) for window in found.latency_s] == [1] * 5
    assert "5 windows of at least 0.02 s, not MLPerf Tiny's" in found.source
    assert dict(found.versions) == {"dut": "toy", "firmware": PROFILE, "model": "toy"}
    assert said[0].startswith("toy: firmware") and said[-1].startswith("window 5 of 5")


def test_a_device_with_another_network_is_refused(tmp_path):
    made, other = bundle(tmp_path / "b", spec()), bundle(tmp_path / "o", spec(seed=5))
    (plan,) = plans(other, HOST_C, windows=1, window_s=0.01, images=8)
    with simulated(made) as address, pytest.raises(DeviceError, match=r"another label|not the codes"):
        profile_dut(plan, address)


def test_a_device_that_goes_away(tmp_path):
    with simulated(bundle(tmp_path / "b", spec())) as address:
        dut = open_dut(address)
        dut.greet()
    with pytest.raises(DeviceError):
        dut.profile()
    dut.close()


@pytest.mark.parametrize("energy", [0, 1])
def test_the_package_compiles_strictly(tmp_path, energy):
    made = bundle(tmp_path / "b", spec())
    write_package(made, find_form("dut"), tmp_path / "dut")
    command = ["gcc", *STRICT, "-O2", f"-DTOY_DUT_ENERGY={energy}", "main.c", "toy_dut.c", "toy.c", "-o", "toy_dut"]
    subprocess.run(command, cwd=tmp_path / "dut", check=True)
    given = b"name%infer 1 0%timestamp%"
    done = subprocess.run([tmp_path / "dut" / "toy_dut"], input=given, capture_output=True, check=True)
    lines = done.stdout.decode().split("\r\n")
    assert lines[0] == f"m-timestamp-mode-{'energy' if energy else 'performance'}"
    assert lines[1:5] == ["m-init-done", "m-ready", "m-name-dut-[toy]", "m-ready"]
    assert any(line.startswith("m-lap-us-") for line in lines) == (not energy)


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc here")
def test_the_device_side_compiles_for_a_cortex_m(tmp_path):
    write_package(bundle(tmp_path / "b", spec()), find_form("dut"), tmp_path / "dut")
    command = ["arm-none-eabi-gcc", *STRICT, "-Os", "-mcpu=cortex-m4", "-mthumb", "-c", "toy_dut.c"]
    subprocess.run(command, cwd=tmp_path / "dut", check=True)


def test_the_command_line_of_the_simulated_device(tmp_path):
    made = bundle(tmp_path / "b", spec())
    command = [sys.executable, "-m", "devices.dut.simulate", str(made.path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        dut = open_dut(process.stdout.readline().strip())
        assert dut.greet() == "toy"
        dut.close()
        process.stdin.close()
        assert process.wait(30) == 0
    done = subprocess.run([*command[:-1], str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("Error: ")


def test_the_profile_command_on_a_serial_board(tmp_path):
    """By its address, and by the name that the inventory gives it."""
    made = bundle(tmp_path / "b", spec())
    lengths = ("--windows", "2", "--window-s", "0.02", "--images", "2", "--json")
    command = (sys.executable, "-c", "from edge.cli import main; main()", "profile", str(made.path), *lengths)
    with simulated(made) as address:
        inventory = tmp_path / "boards.toml"
        inventory.write_text(f'[boards.nucleo]\nuri = "{address}"\n')
        (probed,) = probe_serial(serial_boards(inventory))
        assert (probed.name, probed.usable) == ("nucleo", True)
        assert probed.detail == f"toy: firmware '{PROFILE}', model 'toy', built for performance mode"
        words = ("--board", address, "--board", "nucleo", "--boards", str(inventory))
        done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (probed,) = probe_serial(serial_boards(inventory))
    assert not probed.usable and "no such port" in probed.detail
    found = json.loads(done.stdout)
    assert [item["board"] for item in found] == [address, "nucleo"]
    for item in found:
        assert (item["method"], item["runtime"], len(item["latency_s"])) == ("simulated", "c-dut", 2)
        assert "energy mode needs a meter" in item["absent"]["energy"]
        assert item["conditions"]["cpu_model"] == "toy"


def test_other_scenarios_and_a_firmware_in_the_wrong_mode_are_refused(tmp_path):
    made = bundle(tmp_path / "b", spec())
    (plan,) = plans(made, HOST_C, windows=1, window_s=0.01, scenario=OFFLINE)
    with pytest.raises(DeviceError, match="only single-stream"):
        profile_dut(plan, "serial:///nowhere")
    write_package(made, find_form("dut"), tmp_path / "dut")
    command = ["gcc", "-std=c99", "-DTOY_DUT_ENERGY=1", "main.c", "toy_dut.c", "toy.c", "-o", "toy_dut"]
    subprocess.run(command, cwd=tmp_path / "dut", check=True)
    (plan,) = plans(made, HOST_C, windows=1, window_s=0.01)
    with on_terminal(tmp_path / "dut" / "toy_dut") as port, pytest.raises(DeviceError, match="built for energy mode"):
        profile_dut(plan, f"serial://{port}")


@pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))), reason="no arm-none-eabi-gcc or QEMU here"
)
@pytest.mark.parametrize("act", ["int8", "e4m3"])
def test_a_bare_cortex_m_with_a_uart_of_its_own(tmp_path, act):
    """The example's firmware: registers of a UART and a timer, no operating system, the reference's very codes."""
    made = bundle(tmp_path / "b", spec(act=find_format(act)))
    write_package(made, find_form("dut"), tmp_path / "dut")
    example = ROOT / "examples" / "dut_mps2"
    macros = ('-DNETWORK_DUT="toy_dut.h"', "-DNETWORK(x)=toy_dut_##x", '-DTOY_DUT_PROFILE="mps2, simulated"')
    build = ("arm-none-eabi-gcc", *STRICT, "-Os", "-mcpu=cortex-m4", "-mthumb", "--specs=nano.specs", "-nostartfiles")
    sources = ("-I.", str(example / "main.c"), "toy.c", "toy_dut.c", "-o", "toy.elf")
    subprocess.run([*build, "-T", str(example / "mps2.ld"), *macros, *sources], cwd=tmp_path / "dut", check=True)
    command = ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "pty"]
    elf = ["-kernel", str(tmp_path / "dut" / "toy.elf")]
    with subprocess.Popen([*command, *elf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as qemu:
        try:
            assert qemu.stdout is not None
            said = qemu.stdout.readline()
            port = re.search(r"/dev/pts/\d+", said)
            assert port is not None, said
            dut = open_dut(f"serial://{port[0]}")
            assert dut.greet() == "toy"
            assert dut.profile() == ("mps2, simulated", "toy")
            found = accuracy(dut, load_vectors(made.parts[0].folder))
            assert (found.exact, found.vectors) == (8, 8) and found.labels > 1
            before, after = dut.timestamp(), dut.timestamp()
            assert before is not None and after is not None and before < after
            dut.close()
        finally:
            qemu.kill()
