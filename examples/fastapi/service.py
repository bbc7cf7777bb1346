"""An HTTP service around a bundle: a JPEG or PNG in, its best classes out, requests grouped into batches.

Start it, and ask it, with:

    BUNDLE=bundle uvicorn --factory service:create_app --port 8000 --timeout-graceful-shutdown 20
    curl --data-binary @image.jpg localhost:8000/classify
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse

from wrn_deploy import Batcher, DeployError, Overloaded, Runner, UsageError, read_image

__all__ = ["Settings", "create_app"]

log = logging.getLogger("uvicorn.error")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # how a JPEG and a PNG begin
NUMBERS: dict[str, Callable[[str], float]] = {
    "max_batch": int, "max_delay_ms": float, "max_waiting": int, "max_bytes": int,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the service runs; the environment names each in capitals, as BUNDLE and MAX_BATCH."""

    bundle: str
    backend: str | None = None
    precision: str | None = None
    max_batch: int = 16
    max_delay_ms: float = 2.0
    max_waiting: int = 256
    max_bytes: int = 10_000_000

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Raises UsageError without BUNDLE, or for a number that is none."""
        given: dict[str, Any] = {name: environment.get(name.upper()) for name in cls.__slots__}
        given = {name: text for name, text in given.items() if text is not None}
        if "bundle" not in given:
            raise UsageError("BUNDLE is not set: expected the folder of a bundle")
        for name in NUMBERS.keys() & given.keys():
            try:
                given[name] = NUMBERS[name](given[name])
            except ValueError as error:
                raise UsageError(f"{name.upper()} is {given[name]!r}: expected a number") from error
        return cls(**given)


@dataclass(slots=True)
class Service:
    """What answers requests: an open bundle and the batches of its images, between start-up and shutdown."""

    settings: Settings
    runner: Runner | None = None
    batcher: Batcher | None = None
    answered: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    @asynccontextmanager
    async def open(self, _app: FastAPI) -> AsyncIterator[None]:
        """Opens the bundle before the first request; after the last one, answers the images that wait."""
        chosen = self.settings
        with Runner.open(chosen.bundle, backend=chosen.backend, precision=chosen.precision) as self.runner:
            self.runner.warmup((1, chosen.max_batch))
            with Batcher(
                self.runner,
                max_batch=chosen.max_batch,
                max_delay_ms=chosen.max_delay_ms,
                max_waiting=chosen.max_waiting,
            ) as self.batcher:
                log.info("%s: %s %s", chosen.bundle, self.runner.backend, self.runner.precision)
                yield

    async def classify(self, request: Request, top_k: int = Query(5, ge=1, le=1000)) -> dict[str, object]:
        """The best classes of the image in the body of the request, best first."""
        content = await self._read_body(request)
        if not content.startswith(SIGNATURES):
            raise HTTPException(415, "expected a JPEG or a PNG as the body of the request")
        assert self.runner is not None
        assert self.batcher is not None
        try:
            pixels = await asyncio.to_thread(read_image, content, self.runner)  # other requests go on meanwhile
            logits = await self.batcher.predict_async(pixels)
        except Overloaded as error:
            raise HTTPException(503, str(error), {"Retry-After": "1"}) from error
        except DeployError as error:  # not decodable, too many pixels, or another size than the network's
            raise HTTPException(422, str(error)) from error
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        labels = self.runner.labels or [str(index) for index in range(len(scores))]
        best = [int(index) for index in np.argsort(-scores, kind="stable")[:top_k]]
        return {"best": [{"index": each, "label": labels[each], "score": float(scores[each])} for each in best]}

    async def is_alive(self) -> dict[str, str]:
        """The process answers."""
        return {"status": "alive"}

    async def is_ready(self) -> dict[str, str]:
        """The bundle is open, and the queue has room: a load balancer may send images."""
        if self.runner is None or self.batcher is None or self.batcher.waiting >= self.settings.max_waiting:
            raise HTTPException(503, "the queue is full" if self.batcher else "the bundle is not open yet")
        return {"status": "ready", "backend": self.runner.backend, "precision": str(self.runner.precision)}

    async def show_metrics(self) -> str:
        """Counters in Prometheus' text format."""
        waiting = 0 if self.batcher is None else self.batcher.waiting
        return "\n".join([
            *(f'classify_requests_total{{status="{code}"}} {n}' for code, n in sorted(self.answered.items())),
            f"classify_seconds_total {self.seconds:.6f}",
            f"images_waiting {waiting}\n",
        ])  # fmt: skip

    async def count(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Counts each answer of `classify`, and its time."""
        start = time.perf_counter()
        response = await call_next(request)
        if request.url.path == "/classify":
            self.answered[response.status_code] += 1
            self.seconds += time.perf_counter() - start
        return response

    async def _read_body(self, request: Request) -> bytes:
        """Refuses a body that is too large (413) before it is read, or while it is."""
        limit = self.settings.max_bytes
        content = bytearray()
        if int(request.headers.get("content-length", "0")) <= limit:
            async for part in request.stream():
                content += part
                if len(content) > limit:
                    break
            else:
                return bytes(content)
        raise HTTPException(413, f"expected at most {limit} bytes")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Returns the application; without `settings` those of the environment."""
    service = Service(settings or Settings.read(os.environ))
    app = FastAPI(title="wrn-deploy", lifespan=service.open)
    app.middleware("http")(service.count)
    app.post("/classify")(service.classify)
    app.get("/healthz")(service.is_alive)
    app.get("/readyz")(service.is_ready)
    app.get("/metrics", response_class=PlainTextResponse)(service.show_metrics)
    return app
