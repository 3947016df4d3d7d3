"""The pieces between a plan and a board: archives, quoting, what is repeated and what is not."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from dataclasses import replace

import pytest

from devices.errors import DeviceError
from devices.inventory import remote_boards
from devices.remote import scripts, ssh
from devices.remote.archive import File, pack
from devices.remote.here import HereLink
from devices.remote.job import Site
from devices.remote.link import Answer, LinkLost, Steady, argv, back_off_s, command_line
from devices.remote.probe import clean_boards, probe_boards
from devices.remote.ssh import fingerprint
from tests.remote_jobs import Host, content, counting, expected, here, scripted

NAMES = [name for name in dir(scripts) if name.isupper() and name[0] != "_"]
SCRIPTS = [name for name in NAMES if isinstance(getattr(scripts, name), str)]


def test_the_same_files_give_the_same_archive():
    files = (File("runner", os.urandom(2000), program=True), File("vectors.bin", b"abc"))
    first, second = pack(files), pack(reversed(files))
    assert (first.id, first.sums, first.data) == (second.id, second.sums, second.data)
    assert len(first.id) == 16 and set(first.id) <= set("0123456789abcdef")
    other = pack((files[0], File("vectors.bin", b"abd")))
    assert other.id != first.id and other.sums != first.sums
    assert pack((File("runner", files[0].data), files[1])).id != first.id, "a program is another thing than a file"


def test_an_archive_is_ustar_without_traces_of_its_maker():
    made = pack((File("runner", b"x", program=True),))
    with tarfile.open(fileobj=io.BytesIO(made.data)) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
    assert sorted(entries) == ["SHA256SUMS", "manifest.json", "runner"]
    assert {(e.uid, e.gid, e.uname, e.gname, e.mtime) for e in entries.values()} == {(0, 0, "", "", 0)}
    assert (entries["runner"].mode, entries["manifest.json"].mode) == (0o755, 0o644)


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a b", "manifest.json", "x\n"])
def test_a_name_that_is_no_plain_one_is_refused(name):
    with pytest.raises(DeviceError, match="no plain name"):
        pack((File(name, b""),))
    with pytest.raises(DeviceError, match="there twice"):
        pack((File("x", b""), File("x", b"")))


@pytest.mark.parametrize("argument", ["a b", "$(reboot)", "`x`", "x;y", "x\ny", "", "'", '"', "é", "|", "&", ">x"])
def test_an_argument_that_a_shell_could_read_is_refused(argument):
    with pytest.raises(DeviceError, match="cannot be passed"):
        argv("true", ("fine", argument))


def test_a_command_line_means_the_same_to_a_shell():
    script = "echo 'it''s' \"$1\"; echo \"$2\" '\\n' $#"
    line = command_line(script, ("--a=b", "/x/*"))
    direct = subprocess.run(argv(script, ("--a=b", "/x/*")), capture_output=True, check=True).stdout
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout == direct
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout == direct


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_posix_shell(name):
    """A shell reads them without a complaint, and no word is bash's own."""
    text = getattr(scripts, name)
    subprocess.run(["sh", "-n"], input=text.encode(), check=True)
    assert "[[" not in text and "local " not in text and "function " not in text


class Flaky:
    """A link that breaks in the first `losses` scripts."""

    def __init__(self, losses: int):
        self.losses, self.ran, self.opened = losses, 0, 0

    async def open(self):
        self.opened += 1
        return self

    async def run(self, script, arguments, stdin, limit_s):
        self.ran += 1
        if self.ran <= self.losses:
            raise LinkLost("gone.")
        return Answer(0, b"", b"")

    async def close(self):
        pass


@pytest.mark.parametrize("losses", [0, 1, 5, 6])
def test_a_link_is_opened_again_with_longer_and_longer_pauses(losses):
    link, slept = Flaky(losses), []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    steady = Steady("board", link.open, lambda _: None, sleep=sleep)
    if losses < 6:
        assert asyncio.run(steady.run("true")).code == 0
        assert (link.opened, steady.losses) == (losses + 1, losses)
    else:
        with pytest.raises(DeviceError, match=r"after 6 attempts: gone\."):
            asyncio.run(steady.run("true"))
    assert slept == [back_off_s(n) for n in range(losses)] == [0.2 * 2**n for n in range(losses)]


def test_what_is_final_is_not_tried_again():
    async def refuse():
        raise DeviceError("no.")

    said = []
    with pytest.raises(DeviceError, match=r"^no\.$"):
        asyncio.run(Steady("board", refuse, said.append).run("true"))
    assert said == []


def test_pauses_end_at_ten_seconds():
    assert [back_off_s(n) for n in (5, 6, 20)] == [6.4, 10.0, 10.0]


@pytest.mark.parametrize("text", ["", "SHA256:", "MD5:aa", "ssh-ed25519", "ssh-rsa not*base64", "x y z"])
def test_what_is_no_host_key(text):
    with pytest.raises(DeviceError, match=r"here: .*no host key"):
        fingerprint(text, "here")


def test_a_job_on_this_machine(tmp_path):
    user = Host(here(), Site(str(tmp_path / "site")))
    assert user.run(counting(pause_s=0.002)).records == expected() == b"".join(user.lines)
    assert [path.name for path in (tmp_path / "site" / "j").iterdir()] == []


def test_records_may_be_long_and_many(tmp_path):
    """8 MB in lines of 200 KB, so that what was read ends within a line."""
    user = Host(here(), Site(str(tmp_path / "site")))
    text = "i=0; while [ $i -lt 40 ]; do head -c 200000 /dev/zero | tr '\\0' x; echo; i=$((i + 1)); done"
    ran = user.run(scripted(text))
    assert [len(line) for line in user.lines] == [200001] * 40
    assert len(ran.records) == 40 * 200001


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match=r"the folder .*file/site cannot be made"):
        Host(here(), Site(str(tmp_path / "file" / "site"))).run(counting())


def board(tmp_path):
    """A board that is a folder on this machine."""
    path = tmp_path / "boards.toml"
    keys = f'extends = "host-c"\nuri = "local://"\ntriple = "x86_64-linux-gnu"\nfolder = "{tmp_path / "site"}"\n'
    path.write_text(f"[boards.it]\n{keys}")
    return remote_boards(path)[0]


def test_cleaning_a_board_leaves_what_runs(tmp_path):
    remote = board(tmp_path)
    user = Host(here(), remote.site)
    user.run(counting(pause_s=0.002))
    (tmp_path / "site" / "b" / "0123.part.abc").mkdir()
    (tmp_path / "site" / "j" / "orphan").mkdir()
    seen = []
    user.at = {len(user.lines) + 5: lambda: seen.append(content(tmp_path / "site"))}

    async def meanwhile() -> None:
        running = asyncio.create_task(user.run_async(counting(0.05)))
        while not seen:
            await asyncio.sleep(0.02)
        (refused,) = await asyncio.to_thread(clean_boards, [remote], print)
        assert (refused.usable, "runs there; nothing was removed" in refused.detail) == (False, True)
        assert (await running).records == expected()

    asyncio.run(meanwhile())
    assert content(tmp_path / "site")
    (cleaned,) = clean_boards([remote], print)
    assert cleaned.usable and cleaned.detail.startswith("removed 4 "), cleaned
    assert content(tmp_path / "site") == []
    assert user.run(counting(pause_s=0.002)).records == expected()


def test_without_asyncssh_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    remote = board(tmp_path)
    far = replace(remote, address=ssh.Address("127.0.0.1", 1, None, "SHA256:" + "a" * 43))
    (found,) = probe_boards([far], print)
    assert (found.usable, "pip install 'edgemill[ssh]'" in found.detail) == (False, True)


def test_a_disk_that_loses_what_arrived_whole(tmp_path):
    """A link that removes every bundle after its push."""
    site = Site(str(tmp_path / "site"))

    class Losing(HereLink):
        async def run(self, script, arguments, stdin, limit_s):
            answer = await HereLink.run(self, script, arguments, stdin, limit_s)
            for bundle in (tmp_path / "site" / "b").glob("*") if script == scripts.PUSH else ():
                (bundle / "runner.sh").unlink()
            return answer

    async def connect():
        return Losing()

    with pytest.raises(DeviceError, match=r"arrived whole 3 times and was damaged there each time"):
        Host(connect, site).run(counting())


def test_a_private_key_that_is_none(tmp_path):
    pytest.importorskip("asyncssh")
    (tmp_path / "key").write_text("no key")
    address = ssh.Address("127.0.0.1", 1, None, "SHA256:" + "a" * 43, tmp_path / "key")
    with pytest.raises(DeviceError, match=r"set up with the private key .*key"):
        asyncio.run(ssh.connect(address))
    gone = replace(address, identity=tmp_path / "gone")
    with pytest.raises(DeviceError, match=r"set up with the private key .*gone"):
        asyncio.run(ssh.connect(gone))


def test_a_board_that_is_busy_for_too_long(tmp_path):
    site = Site(str(tmp_path / "site"))
    first, second = Host(here(), site), Host(here(), site)

    async def both() -> None:
        begun = asyncio.Event()
        first.at = {1: begun.set}
        running = asyncio.create_task(
            first.run_async(scripted("echo x; while ! test -f ../../go; do sleep 0.02; done"))
        )
        await begun.wait()
        with pytest.raises(DeviceError, match=r"is busy with job \w+-0 for more than 0\.1 s"):
            await second.run_async(replace(counting(), wait_s=0.1))
        (tmp_path / "site" / "go").touch()
        await running

    asyncio.run(both())
