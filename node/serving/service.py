"""One request in, one answer out, whatever server stands before it. An answer is JSON of a known shape.

200 {"predictions": [...]}; 400 and 413 {"message", "faults"}: the client must change its request; 405; 500 {"message"}:
the model could not answer, and why. No answer holds NaN.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from node.errors import ItemFault, reason_of
from node.models import ModelCard
from node.serving import loading
from node.serving.collector import Collector, Served, collector_of
from node.serving.requests import MAX_BYTES, BadRequest, Rows, parse_rows, too_large

logger = logging.getLogger(__name__)

REQUEST_ID = "x-muster-request-id"
CLIENT_REQUEST_IDS = ("x-ms-client-request-id", "x-request-id")
_ID_CHARS = 100
_DRAINED_BYTES = (
    32 * 1024 * 1024
)  # a body too large is read so far, so that its sender comes to hear our answer
_CHUNK = 64 * 1024
_EXAMPLES: dict[str, Any] = {"double": 0.0, "long": 0, "string": "", "boolean": False}


class Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


class Service:
    def __init__(self, card: ModelCard, predictor: loading.Predictor, collector: Collector | None) -> None:
        self._card, self._predictor, self._collector = card, predictor, collector

    def answer(self, method: str, headers: Mapping[str, str], stream: Stream) -> Answer:
        """`headers` must find names in any case."""
        if method != "POST":
            return Answer(405, {"message": f"{method} is not answered here; POST is"}, {"Allow": "POST"})
        request = uuid.uuid4().hex
        try:
            body = _read(stream)
            rows = parse_rows(body, self._card.inputs)
            predictions = self._predictor.predict(rows, body)
        except BadRequest as error:
            answer = Answer(error.status, {"message": str(error)[:2000], "faults": list(error.faults)})
        except ItemFault as error:
            logger.error("request %s: %s", request, reason_of(error))
            answer = Answer(500, {"message": reason_of(error)})
        else:
            self._collect(request, headers, rows, predictions, len(body))
            answer = Answer(200, {"predictions": predictions})
        answer.headers[REQUEST_ID] = request
        return answer

    def warm_up(self) -> None:
        """Predict one made-up row, so that the first client does not wait for what loads late. Its answer is nobody's."""
        rows = Rows({column.name: [_EXAMPLES[column.type]] for column in self._card.inputs}, 1)
        try:
            self._predictor.predict(rows, b"")
        except ItemFault as error:
            logger.info("a row of zeros was not answered: %s", reason_of(error))

    def close(self) -> None:
        if self._collector is not None:
            self._collector.close()

    def _collect(
        self, request: str, headers: Mapping[str, str], rows: Rows, predictions: list[Any], size: int
    ) -> None:
        if self._collector is None:
            return
        theirs = next((headers[name] for name in CLIENT_REQUEST_IDS if headers.get(name)), "")
        now = datetime.now(UTC)
        self._collector.offer(Served(request, theirs[:_ID_CHARS], now, rows, predictions, size))


def open_service(
    environment: Mapping[str, str] | None = None, code: Path | None = None, entry: str = ""
) -> Service:
    """The service that the environment describes. Raises ModelLoadError or CodeLoadError with one clear line."""
    environment = os.environ if environment is None else environment
    folder, card = loading.find_model(environment)
    if code is None:
        service = Service(card, loading.load_predictor(folder, card), collector_of(environment, card))
        service.warm_up()
        return service
    return Service(card, loading.load_user_code(code, entry, card), collector_of(environment, card))


def _read(stream: Stream) -> bytes:
    """All of a body of a sane size. Raises BadRequest (413)."""
    body = bytearray()
    while chunk := stream.read(_CHUNK):
        body += chunk
        if len(body) > MAX_BYTES:
            _drain(stream)
            raise too_large()
    return bytes(body)


def _drain(stream: Stream) -> None:
    left = _DRAINED_BYTES
    while left > 0 and (chunk := stream.read(_CHUNK)):
        left -= len(chunk)
