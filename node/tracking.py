"""Metrics of a run in Azure ML, by MLflow's REST API: what a sweep compares its children by, and stops them early by.

A job finds where to send them in its environment: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN, MLFLOW_RUN_ID, as Azure ML
sets them. The standard library is enough: one POST (mlflow.org, REST API, runs/log-metric). A metric that cannot be
sent costs the sweep a hint, never the trial: what a trial came to is in its record.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from node.plain_files import open_plain
from node.ticker import Ticker

logger = logging.getLogger(__name__)
REPORTS = "metrics.jsonl"
EVERY_S = 1.0
_MAX_BYTES = 1024 * 1024
_PAUSES_S = (1, 2, 4, None)
_TIMEOUT_S = 20.0
_HOST = re.compile(r"[a-z0-9.-]+\.azureml\.(?:ms|cn|us)")


class Run:
    """The Azure ML run that this process is the command of."""

    def __init__(self, uri: str, token: str, run_id: str) -> None:
        """`uri` as azureml://HOST/mlflow/v1.0/...: its token goes to no host but Azure ML's. Raises ValueError."""
        found = urlsplit(uri)
        if found.scheme not in ("azureml", "https") or not _HOST.fullmatch(found.netloc):
            raise ValueError(f"{found.scheme}://{found.netloc} is no tracking service of Azure ML")
        self._url = f"https://{found.netloc}{found.path.rstrip('/')}/api/2.0/mlflow/runs/log-metric"
        self._token, self._run_id = token, run_id

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Run | None:
        """None, and said so, where the environment names none."""
        try:
            return cls(
                environment["MLFLOW_TRACKING_URI"],
                environment["MLFLOW_TRACKING_TOKEN"],
                environment["MLFLOW_RUN_ID"],
            )
        except (KeyError, ValueError) as error:
            logger.warning("metrics cannot be reported to Azure ML: %s", error)
            return None

    def log(self, name: str, value: float, step: int) -> bool:
        """Whether Azure ML took it."""
        body = {
            "run_id": self._run_id,
            "run_uuid": self._run_id,
            "key": name,
            "value": value,
            "timestamp": time.time_ns() // 1_000_000,
            "step": step,
        }
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = Request(self._url, json.dumps(body).encode(), headers, method="POST")
        for pause in _PAUSES_S:
            try:
                with urlopen(request, timeout=_TIMEOUT_S):
                    return True
            except HTTPError as error:
                reason = f"HTTP {error.code}"
                if error.code not in (408, 429) and error.code < 500:
                    break
            except (URLError, OSError) as error:
                reason = type(error).__name__
            if pause is not None:
                time.sleep(pause)
        logger.warning("metric %s was not reported: %s", name, reason)
        return False


class Reports:
    """Sends on what a training program appends to `OUT/metrics.jsonl`, an object a line, while the block lasts.

    A line's number is its step. A line without a number for the metric is left out: the file is somebody else's.
    """

    def __init__(self, run: Run, metric: str, out: Path) -> None:
        self._run, self._metric, self._path = run, metric, out / REPORTS
        self._sent, self.steps = 0, 0
        self._ticker = Ticker("metrics", EVERY_S, self._look)

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.stop()
        if kind is None:
            self._look()

    def _look(self) -> None:
        try:
            with open_plain(self._path) as file:
                if os.fstat(file.fileno()).st_size > _MAX_BYTES:
                    return
                file.seek(self._sent)
                data = file.read(_MAX_BYTES)
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._sent += len(whole)
        for line in whole.splitlines():
            value = _metric(line, self._metric)
            if value is not None:
                self._run.log(self._metric, value, self.steps)
            self.steps += 1


def _metric(line: bytes, name: str) -> float | None:
    try:
        value = json.loads(line)[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None
