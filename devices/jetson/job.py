"""The job that runs on a Jetson: build, self-test, timed run, run by layer; and what it writes, read back.

The job writes lines: `begin STEP`, `ended STEP CODE`, and files as `file NAME` with each line behind a `=`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devices.errors import DeviceError

#: Exit code of a step that was not begun for want of Python.
NO_PYTHON = 127
STEPS = ("build", "selftest", "run", "profile")

#: Argument: the part's name. Files of an earlier run cannot stand in for those of this one.
SCRIPT = """#!/bin/sh
set -u
name=$1
show() {
  test -f "$1" || return 0
  echo "file $1"
  sed 's/^/=/' "$1"
  echo
}
step() {
  label=$1
  shift
  echo "begin $label"
  "$@" > "$label.log" 2>&1 < /dev/null
  code=$?
  show "$label.log"
  echo "ended $label $code"
}
rm -f build.log selftest.log run.log profile.log selftest_result.json
rm -f "$name.times.json" "$name.layers.json" "$name.profile.json"
step build sh build.sh
test $code = 0 || exit 0
step selftest python3 selftest.py
show selftest_result.json
step run sh run.sh
show "$name.times.json"
show "$name.layers.json"
step profile sh profile.sh
show "$name.profile.json"
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job left: exit codes by step, and files by name."""

    codes: Mapping[str, int]
    files: Mapping[str, str]

    def file(self, name: str, step: str) -> str:
        """Return a file, or raise DeviceError: its step ended well and did not write it."""
        if name not in self.files:
            raise DeviceError(f"the step '{step}' on the board ended well, but wrote no {name}.")
        return self.files[name]


def read_records(records: bytes) -> Outcome:
    """Read what the job wrote.

    Raises:
        DeviceError: a line is of no known form, or the job stopped in the middle of a step.
    """
    codes: dict[str, int] = {}
    files: dict[str, list[str]] = {}
    current: list[str] = []
    begun: list[str] = []
    for line in records.decode("utf-8", "replace").split("\n"):
        words = line.split(" ")
        if line.startswith("="):
            current.append(line[1:])
        elif words[0] == "file" and len(words) == 2:
            current = files.setdefault(words[1], [])
        elif words[0] == "begin" and len(words) == 2:
            begun.append(words[1])
        elif words[0] == "ended" and len(words) == 3 and words[2].isdigit():
            codes[words[1]] = int(words[2])
        elif line:
            raise DeviceError(f"the job on the board wrote a line that is none of its own: '{line[:80]}'.")
    unfinished = [step for step in begun if step not in codes]
    if unfinished or not codes:
        raise DeviceError(f"the job on the board stopped during '{(unfinished or ['start'])[0]}'.")
    return Outcome(codes, {name: "\n".join(lines) for name, lines in files.items()})
