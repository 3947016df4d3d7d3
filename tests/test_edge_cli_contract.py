"""What every command keeps to: help, options with help, JSON that parses and says what the text says, a fast start."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from devices.runtimes import runtimes_for
from edge.cli import COMMANDS, main
from export.manifest import VERSION
from tests.house import ROOT
from tests.tiny import execute, surroundings, write_config, write_onnx

#: Commands that read something and say what it is; the others write files.
READING = (
    "run",
    "diagnose",
    "sweep",
    "search",
    "verify",
    "profile",
    "lab",
    "split",
    "infer",
    "lint",
    "energy",
    "eval",
    "dynamic",
    "exits",
    "cascade",
    "filter",
    "compare",
    "gate",
    "runs",
    "doctor",
    "formats",
    "targets",
    "boards",
    "models",
    "recipes",
)
WRITING = (
    "quantize",
    "finetune",
    "convert",
    "dynamic",
    "exits",
    "cascade",
    "filter",
    "export",
    "lint",
    "package",
    "report",
)
LISTS = ("formats", "targets", "boards", "models", "recipes")
HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "sklearn", "rich", "numpy")
README = (ROOT / "README.md").read_text()
BY_NAME = {command.name: command for command in COMMANDS}


def named(command: click.Command) -> str:
    """Name a case after its command."""
    return str(command.name)


def invoke(*words: object) -> str:
    """Run a command that must succeed; returns what it wrote to standard output."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_a_command_and_its_options_have_help(command):
    assert command.help
    assert command.get_short_help_str(limit=60)[-3:] != "..."
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help[0].isupper()
            assert parameter.help.endswith(".")
    text = invoke(command.name, "--help")
    assert all(option in text for parameter in command.params for option in parameter.opts if option[0] == "-")


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_a_command_is_in_the_readme(command):
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `"))
    assert re.search(rf"`(edgemill )?{command.name}[ `]", table)


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_reading_commands_take_json(command):
    flags = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in flags) == (command.name in READING)


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_what_writes_to_a_place_that_may_be_taken_has_force(command):
    flags = {option for parameter in command.params for option in parameter.opts}
    assert ("--force" in flags) == (command.name in WRITING)


def test_every_command_is_listed_in_order():
    listed = [line.split()[0] for line in invoke("--help").split("Commands:\n")[1].splitlines()]
    assert listed == [command.name for command in COMMANDS]
    assert len(set(listed)) == len(listed)


def test_the_version():
    assert invoke("--version") == f"edgemill {VERSION}\n"


def test_the_help_of_a_module_that_is_run(tmp_path):
    done = execute("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: edgemill [OPTIONS] COMMAND")


@pytest.mark.parametrize("words", [(), *((command.name,) for command in COMMANDS)], ids=" ".join)
def test_help_loads_nothing_heavy(words, tmp_path):
    """What a start imports is what it costs, and says so on any machine; seconds would only on an idle one."""
    program = (
        "import sys\nfrom edge.cli import main\n"
        f"main({[*words, '--help']!r}, standalone_mode=False)\n"
        "print('MODULES', *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    text, modules = done.stdout.split("MODULES")
    assert "Usage: " in text
    assert "click" in modules.split()
    assert set(modules.split()) & set(HEAVY) == set()


def cells(text: str) -> str:
    """Return a table's text without its lines and without the breaks that its width makes."""
    return re.sub(r"[\s│┃─━┏┓┡┩└┘┳╇┴┻]+", "", text)


@pytest.mark.parametrize("name", LISTS)
def test_a_lists_json_holds_what_its_text_shows(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    records, shown = json.loads(invoke(name, "--json")), cells(invoke(name))
    assert len(records) >= 1
    assert len({record["name"] for record in records}) == len(records)
    for record in records:
        for key, value in record.items():
            if isinstance(value, str):
                assert cells(value) in shown, (record["name"], key)


def test_the_formats_of_the_list_in_numbers():
    (int8,) = (record for record in json.loads(invoke("formats", "--json")) if record["name"] == "int8")
    assert (int8["bits"], int8["min"], int8["max"], int8["step"]) == (8, -128.0, 127.0, 1.0)


def test_doctors_json_holds_what_its_text_shows(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    records, shown = json.loads(invoke("doctor", "--json")), cells(invoke("doctor"))
    assert {record["kind"] for record in records} >= {"export", "tool", "runtime", "board", "meter"}
    for record in records:
        assert cells(record["name"]) in shown
        assert cells(record["detail"]) in shown
        assert isinstance(record["available"], bool)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run of an ONNX file for arm-m on the null board, made by the command line."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    home = tmp_path_factory.mktemp("run")
    write_onnx(home / "mine.onnx")
    path = write_config(home, model='onnx = "mine.onnx"', targets=("arm-m",), schemes=("w8a8", "we4m3-ae4m3"))
    text = invoke("run", path, "-o", home / "run")
    assert text.rstrip().endswith(f"report: {home / 'run' / 'report.html'}")
    return home


def test_the_json_of_a_run_is_its_record(folder):
    text = invoke("run", folder / "tiny.toml", "-o", folder / "run", "--json")
    assert text == (folder / "run" / "run.json").read_text()
    assert json.loads(text)["name"] == "tiny"


def test_the_json_of_verify(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    bundle = folder / "run" / "bundles" / "arm-m-w8a8"
    record, shown = json.loads(invoke("verify", bundle, "--json")), invoke("verify", bundle)
    assert record["digest"][:16] in shown
    assert [result["runtime"] for result in record["results"]] == [runtime.name for runtime in runtimes_for("arm-m")]
    for result in record["results"]:
        (line,) = (line for line in shown.splitlines() if f"│ {result['runtime']} " in line)
        assert cells(result["part"] + result["runtime"] + result["status"] + str(result["vectors"])) in cells(line)
        assert cells(result["reason"]) in cells(line)
    executed = [r for r in record["results"] if r["status"] != "not run"]
    assert f"{len(executed)} of {len(executed)} executed checks agree" in shown


def test_the_json_of_profile(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    words = ("profile", folder / "run" / "bundles" / "arm-m-w8a8", "--board", "null", "--windows", "3")
    lengths = ("--window-s", "0.01", "--warmup-s", "0", "--images", "1")
    (record,) = json.loads(invoke(*words, *lengths, "--json"))
    assert (record["board"], record["part"], len(record["latency_s"])) == ("null", "model", 3)
    shown = invoke(*words, *lengths)
    assert "null" in shown
    assert "model" in shown
    (plan,) = json.loads(invoke(*words, *lengths, "--dry-run", "--json"))
    assert (plan["windows"], plan["window_s"], plan["warmup_s"], plan["images"]) == (3, 0.01, 0.0, 1)
    assert "3 windows of 0.01 s" in invoke(*words, *lengths, "--dry-run")


@pytest.mark.parametrize("model", ["mine.onnx", "run/w8a8.graph", "run/bundles/arm-m-we4m3-ae4m3"])
def test_the_json_of_eval(folder, model):
    record = json.loads(invoke("eval", folder / model, "--data", "digits", "--json"))
    shown = invoke("eval", folder / model, "--data", "digits")
    assert record["images"] == 539
    assert 0.8 < record["accuracy"] < 1
    assert shown == f"{record['accuracy']:.2%} of 539 test images right ({record['executed_by']})\n"


def test_the_json_of_compare(folder):
    record = json.loads(invoke("compare", folder / "run", folder / "run", "--json"))
    assert isinstance(record, dict)
    assert "w8a8" in json.dumps(record)
    assert "w8a8" in invoke("compare", folder / "run", folder / "run")


def test_report_draws_the_page_again_and_refuses_another_file(folder, tmp_path):
    page = folder / "run" / "report.html"
    before = page.read_text()
    page.unlink()
    assert invoke("report", folder / "run") == f"{page}\n"
    assert len(page.read_text()) == len(before)
    taken = tmp_path / "notes.txt"
    taken.write_text("mine")
    result = CliRunner().invoke(main, ["report", str(folder / "run"), "-o", str(taken)])
    assert (result.exit_code, taken.read_text()) == (1, "mine")
    invoke("report", folder / "run", "-o", taken, "--force")
    assert taken.read_text().startswith("<!")
