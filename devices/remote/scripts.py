"""The scripts that run on a board: POSIX sh with tar, sha256sum, mkdir, mv, rm, setsid, tail and sync, nothing else.

Every script gets the file with the boot id and our folder first, and writes a line `boot ID` first. In the folder:

b/ID            a bundle, whole; b/ID.part.NONCE one that is arriving
j/JOB           a job: boot, pid (with its start time), out.jsonl, err.txt, and rc when it has ended
s/BOOT.N        who holds slot N since this boot; made with O_EXCL, so that one of several hosts gets it

A script may run twice: the answer to the first time can be lost with the connection.
"""

from __future__ import annotations

import shlex

#: Exit codes of the scripts: our folder cannot be made, an archive cannot be unpacked, or is not what was sent.
NO_FOLDER, NOT_UNPACKED, NOT_WHOLE = 73, 74, 75

_ENTER = """umask 077
boot=
read -r boot < "$1"
test -n "$boot" || boot=unknown
echo "boot $boot"
mkdir -p "$2/b" "$2/j" "$2/s" && cd "$2" || exit 73
shift 2
"""

# Sets `age` to when a process started, in ticks since boot: with its number that is one process and no other. A zombie
# has none.
_AGE = """age_of() {
  age=
  line=
  test -r "/proc/$1/stat" && read -r line < "/proc/$1/stat"
  set -- ${line##*) }
  test $# -gt 19 && test "$1" != Z && shift 19 && age=$1
}
"""

_ALIVE = (
    _AGE
    + """alive() {
  pid=
  start=
  test -f "j/$1/pid" && read -r pid start < "j/$1/pid"
  test -n "$start" || return 1
  age_of "$pid"
  test "$age" = "$start"
}
"""
)

_WHOLE = """whole() {
  ( cd "$1" && echo "$2  SHA256SUMS" | sha256sum -c && sha256sum -c SHA256SUMS ) > /dev/null 2>&1
}
"""

#: Arguments: bundle, hash of its SHA256SUMS, nonce; the archive on stdin. Writes `pushed`.
PUSH = (
    _ENTER
    + _WHOLE
    + """part="b/$1.part.$3"
rm -rf "$part"
mkdir "$part" || exit 73
( cd "$part" && tar xzf - ) || { rm -rf "$part"; exit 74; }
whole "$part" "$2" || { rm -rf "$part"; exit 75; }
sync
test -d "b/$1" || mv "$part" "b/$1"
rm -rf "$part" "b/$1/${part##*/}"
echo pushed
"""
)

# The slot is given back last, and only where it still is ours.
_LAUNCH = (
    _AGE
    + """slot=$1
job=$2
bundle=$3
shift 3
age_of $$
echo "$$ $age" > "j/$job/pid.tmp"
mv "j/$job/pid.tmp" "j/$job/pid"
( cd "b/$bundle" && exec "$@" ) > "j/$job/out.jsonl" 2> "j/$job/err.txt"
echo $? > "j/$job/rc.tmp"
sync
mv "j/$job/rc.tmp" "j/$job/rc"
held=
read -r held < "$slot"
test "$held" = "$job" && rm -f "$slot"
"""
)

#: Arguments: bundle, hash of its SHA256SUMS, job, slots, a dead job whose slot may be taken or `-`, the command.
#: Writes `started`; `exists` when the job was started before; `absent` when the bundle is not there or not whole; or a
#: line `busy JOB running|gone` for each slot.
START = (
    _ENTER
    + _ALIVE
    + _WHOLE
    + """test -d "j/$3" && { echo exists; exit 0; }
test -d "b/$1" || { echo absent; exit 0; }
whole "b/$1" "$2" || { mv "b/$1" "b/$1.bad.$$"; rm -rf "b/$1.bad.$$"; echo absent; exit 0; }
slot=
n=0
while test "$n" -lt "$4"; do
  at="s/$boot.$n"
  held=
  test -f "$at" && read -r held < "$at"
  test "$held" = "$3" && { echo exists; exit 0; }
  test "$5" != - && test "$held" = "$5" && mkdir "s/$5.taken" 2> /dev/null && rm -f "$at"
  if ( set -C; echo "$3" > "$at" ) 2> /dev/null; then slot=$at; break; fi
  n=$((n + 1))
done
if test -z "$slot"; then
  n=0
  while test "$n" -lt "$4"; do
    held=
    test -f "s/$boot.$n" && read -r held < "s/$boot.$n"
    if alive "${held:--}"; then echo "busy $held running"; else echo "busy ${held:--} gone"; fi
    n=$((n + 1))
  done
  exit 0
fi
mkdir "j/$3" 2> /dev/null || { rm -f "$slot"; echo exists; exit 0; }
echo "$boot" > "j/$3/boot"
job=$3
bundle=$1
shift 5
setsid sh -c """
    + shlex.quote(_LAUNCH)
    + """ edgemill "$slot" "$job" "$bundle" "$@" < /dev/null > /dev/null 2>&1 &
echo started
"""
)

#: Arguments: job, offset. Writes `state none|starting|running|dead`, or `state ended CODE`; `born BOOT`; then the bytes
#: of out.jsonl from the offset. What is alive is looked at before what has ended: a job that ends in between has ended.
FOLLOW = (
    _ENTER
    + _ALIVE
    + """state=starting
born=-
test -f "j/$1/pid" && state=dead
alive "$1" && state=running
if test -f "j/$1/rc"; then
  code=
  read -r code < "j/$1/rc"
  state="ended ${code:--}"
fi
test -d "j/$1" || state=none
test -f "j/$1/boot" && read -r born < "j/$1/boot"
echo "state $state"
echo "born $born"
test -f "j/$1/out.jsonl" && tail -c "+$(($2 + 1))" "j/$1/out.jsonl"
exit 0
"""
)

#: Argument: job. Writes the SHA-256 of its records on a line, then the end of what it wrote to stderr.
SUM = (
    _ENTER
    + """sha256sum < "j/$1/out.jsonl" || echo -
test -f "j/$1/err.txt" && tail -c 2000 "j/$1/err.txt"
exit 0
"""
)

#: Argument: job. Kills what runs of it, and removes it.
REMOVE = (
    _ENTER
    + _ALIVE
    + """alive "$1" && kill -9 "-$pid"
for at in s/*; do
  held=
  test -f "$at" && read -r held < "$at" && test "$held" = "$1" && rm -f "$at"
done
rm -rf "s/$1.taken"
test -d "j/$1" && mv "j/$1" "j/$1.gone.$$"
rm -rf "j/$1.gone.$$"
exit 0
"""
)

#: Writes `busy JOB` for every job that runs; where there is none, removes all bundles and jobs and writes how many.
CLEAN = (
    _ENTER
    + _ALIVE
    + """busy=
for at in j/*; do
  alive "${at##*/}" && { echo "busy ${at##*/}"; busy=yes; }
done
test -z "$busy" || exit 0
n=0
for at in b/* j/*; do
  test -d "$at" && rm -rf "$at" && n=$((n + 1))
done
rm -rf s
echo "removed $n"
"""
)

#: Arguments: patterns of file names. Writes `file NAME` and the file's lines, each behind a `=`, for every file that a
#: pattern finds; `denied NAME` where it cannot be read.
READ = (
    _ENTER
    + """for pattern in "$@"; do
  for name in $pattern; do
    test -f "$name" || continue
    if test -r "$name"; then echo "file $name"; else echo "denied $name"; continue; fi
    while IFS= read -r line || test -n "$line"; do printf "=%s\\n" "$line"; done < "$name" 2> /dev/null
  done
done
exit 0
"""
)

#: Writes the machine's name, as `uname -m` gives it, or `unknown` where there is no such command; then which of the
#: commands that the scripts need is not there.
ASK = (
    _ENTER
    + """uname -m 2> /dev/null || echo unknown
for name in tar sha256sum mkdir mv rm setsid tail sync; do
  command -v "$name" > /dev/null 2>&1 || echo "lacks $name"
done
exit 0
"""
)

_MODULES = """import platform, sys
names = {"tflite-runtime": "tflite_runtime.interpreter", "litert": "ai_edge_litert.interpreter"}
name = sys.argv[1]
import numpy
__import__(names.get(name, name))
print("Python " + platform.python_version() + ", numpy " + numpy.__version__ + ", " + name)
"""

#: Arguments: an interpreter, a runtime. Writes what is there; the exit code is not 0 where the runtime is not.
PYTHON = _ENTER + 'exec "$1" -c ' + shlex.quote(_MODULES) + ' "$2"\n'
