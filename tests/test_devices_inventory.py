"""boards.toml is read strictly: what is not right is named with file, board and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.boards import BOARDS
from devices.errors import DeviceError
from devices.inventory import KINDS, VARIABLE, RemoteBoard, all_boards, default_path, find_any, remote_boards

KEY = "SHA256:" + "a" * 43
PI = f"""
[boards.kitchen-pi]
extends = "host-c"
uri = "ssh://pi@10.0.0.7:2222"
host_key = "{KEY}"
triple = "aarch64-linux-gnu"
cpu = "cortex-a72"
slots = 2
cooling = "fan"
power_mode = "performance"
"""


def written(tmp_path: Path, text: str) -> Path:
    """A file with this text."""
    path = tmp_path / "boards.toml"
    path.write_text(text)
    return path


def test_a_board(tmp_path):
    (found,) = remote_boards(written(tmp_path, PI))
    assert found.address is not None and found.triple is not None
    assert (found.name, found.board.target, found.board.transport) == ("kitchen-pi", "arm-m", "ssh")
    assert (found.address.host, found.address.port, found.address.user) == ("10.0.0.7", 2222, "pi")
    assert (found.address.fingerprint, found.triple.name, found.cpu) == (KEY, "aarch64-linux-gnu", "cortex-a72")
    assert (found.site.slots, found.site.folder) == (2, ".edgemill")
    assert (found.cooling, found.power_mode, found.board.metrics) == ("fan", "performance", ("latency", "arena"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_of_board(tmp_path, kind):
    keys = {"c": 'triple = "x86_64-linux-gnu"', "python": 'python = "/opt/venv/bin/python"'}
    more = keys.get(kind.runner, 'trtexec = "/opt/trtexec"')
    path = written(tmp_path, f'[boards.it]\nextends = "{kind.name}"\nuri = "local://"\n{more}\n')
    (found,) = remote_boards(path)
    assert (found.board.transport, found.address, found.board.runtime) == ("shell", None, kind.runtime)
    assert found.board.target == next(board.target for board in BOARDS if board.name == kind.name)


def test_boards_stand_beside_the_built_in_ones(tmp_path):
    path = written(tmp_path, PI)
    assert [board.name for board in all_boards(path)] == [*(board.name for board in BOARDS), "kitchen-pi"]
    assert isinstance(find_any("kitchen-pi", path), RemoteBoard)
    assert find_any("host-c", path) in BOARDS
    with pytest.raises(DeviceError, match="Did you mean 'kitchen-pi'"):
        find_any("kitchenpi", path)


def test_where_the_file_is(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == tmp_path / "edgemill" / "boards.toml"
    assert remote_boards() == ()
    monkeypatch.setenv(VARIABLE, str(written(tmp_path, PI)))
    assert [found.name for found in remote_boards()] == ["kitchen-pi"]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.toml"))
    with pytest.raises(DeviceError, match=r"none\.toml cannot be read"):
        remote_boards()


def test_a_key_as_known_hosts_has_it_gives_its_fingerprint(tmp_path):
    # A key made for this test; the fingerprint is what ssh-keygen -lf prints of it.
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHvo17By8LhjusA3P5LrmnpsrceFEUiPHHxu6PBptC7"
    (one,) = remote_boards(written(tmp_path, PI.replace(KEY, public)))
    (two,) = remote_boards(written(tmp_path, PI.replace(KEY, f"[10.0.0.7]:2222 {public} pi")))
    assert one.address is not None and one.address == two.address
    assert one.address.fingerprint == "SHA256:rRDstHxWKz/w0Pei7LLq5aEaH4ph6yKMmrwykJf2zMs"


BAD = (
    ('extends = "host-c"', 'extends = "host-d"', "Did you mean 'host-c'"),
    ('extends = "host-c"', "", "'extends' is missing"),
    ('uri = "ssh://pi@10.0.0.7:2222"', 'uri = "telnet://pi@10.0.0.7"', "ssh://, local://"),
    ('uri = "ssh://pi@10.0.0.7:2222"', 'uri = "ssh://pi:secret@10.0.0.7"', "passwords are not taken"),
    ('uri = "ssh://pi@10.0.0.7:2222"', 'uri = "ssh://pi@10.0.0.7:99999"', "port"),
    ('uri = "ssh://pi@10.0.0.7:2222"', 'uri = "ssh://"', "no host"),
    ('uri = "ssh://pi@10.0.0.7:2222"', 'uri = "local://"', "local:// is this machine"),
    (f'host_key = "{KEY}"', "", "'host_key' is missing"),
    (f'host_key = "{KEY}"', 'host_key = "SHA256:short"', "no host key"),
    (f'host_key = "{KEY}"', 'host_key = "ssh-ed25519 ####"', "no host key"),
    (f'host_key = "{KEY}"', f'hostkey = "{KEY}"', "Did you mean 'host_key'"),
    ('triple = "aarch64-linux-gnu"', 'triple = "aarch64-linux"', "Did you mean 'aarch64-linux-gnu'"),
    ('triple = "aarch64-linux-gnu"', "", "'triple' is missing"),
    ('cpu = "cortex-a72"', 'cpu = "cortex -o /etc/passwd"', "no name of a core"),
    ("slots = 2", "slots = 0", "from 1 to 64"),
    ("slots = 2", "slots = true", "from 1 to 64"),
    ("slots = 2", 'meters = ["ina3222:VDD_IN"]', "names 'ina3222'. Did you mean 'ina3221'"),
    ("slots = 2", 'meters = "ina3221"', "a list of one text"),
    ("slots = 2", 'meters = ["ina3221", "ina2xx"]', "a list of one text"),
    ("slots = 2", 'folder = "../x"', "hold no"),
    ("slots = 2", 'folder = "a b; rm -rf /"', "letters, digits"),
    ("slots = 2", 'folder = "$HOME"', "letters, digits"),
    ("slots = 2", 'python = "-c"', "letters, digits"),
    ('cooling = "fan"', "cooling = 3", "must be a text"),
    ('extends = "host-c"', 'extends = "host-ort"', "triple is for the C runner"),
    ("[boards.kitchen-pi]", "[boards.host-ort]", "built-in board"),
    ("[boards.kitchen-pi]", '[boards."Kitchen Pi"]', "lower-case"),
    ("[boards.kitchen-pi]", "[board.kitchen-pi]", r"write \[boards\.NAME\]"),
    ("[boards.kitchen-pi]", "[boards.kitchen-pi", "cannot be read"),
    ("[boards.kitchen-pi]", "boards = 3\n[x]", "no table of boards"),
)


@pytest.mark.parametrize(("old", "new", "said"), BAD, ids=[f"{new or old} lacks" for old, new, _ in BAD])
def test_what_is_wrong_is_named(tmp_path, old, new, said):
    assert PI.count(old) == 1
    with pytest.raises(DeviceError, match=said) as caught:
        remote_boards(written(tmp_path, PI.replace(old, new)))
    assert "boards.toml" in str(caught.value)
