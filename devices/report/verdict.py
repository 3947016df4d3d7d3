"""The first lines of a report: whether what was executed agreed, what was not executed, and the best point."""

from __future__ import annotations

from dataclasses import dataclass

from devices.report.joined import Entry, cost, entries
from devices.run_record import BundleRecord, RunRecord, SchemeRecord
from export.parity import STATUSES


@dataclass(frozen=True, slots=True)
class Tally:
    """How many parity checks have each status, and how many bundles nothing here could execute.

    `counts` are pairs in the order of STATUSES. `unexecuted` are bundles without any check.
    """

    counts: tuple[tuple[str, int], ...]
    unexecuted: int

    def of(self, status: str) -> int:
        """Return the number of checks with a status."""
        return dict(self.counts)[status]

    @property
    def executed(self) -> int:
        """Checks that executed something: all but `not run`."""
        return sum(number for status, number in self.counts if status != "not run")

    @property
    def agreed(self) -> int:
        """Checks that executed something and agreed; `not run` and `inconclusive` never count."""
        return self.of("bit-exact") + self.of("bounded")

    @property
    def kind(self) -> str:
        """`bad`, `warn` or `good`: how the headline is shown."""
        if self.of("wrong"):
            return "bad"
        return "good" if self.executed and self.agreed == self.executed else "warn"


def tally(run: RunRecord) -> Tally:
    """Count the parity results of a run."""
    statuses = [parity.status for bundle in run.bundles for parity in bundle.parity]
    unexecuted = sum(bundle.refused is None and not bundle.parity for bundle in run.bundles)
    return Tally(tuple((status, statuses.count(status)) for status in STATUSES), unexecuted)


def headline(found: Tally) -> str:
    """Say in one sentence what the checks prove."""
    if found.executed == 0:
        return "Nothing was executed, so nothing is proven about the exported files."
    wrong, open_ = found.of("wrong"), found.of("inconclusive")
    if wrong:
        return f"{wrong} of {found.executed} executed checks {'is' if wrong == 1 else 'are'} wrong."
    if open_:
        verb = "proves" if open_ == 1 else "prove"
        return f"{found.agreed} of {found.executed} executed checks agree; {open_} {verb} nothing either way."
    checks = "The one executed check agrees" if found.executed == 1 else f"All {found.executed} executed checks agree"
    kinds = (("bit for bit", found.of("bit-exact")), ("within their bound", found.of("bounded")))
    how = " and ".join(f"{number} {words}" for words, number in kinds if number)
    return f"{checks} with the integer reference: {how}."


@dataclass(frozen=True, slots=True)
class Best:
    """The scheme with the highest accuracy whose executed checks agree, and its cheapest measured latency."""

    record: SchemeRecord
    fastest: Entry | None


def best(run: RunRecord) -> Best | None:
    """Return the best point; None when no scheme was executed and agreed.

    A scheme counts when at least one check of it agreed and none is wrong. Ties go to the smaller weights.
    """
    sound = [record for record in run.schemes if _is_sound(run, record.scheme)]
    if not sound:
        return None
    found = min(sound, key=lambda record: (-record.accuracy.quantised_accuracy, record.weight_bytes))
    timed = [e for e in entries(run) if e.scheme == found.scheme and e.is_whole and _is_timed(e)]
    return Best(found, min(timed, key=lambda entry: cost(entry, "latency"), default=None))


def refusals(run: RunRecord) -> tuple[tuple[BundleRecord, str], ...]:
    """Return every refused pair of target and scheme once, with the reason."""
    seen = {(b.target, b.scheme, b.refused): b for b in run.bundles if b.refused is not None}
    return tuple((bundle, bundle.refused or "") for bundle in seen.values())


def has_wrong(bundle: BundleRecord) -> bool:
    """Whether a check of the bundle is wrong."""
    return any(parity.status == "wrong" for parity in bundle.parity)


def _is_sound(run: RunRecord, scheme: str) -> bool:
    found = [bundle for bundle in run.bundles if bundle.scheme == scheme]
    passed = any(parity.passed for bundle in found for parity in bundle.parity)
    return passed and not any(has_wrong(bundle) for bundle in found)


def _is_timed(entry: Entry) -> bool:
    return entry.measurement.latency_s is not None and entry.measurement.method == "measured"
