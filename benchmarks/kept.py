"""Trainings that are kept as files, so that a benchmark that is called again goes on behind them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge.weights import load_weights, save_weights
from export.atomic import write_file


def kept(path: Path, module: Any, settings: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Fill `module` from `path` where that was made with these settings; else do the work, and keep what came out.

    Args:
        path: of the weights (`.npz`); the record lies beside them as `.json`.
        module: trained in place by `work`.
        settings: JSON-able; another setting is another training.
        work: returns figures to keep, JSON-able.

    Returns:
        The figures, with `train_s` of wall time, `train_cpu_s` and `settings`.
    """
    done = path.with_suffix(".json")
    if done.exists() and (record := json.loads(done.read_text()))["settings"] == settings:
        load_weights(module, path)
        module.eval()
        return dict(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    start, cpu = time.monotonic(), time.process_time()
    figures = work()
    spent = {"train_s": round(time.monotonic() - start, 1), "train_cpu_s": round(time.process_time() - cpu, 1)}
    record = {**figures, **spent, "settings": dict(settings)}
    save_weights(module, path)
    write_file(done, json.dumps(record, indent=1).encode())
    print(path.stem, record, flush=True)
    return record


def kept_row(path: Path, settings: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures that `path` holds for these settings, else do the work and keep what came out.

    Args:
        path: a `.json` file.
        settings: JSON-able; other settings are another measurement.
        work: returns the figures, JSON-able.
    """
    wanted = json.loads(json.dumps(settings))
    if path.exists() and (record := json.loads(path.read_text()))["settings"] == wanted:
        return dict(record["row"])
    row = json.loads(json.dumps(work()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps({"settings": wanted, "row": row}, indent=1).encode())
    print(path.stem, "measured", flush=True)
    return dict(row)
