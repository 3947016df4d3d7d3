"""Files: bundles, the writers of each target, and the proof that what they wrote computes the same function."""

import sys

# OpenVINO reports every import and conversion to its maker over the network, without asking, from a process it forks.
# Without the package that does so it works the same, and nothing leaves the machine.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
