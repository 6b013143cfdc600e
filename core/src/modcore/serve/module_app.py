"""One module behind HTTP: the application of a service.

``POST /call`` and ``POST /stream`` run the module; ``GET /health`` and ``/readyz`` are open; ``GET /openapi.json``,
``/metrics`` and ``/_modcore/logs``, ``POST /_modcore/stop`` and, for a checkpoint, ``/v1/*`` ask for the token, as
does every other path. The caller's side is `modcore.module.remote`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from modcore.errors import ServiceError
from modcore.gateway.instance import DEFAULT_CAPACITY
from modcore.module import ModuleBase
from modcore.serve.bearer import Bearer
from modcore.serve.caller_gone import CallerGone
from modcore.serve.service import http, logs
from modcore.serve.service.calls import Runner
from modcore.serve.service.checkpoint import CheckpointApi, engine_of, model_name_of
from modcore.serve.service.endpoints import Endpoints
from modcore.serve.service.http import Headers, Refused
from modcore.serve.service.state import ServiceState

Page = Callable[[Scope, Headers, Receive, Send], Awaitable[None]]


class ModuleApp:
    """The ASGI application that calls `module` for whoever has `token`.

    `name` is the service's, `instance` its id in a gateway; `capacity` the most calls at once. With `tells_tracebacks` a caller who asks for it
    (``x-modcore-detail``) gets remote tracebacks: for a service that runs for its own handle alone.
    Raises ServiceError for an empty token: an empty secret never means that nothing is checked.
    """

    def __init__(
        self,
        module: ModuleBase,
        token: str,
        *,
        name: str = "",
        instance: str = "",
        capacity: int = DEFAULT_CAPACITY,
        tells_tracebacks: bool = True,
    ) -> None:
        if not token:
            raise ServiceError("A service needs a token; give it one that nobody can guess.")
        self.module_name = type(module).__name__
        self.name = name or module.name or type(module).__name__
        self._instance = instance
        self.state = ServiceState(capacity)
        self.on_stop: Callable[[], None] = (
            self.drain
        )  # whoever runs the server puts its own end here
        self._bearer = Bearer(token)
        self._runner = Runner(module, self.state)
        self._endpoints = Endpoints(self._runner, tells_tracebacks=tells_tracebacks)
        engine = engine_of(module)
        self._checkpoint = CheckpointApi(engine, model_name_of(module, name)) if engine else None
        self._open: dict[str, Page] = {"/health": self._health, "/readyz": self._ready}
        self._pages: dict[str, tuple[str, Page]] = {
            "/call": ("POST", self._endpoints.call),
            "/stream": ("POST", self._endpoints.stream),
            "/openapi.json": ("GET", self._openapi),
            "/metrics": ("GET", self._metrics),
            "/_modcore/stop": ("POST", self._stop),
            "/_modcore/logs": ("GET", self._logs),
        }

    @property
    def models(self) -> tuple[str, ...]:
        """The names under which it speaks the OpenAI API."""
        return (self._checkpoint.model_name,) if self._checkpoint else ()

    def drain(self) -> None:
        """Take no more calls; those that run go on."""
        self.state.is_draining = True

    def end_calls(self) -> None:
        """End what still runs: streams with an ``error`` event, calls with 503."""
        self._runner.end(http.stopped)
        if self._checkpoint is not None:
            self._checkpoint.shut_down()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ServiceError(f"A module service answers HTTP, not {scope['type']}.")
        try:
            await self._answer(scope, receive, send)
        except Refused as refused:
            await http.answer_refusal(send, refused)
        except CallerGone:
            pass

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        headers = dict(scope["headers"])
        if path in self._open:
            verb, page = "GET", self._open[path]
        else:
            self._verify_token(headers)
            verb, page = self._page(path)
        if verb and method != verb and not (verb == "GET" and method == "HEAD"):
            refusal = f"{path} is for {verb}."
            raise Refused(405, "MethodNotAllowed", refusal, [(b"allow", verb.encode())])
        await page(scope, headers, receive, send)

    def _page(self, path: str) -> tuple[str, Page]:
        if (known := self._pages.get(path)) is not None:
            return known
        if self._checkpoint is not None and path.startswith("/v1/"):
            return "", self._v1
        raise Refused(404, "NotFound", "There is nothing here; see /openapi.json.")

    def _verify_token(self, headers: Headers) -> None:
        if not self._bearer.opens(headers.get(b"authorization", b"")):
            raise Refused(
                401,
                "Unauthorized",
                "The token is missing or wrong; send it as `Authorization: Bearer TOKEN`.",
                [(b"www-authenticate", b"Bearer")],
            )

    async def _health(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        await http.answer_value(send, {"status": "ok"}, extra=self._identity())

    async def _ready(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        if self.state.is_draining:
            extra = [(b"retry-after", b"1"), *self._identity()]
            await http.answer_value(send, {"status": "draining"}, 503, extra)
        else:
            await http.answer_value(send, {"status": "ready"}, extra=self._identity())

    def _identity(self) -> http.Extra:
        """Who answers, and that it will not for long: another service may have got the port of one that is gone."""
        who = [(b"x-modcore-instance", self._instance.encode())] if self._instance else []
        return [*who, (b"x-modcore-state", b"draining")] if self.state.is_draining else who

    async def _openapi(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        from modcore.serve.service.openapi import describe_service

        page = await asyncio.to_thread(describe_service, self._runner.signature, self.name)
        await http.answer_value(send, page)

    async def _metrics(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        from modcore.serve.service.metrics import expose

        accept = headers.get(b"accept", b"").decode("latin-1")
        engine = self._checkpoint.metrics if self._checkpoint else None
        text, kind = await asyncio.to_thread(expose, self.state, self.name, accept, engine)
        await http.answer(send, 200, kind.encode(), text)

    async def _stop(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        await http.answer_value(send, {"status": "draining"}, 202)
        self.on_stop()

    async def _logs(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        text = await asyncio.to_thread(logs.own_lines, scope["query_string"])
        await http.answer(send, 200, b"text/plain; charset=utf-8", text)

    async def _v1(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        assert self._checkpoint is not None
        with self._endpoints.placed():
            await self._checkpoint.app(scope, receive, send)
