"""Everything that goes wrong between two machines, each with a real OpenSSH server on loopback."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devices.conversation import Log
from devices.errors import DeviceError
from devices.remote import scripts
from devices.remote.archive import File
from devices.remote.job import Hands, Site, new_name
from devices.remote.link import Steady
from tests import sshd
from tests.remote_jobs import (
    STARTS,
    Host,
    content,
    counting,
    damaging,
    expected,
    over_ssh,
    running,
    scripted,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[sshd.Server]:
    """One server for tests that leave it as it was."""
    with sshd.running(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def own(tmp_path) -> Iterator[sshd.Server]:
    """A server that a test may kill."""
    (tmp_path / "sshd").mkdir()
    with sshd.running(tmp_path / "sshd") as server:
        yield server


def host(server: sshd.Server, folder: Path, **site: object) -> Host:
    """Somebody who reaches a board with its folder there."""
    return Host(over_ssh(server), replace(Site(str(folder)), **site))


def starts(folder: Path) -> int:
    """How often a job was started."""
    return len((folder / STARTS).read_text().splitlines())


def bundles(folder: Path) -> list[str]:
    """The bundles on a board, unfinished ones included."""
    return [name for name in content(folder) if name.startswith("b/")]


def test_a_run_without_any_fault(shared, tmp_path):
    user = host(shared, tmp_path / "site")
    ran = user.run(counting(pause_s=0.005))
    assert ran.records == expected() == b"".join(user.lines)
    assert ran.notes == ()
    assert len(bundles(tmp_path / "site")) == 1 == len(content(tmp_path / "site"))
    again = host(shared, tmp_path / "site")
    assert again.run(counting(pause_s=0.005)).records == expected()
    assert not any("sending" in text for text in again.said), "the bundle is there already"


@pytest.mark.parametrize("moments", [(1,), (10,), (5, 15, 25)])
def test_a_connection_that_is_killed(shared, tmp_path, moments):
    user, dropped = host(shared, tmp_path / "site"), []

    def drop() -> None:
        # Lines that came in one piece with the last kill have no connection any more: this kill falls on a later one.
        if (count := shared.drop()) > 0:
            dropped.append(count)
        else:
            user.at[len(user.lines) + 1] = drop

    user.at = dict.fromkeys(moments, drop)
    ran = user.run(counting())
    assert dropped == [1] * len(moments)
    assert ran.records == expected() == b"".join(user.lines)
    assert any("lost" in note for note in ran.notes)
    assert starts(tmp_path / "site") == 1


def test_a_server_that_is_killed_and_comes_back(own, tmp_path):
    user = host(own, tmp_path / "site")
    back = threading.Timer(0.7, own.start)

    def kill() -> None:
        own.stop()
        back.start()

    user.at = {8: kill}
    ran = user.run(counting())
    back.join()
    assert ran.records == expected() == b"".join(user.lines)
    assert starts(tmp_path / "site") == 1
    assert any("no connection" in text for text in user.said)


def test_a_board_that_restarts(shared, tmp_path):
    """The boot id is in a file of the test's; the job is killed and the id changes, as in a restart."""
    site, boot = tmp_path / "site", tmp_path / "boot_id"
    boot.write_text("11111111-aaaa\n")
    user = host(shared, site, boot_id=str(boot))

    def restart() -> None:
        for pid in running(site):
            os.killpg(pid, signal.SIGKILL)
        boot.write_text("22222222-bbbb\n")
        shared.drop()

    user.at = {10: restart}
    ran = user.run(counting())
    assert ran.records == expected() == b"".join(user.lines)
    assert (user.reruns, starts(site)) == (1, 2)
    assert any("restarted" in note and "11111111" in note and "run again" in note for note in ran.notes)
    assert [name for name in content(site) if name.startswith("j/")] == []


def test_a_board_that_restarts_for_ever(shared, tmp_path):
    site, boot = tmp_path / "site", tmp_path / "boot_id"
    boot.write_text("0\n")
    user = host(shared, site, boot_id=str(boot))
    user.take = lambda _: boot.write_text(f"{int(boot.read_text()) + 1}\n")
    with pytest.raises(DeviceError, match=r"lost 3 times.*restarted"):
        user.run(counting())


def test_no_space_for_the_bundle_as_tar_would_say_it(tmp_path):
    """A `tar` of the test's own stands before the real one: filling a disk takes more rights than tests have."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "tar").write_text(
        "#!/bin/sh\ntouch half\necho 'tar: runner: Cannot write: No space left on device' >&2\nexit 2\n"
    )
    (tools / "tar").chmod(0o755)
    (tmp_path / "sshd").mkdir()
    with sshd.running(tmp_path / "sshd", PATH=f"{tools}:{os.environ['PATH']}") as server:
        user = host(server, tmp_path / "site")
        with pytest.raises(DeviceError, match=r"no room for .* No space left on device"):
            user.run(counting())
    assert content(tmp_path / "site") == []
    assert sum("sending" in text for text in user.said) == 1


def test_no_space_for_the_records(shared, tmp_path):
    """/dev/full refuses every write as a full disk does."""
    user = host(shared, tmp_path / "site")
    with pytest.raises(DeviceError, match=r"the runner failed with exit code 1: .*No space left"):
        user.run(scripted("exec > /dev/full; exec cat runner.sh"))
    assert len(content(tmp_path / "site")) == 1


def test_records_beyond_a_limit_of_the_kernel(shared, tmp_path):
    """Records may not grow over 512 bytes: the kernel stops the runner in the middle of one."""
    user = host(shared, tmp_path / "site")
    endless = 'ulimit -f 1; exec sh -c \'while :; do echo "{\\"seq\\": 0}"; done\''
    with pytest.raises(DeviceError, match=r"SIGXFSZ|File too large|in the middle of a record"):
        user.run(scripted(endless))
    assert len(content(tmp_path / "site")) == 1


def test_a_bundle_that_is_damaged_once(shared, tmp_path):
    user = host(shared, tmp_path / "site")
    user.connect = damaging(user.connect, 1)
    filler = File("filler.bin", os.urandom(4000))
    job = replace(counting(pause_s=0.005), archive=scripted("", 60, filler).archive)
    job = replace(job, command=("cat", "manifest.json"))
    assert b"filler.bin" in user.run(job).records
    assert sum("sending it again" in text for text in user.said) == 1
    assert len(bundles(tmp_path / "site")) == 1


def test_a_bundle_that_is_damaged_every_time(shared, tmp_path):
    user = host(shared, tmp_path / "site")
    user.connect = damaging(user.connect, 99)
    with pytest.raises(DeviceError, match="3 times over"):
        user.run(scripted("", 60, File("filler.bin", os.urandom(4000))))
    assert content(tmp_path / "site") == []


def test_a_bundle_that_was_changed_on_the_board(shared, tmp_path):
    job, site = counting(pause_s=0.005), tmp_path / "site"
    host(shared, site).run(job)
    (bundle,) = (site / "b").iterdir()
    (bundle / "runner.sh").write_text("#!/bin/sh\necho stolen\n")
    user = host(shared, site)
    assert user.run(replace(job, name=new_name())).records == expected()
    assert any("sending" in text for text in user.said)


def test_a_runner_that_hangs(shared, tmp_path):
    user, site = host(shared, tmp_path / "site"), tmp_path / "site"
    seen: list[int] = []
    user.at = {1: lambda: seen.extend(running(site))}
    with pytest.raises(DeviceError, match=r"did not end within 0\.5 s and was stopped"):
        user.run(scripted("echo begun; sleep 1000", limit_s=0.5))
    assert len(seen) == 1
    assert not Path(f"/proc/{seen[0]}").exists() or " Z " in Path(f"/proc/{seen[0]}/stat").read_text()
    assert len(content(site)) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo line; echo 'out of luck' >&2; exit 3", "failed with exit code 3: out of luck"),
        ("kill -SEGV $$", "was killed by SIGSEGV"),
        ("kill -KILL $$", "was killed by SIGKILL"),
        ("printf 'half a rec'", "in the middle of a record"),
        ("kill -KILL -$PPID; kill -KILL $PPID; sleep 5", "was killed together with the shell"),
    ],
)
def test_a_runner_that_crashes(shared, tmp_path, text, said):
    user = host(shared, tmp_path / "site")
    with pytest.raises(DeviceError, match=said):
        user.run(scripted(text))
    assert [name for name in content(tmp_path / "site") if name.startswith(("j/", "s/"))] == []


@pytest.mark.parametrize("garbage", ["Loading model...", '{"seq": 0, "type": "hello"}', "\\377\\376", '{"seq": 1}'])
def test_garbage_on_stdout(shared, tmp_path, garbage):
    user, log = host(shared, tmp_path / "site"), Log()
    user.take = lambda line: log.add(line, "board")
    with pytest.raises(DeviceError, match=r"record 0|line|JSON|lacks"):
        user.run(scripted(f"printf '%b\\n' '{garbage}'; sleep 1000"))
    assert len(content(tmp_path / "site")) == 1


def test_two_hosts_start_one_job_once(shared, tmp_path):
    site, job = Site(str(tmp_path / "site"), slots=16), counting(pause_s=0.005)
    Host(over_ssh(shared), site).run(job)

    async def start(name: str, steady: Steady) -> bytes:
        fixed = (site.boot_id, site.folder, job.archive.id, job.archive.sums, name, "16", "-")
        return (await steady.run(scripts.START, (*fixed, *job.command))).out.splitlines()[1]

    async def race() -> list[list[bytes]]:
        pair = [Steady("board", over_ssh(shared), print) for _ in range(2)]
        answers = [await asyncio.gather(*(start(f"{n:016x}-0", s) for s in pair)) for n in range(8)]
        for steady in pair:
            await steady.close()
        while any(name.startswith("s/") for name in content(tmp_path / "site")):
            await asyncio.sleep(0.02)
        return answers

    answers = asyncio.run(race())
    assert [sorted(pair) for pair in answers] == [[b"exists", b"started"]] * 8
    assert starts(tmp_path / "site") == 1 + 8


def test_two_hosts_with_one_slot_take_turns(shared, tmp_path):
    site = Site(str(tmp_path / "site"))
    mark = "echo begin >> ../../turns"
    users = [Host(over_ssh(shared), site) for _ in range(2)]

    async def both() -> None:
        begun, end = asyncio.Event(), "echo end >> ../../turns"
        users[0].at = {1: begun.set}
        held = counting(0.01, 20, mark, f"while ! test -f ../../go; do sleep 0.05; done; {end}")
        first = asyncio.create_task(users[0].run_async(held))
        await begun.wait()
        second = asyncio.create_task(users[1].run_async(counting(0.01, 20, mark, end)))
        while not any("busy with job" in text for text in users[1].said):
            await asyncio.sleep(0.02)
        (tmp_path / "site" / "go").touch()
        assert (await first).records == expected(20) == (await second).records

    asyncio.run(both())
    assert (tmp_path / "site" / "turns").read_text().split() == ["begin", "end"] * 2
    assert [name for name in content(tmp_path / "site") if name.startswith("s/")] == []


def test_a_slot_whose_job_was_killed_is_taken_over(shared, tmp_path):
    """As when a board is short of memory and kills a job with its shell, and the host that could tidy up is gone."""
    site = tmp_path / "site"
    host(shared, site).run(counting(pause_s=0.005))
    job, steady = counting(pause_s=10), Steady("board", over_ssh(shared), print)
    fixed = (Site().boot_id, str(site), job.archive.id, job.archive.sums)

    async def leave() -> None:
        await steady.run(scripts.PUSH, (*fixed, "nonce"), job.archive.data)
        await steady.run(scripts.START, (*fixed, "dead", "1", "-", *job.command))
        while not running(site):
            await asyncio.sleep(0.05)
        await steady.close()

    asyncio.run(leave())
    for pid in running(site):
        os.killpg(pid, signal.SIGKILL)
    second = host(shared, site)
    hurried = Hands(sleep=lambda seconds: asyncio.sleep(seconds / 20))
    assert second.run(counting(pause_s=0.005), hurried).records == expected()
    assert any("busy with job dead" in text for text in second.said)


def test_a_wrong_host_key_is_refused_before_anything_is_sent(own, tmp_path):
    sshd.key(tmp_path / "other")
    wrong = (tmp_path / "other.pub").read_text()
    from devices.remote import ssh

    user = Host(lambda: ssh.connect(own.address(wrong)), Site(str(tmp_path / "site")))
    with pytest.raises(DeviceError, match=r"host key SHA256:.*, not SHA256:.*nothing was sent"):
        user.run(counting())
    log = (own.folder / "sshd.log").read_text()
    assert "Accepted" not in log
    assert not (tmp_path / "site").exists()
    assert not any("Trying again" in text for text in user.said)


def test_a_user_that_is_not_let_in(own, tmp_path):
    user = host(own, tmp_path / "site")
    (own.folder / "authorized").write_text((own.folder / "host.pub").read_text())
    with pytest.raises(DeviceError, match="does not let"):
        user.run(counting())
    assert not any("Trying again" in text for text in user.said)


def test_only_the_commands_that_are_promised(tmp_path):
    """PATH holds nothing but these; gzip is what GNU tar calls for `z`."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "tar", "gzip", "sha256sum", "mkdir", "mv", "rm", "setsid", "tail", "sync"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    (tmp_path / "sshd").mkdir()
    with sshd.running(tmp_path / "sshd", PATH=str(tools)) as server:
        user = host(server, tmp_path / "site")
        text = 'i=0; while [ $i -lt 40 ]; do echo "{\\"seq\\": $i}"; i=$((i + 1)); done'
        assert user.run(scripted(text)).records == expected()


@pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed (apt-get install busybox-static)")
def test_a_board_with_nothing_but_busybox(tmp_path):
    tools, busybox = tmp_path / "bin", shutil.which("busybox")
    tools.mkdir()
    assert busybox is not None
    for name in ("sh", "tar", "sha256sum", "mkdir", "mv", "rm", "setsid", "tail", "sync", "sleep"):
        (tools / name).symlink_to(busybox)
    (tmp_path / "sshd").mkdir()
    with sshd.running(tmp_path / "sshd", PATH=str(tools)) as server:
        user, dropped = host(server, tmp_path / "site"), []
        user.at = {5: lambda: dropped.append(server.drop())}
        assert user.run(counting()).records == expected()
        assert dropped == [1]
