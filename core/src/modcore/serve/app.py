"""The application: the OpenAI API over one engine."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from modcore._version import VERSION
from modcore.engine import AsyncEngine
from modcore.serve import chat, completions
from modcore.serve.errors import ModelNotFound, install_error_handlers
from modcore.serve.guard import MAX_BODY_BYTES, Guard
from modcore.serve.http_metrics import HttpMetrics
from modcore.serve.metrics import Metrics
from modcore.serve.served import Served, served_by


def create_app(
    engine: AsyncEngine, model_name: str, api_key: str | None = None, token: str | None = None
) -> FastAPI:
    """The ASGI application that serves `engine` as `model_name`.

    With an `api_key`, every path but ``/health`` and ``/readyz`` asks for it, or for `token`, a cluster's.
    """
    # The interactive pages would load their scripts from elsewhere.
    app = FastAPI(title="modcore", version=VERSION, docs_url=None, redoc_url=None)
    metrics = Metrics(model_name, engine.engine.stats)
    app.state.served = Served(engine, model_name, int(time.time()), metrics)
    app.add_api_route("/health", health)
    app.add_api_route("/readyz", health)
    app.add_api_route("/metrics", metrics_page, response_class=Response)
    app.add_api_route("/v1/models", list_models)
    app.add_api_route("/v1/models/{model:path}", retrieve_model)
    app.include_router(completions.router)
    app.include_router(chat.router)
    install_error_handlers(app)
    multimodal = engine.engine.multimodal
    # Room for one image of the largest size, in base64.
    media_bytes = multimodal.largest_medium * 4 // 3 + 4 if multimodal else 0
    most = MAX_BODY_BYTES + media_bytes
    app.add_middleware(Guard, api_key=api_key, token=token, max_body_bytes=most)
    app.add_middleware(HttpMetrics, registry=metrics.registry)  # the outermost
    return app


async def health(request: Request) -> JSONResponse:
    """Whether the server can answer: 200, or 503 when its engine has ended."""
    if served_by(request).engine.is_alive:
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": "failed"}, 503)


async def metrics_page(request: Request) -> Response:
    """The metrics, as Prometheus reads them."""
    accept = request.headers.get("accept", "")
    content, content_type = served_by(request).metrics.expose(accept)
    return Response(content, headers={"content-type": content_type})


async def list_models(request: Request) -> dict[str, Any]:
    """The models that are served: one."""
    return {"object": "list", "data": [_model(served_by(request))]}


async def retrieve_model(model: str, request: Request) -> dict[str, Any]:
    """One model; 404 when it is not ours."""
    served = served_by(request)
    if model != served.model_name:
        raise ModelNotFound(model, served.model_name)
    return _model(served)


def _model(served: Served) -> dict[str, Any]:
    return {
        "id": served.model_name,
        "object": "model",
        "created": served.created,
        "owned_by": "modcore",
        "max_model_len": served.engine.engine.max_length,
    }
