"""`edgemill energy`, and the options of `profile` that name a meter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.cli import main
from tests.golden_traces import folder, published


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(word) for word in words])
    return done.exit_code, done.output


def test_the_published_windows_come_out() -> None:
    code, text = run("energy", folder("kws") / "trace1-energy.bin", "--inferences", 300, "--json")
    assert code == 0, text
    found = json.loads(text)
    assert found["method"] == "replayed"
    assert found["net_j"] is None
    assert [joules * 300 for joules in found["gross_j"]] == pytest.approx(published("kws"), rel=5e-4)
    assert len(found["windows_s"]) == 5


def test_an_idle_phase_gives_net_energy_or_a_reason() -> None:
    code, text = run("energy", folder("kws") / "trace1-energy.bin", "--inferences", 300, "--idle", "15.8:17.5")
    assert code == 0, text
    assert "net, idle 32.2 mW" in text
    code, text = run("energy", folder("ic") / "trace1-energy.bin", "--inferences", 100, "--idle", "28:36")
    assert code == 0, text
    assert "no net energy" in text
    assert "the device was not idle then" in " ".join(text.split())


def write_csv(path: Path, power: str = "2.0") -> Path:
    rows = [f"{i / 100},{power if i % 2 else 1.0},{'x' if i in (100, 300) else ''}" for i in range(400)]
    path.write_text("\n".join(["time_s,power_w,mark", *rows]))
    return path


def test_a_csv_trace_with_its_own_marks(tmp_path: Path) -> None:
    code, text = run("energy", write_csv(tmp_path / "t.csv"), "--inferences", 10, "--json")
    assert code == 0, text
    found = json.loads(text)
    assert found["windows_s"] == [[1.0, 3.0]]
    assert found["gross_j"] == pytest.approx([0.3], rel=0.01)
    assert found["expanded_j"] is None
    assert "no type A uncertainty" in " ".join(found["notes"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing.bin", "--inferences", 1), "cannot be read: No such file"),
        (("t.txt", "--inferences", 1), "a trace ends in .bin, .csv, .json"),
        (("nan.csv", "--inferences", 1), "are no numbers"),
        (("t.csv", "--inferences", 1, "--idle", "soon"), "--idle takes two seconds"),
        (("t.csv", "--inferences", 1, "--marks", "marks.json"), "marks must rise"),
        (("t.csv", "--inferences", 1, "--marks", "one.json"), "1 marks enclose no window"),
        (("t.csv", "--inferences", 1, "--marks", "far.json"), "the trace only covers"),
        (("t.csv", "--inferences", 0), "0 is not in the range"),
    ],
)
def test_bad_input_has_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(Path("t.csv"))
    write_csv(Path("nan.csv"), "nan")
    for name, marks in {"marks": [2.0, 1.0], "one": [1.0], "far": [1.0, 30.0]}.items():
        Path(f"{name}.json").write_text(json.dumps(marks))
    code, text = run("energy", *words)
    assert code in (1, 2)
    assert said in " ".join(text.split())
    assert "Traceback" not in text


def test_profile_refuses_a_meter_that_nobody_knows(tmp_path: Path) -> None:
    code, text = run("profile", tmp_path, "--board", "host-ort", "--meter", "raple")
    assert code == 1
    assert "Did you mean 'rapl'?" in text
