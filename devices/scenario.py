"""Scenarios with the names of MLPerf inference: how many samples a query has, and which figure it is judged by.

single-stream  one sample a query, the next query after the answer; the 90th percentile of the latency
multi-stream   eight samples a query, the next query after the last answer; the 99th percentile of the latency
offline        one query with all samples; samples per second

Query counts are those that allow the percentile's bound with 99 % confidence (`devices.stats.least_count`); the least
samples and the duration are those of MLPerf's submission rules. A short run is fine for work at a desk: a percentile
that it cannot support is not quoted.
"""

from __future__ import annotations

from dataclasses import dataclass

from devices.errors import DeviceError
from devices.stats import least_count
from quant.names import find

#: A submission to MLPerf lasts at least this long, in seconds.
SUBMISSION_S = 600.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """How queries are put.

    Attributes:
        name: what a person types, and what a measurement says.
        summary: one line for lists.
        samples_per_query: inferences of one query; None where one query has all samples of a window.
        percentile: of the latencies of queries; None where the figure is samples per second.
        min_queries: fewest queries that let the figure be stated.
        min_samples: fewest inferences that MLPerf asks for.
    """

    name: str
    summary: str
    samples_per_query: int | None
    percentile: float | None
    min_queries: int
    min_samples: int


SINGLE_STREAM = Scenario(
    "single-stream", "one inference after the other; p90 of the latency", 1, 0.90, least_count(0.90), least_count(0.90)
)
MULTI_STREAM = Scenario(
    "multi-stream", "eight inferences a query; p99 of the query's latency", 8, 0.99, least_count(0.99), 8 * 662
)
OFFLINE = Scenario("offline", "all inferences at once; inferences per second", None, None, 1, 24_576)

SCENARIOS = (SINGLE_STREAM, MULTI_STREAM, OFFLINE)


def find_scenario(name: str) -> Scenario:
    """Return the scenario called `name`, or raise DeviceError with the nearest known name."""
    return find(name, SCENARIOS, "scenario", DeviceError)
