"""Nothing leaves the machine: OpenVINO is kept from reporting over the network."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house import ROOT

PROGRAM = "import export; from openvino.tools.ovc import telemetry_utils; print(telemetry_utils.tm.__name__)"


def test_openvino_reports_nothing():
    pytest.importorskip("openvino", reason="openvino is not installed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub"]
