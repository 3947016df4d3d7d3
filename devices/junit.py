"""A gate's report as JUnit XML, which CI systems show."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from devices.gate import FAIL, INCONCLUSIVE
from devices.gate_report import Entry, GateReport, sentence


def to_junit(report: GateReport) -> bytes:
    """Return one test case for each entry.

    A failing figure is a failure, one that may not be compared an error, and one that is inconclusive is skipped: it
    did not pass. A report without any entry has one test case with an error, as nothing was checked.
    """
    cases = [_case(entry) for entry in report.entries] or [_nothing()]
    counts = {name: sum(case.find(name) is not None for case in cases) for name in ("failure", "error", "skipped")}
    attributes = {
        "name": f"edgemill gate: {report.candidate} against {report.baseline}",
        "tests": str(len(cases)),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "skipped": str(counts["skipped"]),
    }
    suite = ET.Element("testsuite", attributes)
    suite.extend(cases)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _case(entry: Entry) -> ET.Element:
    case = ET.Element("testcase", {"classname": f"{entry.target}.{entry.board}", "name": entry.name})
    text = sentence(entry)
    if entry.judged is None:
        ET.SubElement(case, "error", {"type": "refused", "message": text})
    elif entry.verdict == FAIL:
        ET.SubElement(case, "failure", {"type": "slower", "message": text})
    elif entry.verdict == INCONCLUSIVE:
        ET.SubElement(case, "skipped", {"message": f"inconclusive: {text}"})
    ET.SubElement(case, "system-out").text = "\n".join((text, *(f"doubt: {name}" for name in entry.doubts)))
    return case


def _nothing() -> ET.Element:
    case = ET.Element("testcase", {"classname": "edgemill", "name": "gate"})
    ET.SubElement(case, "error", {"type": "nothing", "message": "baseline and candidate have no figure in common"})
    return case
