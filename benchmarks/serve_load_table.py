"""The table of `benchmarks.serve_load`."""

from __future__ import annotations

from textwrap import fill
from typing import Any

from benchmarks.load_clients import ATTACKS

_NAMES = {"http": "tornado, HTTP", "echo": "asyncio echo"}
_TIMES = "p50 ms | p95 ms | p99 ms | server CPU ms per answer | times ours"
WIDTH = 140


def leaks(row: dict[str, Any]) -> dict[str, int]:
    """Return what the process holds more of after the load than before it."""
    return {key: row["after"][key] - row["before"][key] for key in row["before"]}


def table(row: dict[str, Any], peers: list[dict[str, Any]], labels: int) -> str:
    """Return the whole page."""
    memory = ", ".join(f"{value / 1e6:.1f}" for value in row["rss_bytes_in_tenths"])
    return "\n".join(
        [
            f"# {row['clients']} clients at once against `edgemill serve`",
            "",
            fill(_about(row, peers, labels), WIDTH),
            "",
            f"| server | answers | wrong | failed clients | answers/s | {_TIMES} |",
            "|---|---|---|---|---|---|---|---|---|---|",
            _line("`edgemill serve`", row, row),
            *(_line(_NAMES[found["peer"]], found, row) for found in peers),
            "",
            "What the process held with no client connected, before the load (after a warm-up of 2 s) and after it:",
            "",
            "| | before | after | change |",
            "|---|---|---|---|",
            *(
                f"| {key.replace('_', ' ')} | {row['before'][key]:,} | {row['after'][key]:,} | {change:+,} |"
                for key, change in leaks(row).items()
            ),
            "",
            f"Memory in MB at each tenth of the load: {memory}. The most was {row['rss_max_bytes'] / 1e6:.1f}.",
            "A test counts the server's own objects and traced bytes over three such loads: they do not grow.",
            "",
            f"Attacks at the same time; {len(row['unexpected'])} got anything else than they should. A truncated",
            "stream is let go without an answer. What is logged holds the warm-up, too.",
            "",
            "| attack | times | refusals received | refusals logged |",
            "|---|---|---|---|",
            *(
                f"| {name} | {row['attacks'][name]} | {row['refusals'].get(name, 0)} | "
                f"{row['logged_refusals'].get(name, 0)} |"
                for name in ATTACKS
            ),
            "",
            "    python -m benchmarks.serve_load --data DATA --write",
            "",
        ]
    )


def _about(row: dict[str, Any], peers: list[dict[str, Any]], labels: int) -> str:
    return (
        "The tail of the keyword-spotting network (w8a8), 8,044 bytes a request, 16 real inputs of "
        f"{labels} labels, every answer compared code by code. {row['clients']} connections ask one question after "
        f"another for {row['wall_s']:.0f} s over loopback. Server and clients are processes of their own and share "
        "this machine's cores with other work (`load_average_1min` in the JSON), so that processor time per answer "
        f"compares better than answers per second. {len(ATTACKS)} attackers ran against ours all the time; peers were "
        f"not attacked and ran {peers[0]['wall_s']:.0f} s. Peers: the same tail behind tornado's HTTP server, frame by "
        "frame; an echo that runs nothing, the floor of asyncio for the same bytes."
    )


def _line(name: str, found: dict[str, Any], ours: dict[str, Any]) -> str:
    cpu = found["server_cpu_ms_per_answer"]
    times = " | ".join(f"{found[f'p{q}_ms']:.1f}" for q in (50, 95, 99))
    return (
        f"| {name} | {found['answers']} | {found['wrong']} | {len(found['failed'])} | {found['answers_per_s']:.0f} | "
        f"{times} | {cpu:.3f} | {cpu / ours['server_cpu_ms_per_answer']:.2f} |"
    )
