"""A service that speaks the contract of services, and breaks it when it is told to: ``python contract_service.py``.

    contract_service.py GATEWAY SERVICE [--idempotent] [--model NAME] [--id ID] [--url URL] [--unsigned]

The first argument of a call says what it does; the line ``url: ...`` is printed once it is registered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from typing import Any

import uvicorn

from modcore.gateway import Instance, Registration, connect
from modcore.gateway.secret import cluster_key
from modcore.serve.server import open_listener, url_of

Headers = list[tuple[bytes, bytes]]


class Service:
    """Counts what is under way, so that a test sees when a call has ended."""

    def __init__(self, token: str, name: str) -> None:
        self.token, self.name = token, name
        self.state = ""  # draining or busy
        self.under_way = self.calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        if scope["path"] == "/health":
            await answer(send, 200, {"under_way": self.under_way, "calls": self.calls})
            return
        if headers.get(b"authorization") != f"Bearer {self.token}".encode():
            await answer(send, 401, {"error": {"type": "Refused", "message": "no token"}})
            return
        if self.state:
            fields = [(b"retry-after", b"1"), (b"x-modcore-state", self.state.encode())]
            body = {"error": {"type": "ServiceError", "message": self.state}}
            await answer(send, 503, body, fields)
            return
        self.under_way += 1
        self.calls += 1
        try:
            await self.act(scope, receive, send)
        finally:
            self.under_way -= 1

    async def act(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if not body.startswith(b"{"):
            await answer(send, 200, {"result": len(body), "type": _text(scope, b"content-type")})
            return
        content = json.loads(body)
        what, *values = content.get("args") or [content.get("model", "")]
        if scope["path"] == "/stream" or content.get("stream"):
            work = asyncio.ensure_future(self.stream(what, values, send))
            gone = asyncio.ensure_future(receive())
            await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
            work.cancel()
            gone.cancel()
            return
        await getattr(self, f"do_{what}", self.do_echo)(scope, receive, send, content)

    async def do_echo(self, scope: Any, receive: Any, send: Any, content: Any) -> None:
        await answer(send, 200, {"result": content, "by": self.name})

    async def do_headers(self, scope: Any, receive: Any, send: Any, content: Any) -> None:
        fields = [(b"set-cookie", b"a=b"), (b"x-secret", b"c"), (b"connection", b"x-secret")]
        told = {name.decode(): value.decode() for name, value in scope["headers"]}
        await answer(send, 200, {"result": told}, fields)

    async def do_die(self, scope: Any, receive: Any, send: Any, content: Any) -> None:
        os._exit(1)

    async def do_fail(self, scope: Any, receive: Any, send: Any, content: Any) -> None:
        await answer(send, 500, {"error": {"type": "KeyError", "message": "x"}})

    async def do_wait(self, scope: Any, receive: Any, send: Any, content: Any) -> None:
        await receive()  # until the caller has gone

    async def do_half(self, scope: Any, receive: Any, send: Any, content: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": []}
        await send({**start, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await asyncio.sleep(0.05)
        os._exit(1)

    async def do_busy(self, scope: Any, receive: Any, send: Any, content: Any) -> None:
        self.state = "busy"
        await answer(send, 200, {"result": "from now on"})

    async def stream(self, what: str, values: list[Any], send: Any) -> None:
        fields = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        count, size = (int(each) for each in (values or [3, 1]))
        for number in range(count):
            await event(send, {"piece": str(number) * size})
            if what == "slow":
                await asyncio.sleep(0.05)
        if what == "die":
            await send(
                {"type": "http.response.body", "body": b'data: {"piece": "hal', "more_body": True}
            )
            await asyncio.sleep(0.05)
            os._exit(1)
        await send(
            {"type": "http.response.body", "body": b'data: {"done": true}\n\n', "more_body": False}
        )


async def event(send: Any, content: Any) -> None:
    data = f"data: {json.dumps(content)}\n\n".encode()
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def answer(send: Any, status: int, content: Any, fields: Headers | None = None) -> None:
    body = json.dumps(content).encode()
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*told, *(fields or [])]}
    )
    await send({"type": "http.response.body", "body": body})


def _text(scope: Any, name: bytes) -> str:
    return dict(scope["headers"]).get(name, b"").decode()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("gateway")
    parser.add_argument("service")
    parser.add_argument("--idempotent", action="store_true")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--url")
    args = parser.parse_args()
    key = cluster_key(args.gateway)
    listener = open_listener("127.0.0.1", 0)
    listener.listen()
    instance = Instance(
        service=args.service,
        url=args.url or url_of(listener),
        models=tuple(args.model),
        idempotent=args.idempotent,
    )
    registration = Registration(connect(args.gateway), instance, key)
    config = uvicorn.Config(
        Service(key.token, instance.id),
        log_level="critical",
        lifespan="off",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    signal.signal(signal.SIGTERM, lambda *_: exit(0))
    registration.start()
    print(f"url: {url_of(listener)} {instance.id}", flush=True)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        registration.close()


if __name__ == "__main__":
    main()
