"""The lines of ST's LPM01A (PowerShield) in its ASCII dialect."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

PROMPT = "PowerShield > "
BAUD = 3_686_400
#: Sampling rates by the word of the command `freq`, in Hz; energy output takes 10 kHz at most.
RATES_HZ = {
    word: float(word.replace("k", "000"))
    for word in ("10k", "5k", "2k", "1k", "500", "200", "100", "50", "20", "10", "5", "2", "1")
}

_SAMPLE = re.compile(r"(\d{4})([+-]\d{2})")
_EVENT = re.compile(r"event (\d+) (?:ris|fal)")
_TIME = re.compile(r"TimeStamp: *(\d+)s (\d+)ms, *buff (\d+)%")
_VOLTS = re.compile(r"(\d+)m")

Kind = Literal["sample", "event", "time", "end", "completed", "error", "answer", "garbled", "empty"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: J of a sample, number of an event, seconds of a time stamp with the buffer's fill in per cent.

    `value` of a garbled line is the sample found in it, or None.
    """

    kind: Kind
    text: str
    value: float | None = None
    number: int = 0


def parse(raw: bytes) -> Line:
    """Return what a line without its ending says; whatever is none of the known forms is garbled."""
    text = raw.decode("ascii", errors="replace").strip().removeprefix(PROMPT.strip()).strip()
    if not text:
        return Line("empty", text)
    if found := _SAMPLE.fullmatch(text):
        return Line("sample", text, _joules(found))
    if found := _EVENT.fullmatch(text):
        return Line("event", text, number=int(found[1]))
    if found := _TIME.fullmatch(text):
        return Line("time", text, int(found[1]) + int(found[2]) / 1e3, int(found[3]))
    if text == "end":
        return Line("end", text)
    if "Acquisition completed" in text:
        return Line("completed", text)
    if text.startswith("error") or text.startswith("Error detail"):
        return Line("error", text)
    if text.startswith(("ack", "PowerShield", "summary", "Acquisition")) or re.fullmatch(r"\d+\.\d+\.\d+", text):
        return Line("answer", text)
    inner = _SAMPLE.search(text)
    return Line("garbled", text, _joules(inner) if inner else None)


def sample_text(joules: float) -> str:
    """Return a sample as the meter writes it: four digits and a power of ten.

    >>> sample_text(640.9e-6), sample_text(4.2e-5), sample_text(0.0)
    ('6409-07', '4200-08', '0000-00')
    """
    if joules <= 0:
        return "0000-00"
    mantissa, _, exponent = f"{joules:.3e}".partition("e")
    power = int(exponent) - 3
    return f"{mantissa.replace('.', '')}{power:+03d}"


def _joules(found: re.Match[str]) -> float:
    return float(f"{found[1]}e{found[2]}")


def is_voltage(word: str) -> bool:
    """Whether a word is a supply voltage that the meter can make: 1800m to 3300m."""
    found = _VOLTS.fullmatch(word)
    return found is not None and 1800 <= int(found[1]) <= 3300
