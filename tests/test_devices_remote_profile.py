"""A bundle measured on a board of the inventory, over a real OpenSSH server on loopback; and by the command."""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from devices.errors import DeviceError
from devices.inventory import RemoteBoard, remote_boards
from devices.metering import Metering
from devices.plan import Plan, Versus, plans
from devices.remote.build import TRIPLES
from devices.remote.probe import probe_boards
from devices.remote.profile import profile_many, profile_remote
from devices.runner import profile_all
from devices.scenario import OFFLINE
from devices.tools import missing_tool
from edge.cli import main
from export.bundle import write_bundle
from export.bundle_read import Bundle
from export.targets import find_target
from tests import sshd
from tests.bundles import toy_spec
from tests.house import ROOT
from tests.remote_jobs import content, running

HERE = [triple for triple in TRIPLES if platform.machine() in triple.machines]
pytestmark = [
    pytest.mark.skipif(not HERE, reason=f"no C runner for {platform.machine()}"),
    pytest.mark.skipif(bool(HERE) and missing_tool(HERE[0].compiler) is not None, reason="gcc is not installed"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[sshd.Server]:
    with sshd.running(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "b", toy_spec(), find_target("arm-m"))


def inventory(server: sshd.Server, folder: Path, name: str = "lab-pc", **keys: str) -> Path:
    """An inventory with one board: this machine, by SSH."""
    table = {
        "extends": "host-c",
        "uri": f"ssh://127.0.0.1:{server.port}",
        "host_key": (server.folder / "host.pub").read_text().strip(),
        "identity": str(server.folder / "user"),
        "triple": HERE[0].name,
        "folder": str(folder / "site"),
        "cooling": "a fan",
        "power_mode": "all cores",
    } | keys
    path = folder / "boards.toml"
    with path.open("a") as file:
        file.write(f"[boards.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()))
    return path


def local(folder: Path, root: Path | None = None, **keys: object) -> RemoteBoard:
    """A board on this machine, with the tree of another one for its state where one is given."""
    table = {"extends": "host-c", "uri": "local://", "triple": HERE[0].name, "folder": str(folder / "site")} | keys
    path = folder / "local.toml"
    path.write_text("[boards.here]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()))
    (remote,) = remote_boards(path)
    return remote if root is None else replace(remote, site=replace(remote.site, root=str(root)))


def short(bundle: Bundle, remote: RemoteBoard, **lengths: object) -> Plan:
    """A plan of a moment."""
    lengths = {"windows": 3, "window_s": 0.02, "warmup_s": 0.01} | lengths
    (plan,) = plans(bundle, remote.board, **lengths)
    return plan


def test_a_measurement_over_ssh_whose_link_breaks(server, bundle, tmp_path):
    (remote,) = remote_boards(inventory(server, tmp_path))
    said, dropped = [], []

    def say(text: str) -> None:
        said.append(text)
        if "open and warm" in text:
            dropped.append(server.drop())

    (result,) = profile_all([(short(bundle, remote, windows=10, window_s=0.1), remote)], say)
    assert not isinstance(result, DeviceError), result
    assert dropped == [1]
    assert (result.board, result.runtime, result.method, result.target) == ("lab-pc", "c-linux", "measured", "arm-m")
    assert result.latency_s is not None and len(result.latency_s) == 10
    assert result.arena_bytes == bundle.parts[0].facts["arena_bytes"]
    for text in ("codes of 4 and top-1 of 4 of 4", "the link was lost 1 time", "a fan"):
        assert text in result.source
    assert result.conditions.power_mode == "all cores (as the inventory says)"
    boot = Path("/proc/sys/kernel/random/boot_id")
    assert not boot.exists() or result.conditions.boot_id == boot.read_text().strip()
    assert "names no meter" in dict(result.absent)["energy"]
    assert [name[:2] for name in content(tmp_path / "site")] == ["b/"]


def test_the_command_profiles_and_probes(server, bundle, tmp_path):
    path = inventory(server, tmp_path)
    inventory(server, tmp_path, "wrong-key", host_key="SHA256:" + "A" * 43)
    inventory(server, tmp_path, "wrong-kind", triple=next(t.name for t in TRIPLES if t not in HERE))
    run = CliRunner().invoke
    options = ["--boards", str(path), "--windows", "2", "--window-s", "0.01", "--warmup-s", "0.01"]
    done = run(main, ["profile", str(bundle.path), "--board", "lab-pc", *options, "--json"])
    assert done.exit_code == 0, done.output
    (record,) = json.loads(done.stdout)
    assert (record["board"], record["runtime"], len(record["latency_s"])) == ("lab-pc", "c-linux", 2)
    both = run(main, ["profile", str(bundle.path), "--board", "wrong-key", "--board", "lab-pc", *options])
    assert both.exit_code == 1
    assert "lab-pc" in both.stdout and "nothing was sent" in both.stderr
    assert "Traceback" not in both.output
    probed = run(main, ["boards", "--boards", str(path), "--probe", "--json"])
    here = {row["name"]: row["here"] for row in json.loads(probed.stdout)}
    assert probed.exit_code == 1
    assert here["lab-pc"].startswith(platform.machine())
    assert "nothing was sent" in here["wrong-key"]
    assert "the inventory says" in here["wrong-kind"]


@pytest.mark.parametrize("busybox", [False, True], ids=["gnu", "busybox"])
def test_a_board_with_nothing_but_the_commands_that_are_promised(bundle, tmp_path, busybox):
    tools = tmp_path / "bin"
    tools.mkdir()
    # GNU tar calls gzip for what arrives packed; BusyBox unpacks by itself.
    for name in (
        "sh",
        "tar",
        "sha256sum",
        "mkdir",
        "mv",
        "rm",
        "setsid",
        "tail",
        "sync",
        *(() if busybox else ("gzip",)),
    ):
        found = shutil.which("busybox" if busybox else name)
        if found is None:
            pytest.skip("busybox is not installed (apt-get install busybox-static)")
        (tools / name).symlink_to(found)
    (tmp_path / "sshd").mkdir()
    with sshd.running(tmp_path / "sshd", PATH=str(tools)) as server:
        (remote,) = remote_boards(inventory(server, tmp_path))
        ran = profile_remote(short(bundle, remote), remote, print)
    assert "codes of 4 and top-1 of 4 of 4" in ran.found.source
    assert ran.conditions.load_before is not None


def test_ctrl_c_takes_the_job_off_the_board(bundle, tmp_path):
    remote = local(tmp_path)
    command = [sys.executable, "-m", "edge.cli", "profile", str(bundle.path), "--board", "here", "--warmup-s", "1"]
    command += ["--boards", str(tmp_path / "local.toml"), "--windows", "200", "--window-s", "0.5"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "open and warm" in line:
            break
    (leader,) = running(Path(remote.site.folder))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in said, said
    assert [name[:2] for name in content(tmp_path / "site")] == ["b/"]
    state = Path(f"/proc/{leader}/stat")
    assert not state.exists() or " Z " in state.read_text()


def test_a_board_of_another_kind_is_not_written_to(bundle, tmp_path):
    remote = local(tmp_path, triple=next(t.name for t in TRIPLES if t not in HERE))
    with pytest.raises(DeviceError, match=r"is a machine of kind .*Mend 'triple'"):
        profile_remote(short(bundle, remote), remote, print)
    assert content(tmp_path / "site") == []


def test_a_part_that_computes_something_else_there(bundle, tmp_path):
    remote = local(tmp_path)
    plan, folder = short(bundle, remote), tmp_path / "part"
    folder.mkdir()
    for path in plan.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    part = bundle.parts[0]
    np.savez(folder / "vectors.npz", inputs=part.inputs, outputs=part.outputs[::-1])
    with pytest.raises(DeviceError, match="does not compute there what it should"):
        profile_remote(replace(plan, folder=folder), remote, print)
    assert [name[:2] for name in content(tmp_path / "site")] == ["b/"]


def test_what_a_remote_board_does_not_do(bundle, tmp_path):
    remote = local(tmp_path)
    plan = short(bundle, remote)
    with pytest.raises(DeviceError, match="LoadGen puts no queries on a remote board"):
        profile_remote(replace(plan, loadgen=True), remote, print)
    with pytest.raises(DeviceError, match="two bundles do not take turns"):
        profile_remote(replace(plan, versus=Versus(plan.bundle, plan.folder, plan.files)), remote, print)
    with pytest.raises(DeviceError, match="reads this machine"):
        profile_all([(plan, remote)], print, Metering("rapl"))


def test_boards_at_once_and_each_its_own_answer(bundle, tmp_path):
    good = [local(tmp_path), local(tmp_path)]
    good[1] = replace(good[1], board=replace(good[1].board, name="other"))
    bad = replace(good[0], board=replace(good[0].board, name="bad"), site=replace(good[0].site, folder="/proc/none"))
    work = [(short(bundle, remote), remote) for remote in (good[0], bad, good[1], good[0])]
    found = asyncio.run(profile_many(work, lambda _: None))
    assert [isinstance(result, DeviceError) for result in found] == [False, True, False, False]
    assert "cannot be made there" in str(found[1])


def test_the_python_runner_on_a_board(tmp_path):
    pytest.importorskip("onnxruntime", reason="the part is run in onnxruntime")
    pytest.importorskip("onnx", reason="the part is written with onnx")
    bundle = write_bundle(tmp_path / "b", toy_spec(), find_target("host"))
    path = tmp_path / "boards.toml"
    keys = {"extends": "host-ort", "uri": "local://", "folder": str(tmp_path / "site"), "python": sys.executable}
    path.write_text("[boards.here]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items()))
    (remote,) = remote_boards(path)
    (probed,) = probe_boards([remote], print)
    assert probed.usable and "onnxruntime" in probed.detail
    ran = profile_remote(short(bundle, remote), remote, print).found
    assert "top-1 of 4 of 4" in ran.source and dict(ran.versions)["onnxruntime"]
    (lost,) = probe_boards([replace(remote, python="/nowhere/python3")], print)
    assert (lost.usable, "does not run onnxruntime" in lost.detail) == (False, True)


RAILS = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon0"


def rails_tree(root: Path) -> Path:
    """The files of an INA3221 with one rail of 5 V and 0.4 A; returns the current's."""
    folder = root / RAILS
    folder.mkdir(parents=True)
    texts = {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "0400"}
    for name, text in {**texts, "shunt1_resistor": "5000", "update_interval": "1"}.items():
        (folder / name).write_text(f"{text}\n")
    return folder / "curr1_input"


def wiggle(path: Path, stop: threading.Event) -> None:
    """Let a current change a little around 0.4 A, in place, as a sensor's file does."""
    with path.open("r+b", buffering=0) as file:
        while not stop.wait(0.002):
            for value in (b"0399\n", b"0401\n"):
                file.seek(0)
                file.write(value)
                stop.wait(0.003)


def test_energy_of_a_board_with_rails(bundle, tmp_path):
    root, stop = tmp_path / "root", threading.Event()
    current = rails_tree(root)
    thread = threading.Thread(target=wiggle, args=(current, stop))
    thread.start()
    try:
        remote = local(tmp_path, root, meters=["ina3221"])
        work = [(short(bundle, remote, windows=5, window_s=0.8, warmup_s=0.3, scenario=OFFLINE), remote)]
        (result,) = profile_all(work, lambda _: None, Metering(idle_s=0.2))
    finally:
        stop.set()
        thread.join()
    assert not isinstance(result, DeviceError), result
    assert result.energy is not None, dict(result.absent)
    assert result.energy.meter == "ina3221" and result.energy.rails == ("VDD_IN",)
    # 2 W whatever runs: the idle phase takes as much as the work, so that there is no net energy, with the reason.
    np.testing.assert_allclose(result.energy.power_w, 2.0, rtol=0.01)
    assert result.energy.idle_w is not None and abs(result.energy.idle_w - 2.0) < 0.02
    assert result.energy.net_j is None or min(result.energy.net_j) < 0.01 * min(result.energy.gross_j)
    for joules, power, window in zip(result.energy.gross_j, result.energy.power_w, result.latency_s or (), strict=True):
        np.testing.assert_allclose(joules, power * sum(window) / result.samples_per_query, rtol=0.01)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rails: None, "stands still"),
        (lambda rails: (rails / "curr1_input").write_text("nan\n"), "no number"),
        (lambda rails: (rails / "curr1_input").write_text("\n"), "no number"),
        (lambda rails: (rails / "in1_input").unlink(), "cannot be read"),
        (lambda rails: [path.unlink() for path in rails.iterdir()], "there is no rail"),
    ],
    ids=["stale", "nan", "empty", "half there", "absent"],
)
def test_a_meter_that_does_not_work_is_a_reason(bundle, tmp_path, change, said):
    rails_tree(tmp_path / "root")
    change(tmp_path / "root" / RAILS)
    remote = local(tmp_path, tmp_path / "root", meters=["ina3221"])
    plan = short(bundle, remote, window_s=0.8, warmup_s=0.3, scenario=OFFLINE)
    (result,) = profile_all([(plan, remote)], lambda _: None)
    assert not isinstance(result, DeviceError), result
    assert (result.energy, result.energy_j) == (None, None)
    assert said in dict(result.absent)["energy"] and "ina3221" in dict(result.absent)["energy"]
    assert result.latency_s is not None
