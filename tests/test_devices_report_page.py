"""The HTML report: complete, honest, escaped, and one file that needs nothing from anywhere."""

from __future__ import annotations

import re
import statistics
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from devices.report import units
from devices.report.page import html, write_report
from export.errors import ExportError
from quant.luts import CAVEATS
from tests import run_records
from tests.measurements import measurement
from tests.synthesis_nets import CIRCUIT

pytest.importorskip("jinja2", reason="the report needs jinja2 (extra 'report')")
VOID = {"meta", "br", "hr", "img", "input", "link", "source", "wbr"}
LOADING = {"src", "href", "xlink:href", "srcset", "poster", "data", "action", "formaction", "background", "ping"}


class Page(HTMLParser):
    """Collects tags, attributes, text and style, and checks that elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.style = ""
        self.words: list[str] = []
        self.cells: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.cells.append([])
        if tag in {"td", "th"}:
            self.cells[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.words.append(data)
            if {"td", "th"} & set(self._open):
                self.cells[-1][-1] += data

    @property
    def text(self) -> str:
        """All words, with single spaces."""
        return " ".join(" ".join(self.words).split())


def page(run) -> Page:
    return Page(html(run))


@pytest.mark.parametrize("shape", run_records.SHAPES, ids=lambda shape: shape.__name__)
def test_the_page_is_one_file_that_loads_nothing(shape):
    made = page(shape())
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "audio", "video"} & set(made.tags)
    assert [pair for pair in made.attributes if pair[0] in LOADING] == []
    assert [name for name, _ in made.attributes if name.startswith("on")] == []
    assert re.search(r"url\(|@import|expression\(|//", made.style) is None
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in made.attributes


@pytest.mark.parametrize("shape", run_records.SHAPES, ids=lambda shape: shape.__name__)
def test_no_figure_is_broken(shape):
    text = page(shape()).text
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", text)
    assert "{{" not in html(run_records.full())


def test_hostile_text_stays_text():
    run = run_records.hostile()
    text = html(run)
    assert "<script" not in text
    assert run.name in page(run).text
    assert page(run).text.count("{{ 7*7 }}") > 10


def rows_of(made: Page, *start: str) -> list[list[str]]:
    """Return the rows that begin with these cells."""
    return [row for row in made.cells if tuple(row[: len(start)]) == start]


def test_summary_counts_every_status_and_never_what_was_not_run():
    made = page(run_records.full())
    assert "11 of 12 executed checks agree; 1 proves nothing either way." in made.text
    for words in ("6 bit-exact", "5 bounded", "0 wrong", "1 inconclusive", "1 not run", "1 bundle that nothing here"):
        assert words in made.text


def test_a_wrong_check_leads():
    made = page(run_records.with_wrong())
    assert "1 of 12 executed checks is wrong." in made.text
    assert ("class", "headline bad") in made.attributes
    row = rows_of(made, "host", "w8a8", "model", "onnxruntime", "wrong")[0]
    assert row[7:10] == ["9", "44 of 160", "50.0 %"]
    assert "/stem/conv/Conv (Conv): up to 7 steps in 19 of 16,384; at [0, 2, 0, 5] expected -82, got -83" in row[10]


def test_nothing_executed_is_no_success():
    made = page(run_records.nothing_executed())
    assert "Nothing was executed, so nothing is proven" in made.text
    assert ("class", "headline good") not in made.attributes
    assert "no point is recommended" in made.text
    assert rows_of(made, "host", "w8a8", "model", "onnxruntime", "not run")[0][5:10] == [units.DASH] * 5
    for section in ("No latency was measured.", "No instructions were counted.", "No cycles were counted."):
        assert section in made.text


def test_a_bundle_without_checks_is_a_row_that_says_so():
    row = rows_of(page(run_records.full()), "jetson", "w8a8")[0]
    assert row[4] == "not run"
    assert "no runtime or emulator here" in row[10]


def test_refusals_stand_there_once_with_their_reason():
    run = run_records.all_refused()
    made = page(replace(run, bundles=(*run.bundles, run.bundles[0])))
    assert rows_of(made, "host", run_records.E4M3) == [["host", run_records.E4M3, "this target takes int8 only"]]
    assert "No bundle was written" in made.text


def test_accuracy_row_holds_flips_errors_and_the_test():
    row = rows_of(page(run_records.full()), run_records.E4M3)[0]
    assert row[1] == "97.78 %± 0.63"
    assert row[4:8] == ["97.96 %11 flips", "9", "1", "1"]
    assert row[8] == "p = 0.021: worse than float, more than chance"


def test_latency_row_holds_median_bounds_and_conditions():
    run = run_records.full()
    made = page(run)
    row = next(row for row in rows_of(made, "w8a8", "model", "host-ortort") if len(row) == 12)
    middle = statistics.median(run.measurements[0].samples_s)
    assert row[3] == "1,000"
    assert row[4].startswith(units.seconds(middle))
    assert "at most" in row[5]
    assert "at most" in row[6]
    assert row[10] == "0.2 → 0.3"
    assert "A CPU, 4 cores, Linux 6.1; governor unknown (no cpufreq here)" in made.text


def test_machines_that_differ_get_a_column():
    run = run_records.full()
    assert "All on one machine" not in page(run).text
    one = page(replace(run, measurements=run.measurements[:2]))
    assert "All on one machine: A CPU, 4 cores, Linux 6.1; governor unknown (no cpufreq here)" in one.text


def test_one_sample_gives_no_percentile():
    made = page(run_records.one_sample())
    row = rows_of(made, "w8a8", "model", "host-ortort")[0]
    assert row[5] == "not enough samples1 of 64"
    assert row[6] == "not enough samples1 of 662"
    assert "TOO_FEW_SAMPLES" in row[-1]
    assert "a p90 needs 64" in made.text


def test_simulated_and_measured_latencies_share_no_table():
    run = run_records.full()
    item = replace(run.measurements[0], board="null", method="simulated", source="made up")
    text = page(replace(run, measurements=(*run.measurements, item))).text
    assert "Latency, measured: one inference" in text
    assert "Latency, simulated: one inference" in text
    assert "null, simulated" in text


def test_counts_are_labelled_and_per_mac():
    run = run_records.full()
    made = page(run)
    assert "Instructions per inference, simulated: counts from an emulator, not time" in made.text
    assert "Clock cycles per inference, simulated: from a simulation of the circuit, not time" in made.text
    row = rows_of(made, "w8a8", "model", "mps2-an386mps2-an386")[0]
    assert row[3:] == ["8", "702,118the same for all", units.significant(702_118 / run.macs)]


def test_a_core_is_shown_with_its_budget_its_clock_and_its_layers():
    run = run_records.full()
    changes = {"board": "ulx3s-25k", "method": "synthesised", "source": "tools", "warmup": None}
    item = replace(run.measurements[0], **changes, latency_s=((6.25e-6, 6.25e-6),), circuit=CIRCUIT)
    made = page(replace(run, measurements=(*run.measurements, item)))
    assert "FPGA resources" in made.text and "nothing here ran on a board" in made.text
    assert "(LFE5U-25F CABGA381, speed grade 6), synthesised: fits" in made.text
    assert ["LUT", "1,000", "1,100", "24,288", "4.5 %"] in made.cells
    assert ["u0", "700", "400", "4.5", "3"] in made.cells
    assert "Latency, synthesised: cycles at the highest clock" in made.text
    assert "FPGA resources" not in page(run).text


def test_steps_stand_beside_their_macs_and_boards_of_one_bundle_in_one_table():
    made = Page(html(run_records.full()))
    assert made.text.count("Instructions by step of w8a8 (arm-m), simulated") == 1
    (head, *_) = [row for row in made.cells if row[:2] == ["step", "MACs"]]
    assert head == ["step", "MACs", "qemu-aarch64", "mps2-an386"]
    row = next(row for row in made.cells if row[:2] == ["conv", "50,000"])
    first = run_records.steps(410_233)[0].instructions or 0
    assert row[2].startswith(f"{first:,}75.0 %, {first / 50_000:.2f} per MAC")
    rest = next(row for row in made.cells if row[0] == "reshape")
    assert rest[1] == units.DASH
    assert "per MAC" not in rest[2]


def test_energy_is_absent_with_its_reason_or_there():
    run = run_records.full()
    assert "energyhost-ort" in "".join("".join(row) for row in page(run).cells)
    item = measurement(bundle=run.bundles[0].digest, energy_j=(1e-3, 2e-3, 3e-3))
    made = page(replace(run, measurements=(item,)))
    assert rows_of(made, "w8a8", "model", "host-ort", "3") == [
        ["w8a8", "model", "host-ort", "3", "2.00 mJ± 1.00 mJ MAD", *[f"{units.DASH}not recorded"] * 3, units.DASH]
    ]


def test_the_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.html"
    write_report(run_records.full(), path)
    assert path.read_text() == html(run_records.full())
    with pytest.raises(ExportError, match="not a folder"):
        write_report(run_records.full(), tmp_path / "missing" / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_luts_are_never_shown_without_what_they_leave_out():
    page = Page(html(run_records.full()))
    for caveat in CAVEATS:
        assert " ".join(caveat.split()) in " ".join(page.text.split())
    run = run_records.full()
    without = replace(run, schemes=tuple(replace(record, cost=None) for record in run.schemes))
    assert "DSP" not in Page(html(without)).text
