"""Calls and OpenAI requests: whom they are for, how many there may be, and how long they may take."""

from __future__ import annotations

import functools
import re
import time

from modcore.gateway.balancer import Balancer
from modcore.serve.call_watch import CallWatch
from modcore.serve.front_door.bodies import MAX_BODY, MAX_HELD, Body
from modcore.serve.front_door.call import Call
from modcore.serve.front_door.forwarding import Forwarder
from modcore.serve.front_door.load import Load
from modcore.serve.front_door.metrics import Metrics
from modcore.serve.front_door.refusals import Refusal, busy, too_late
from modcore.serve.front_door.reply import Reply
from modcore.serve.front_door.request import Request
from modcore.serve.front_door.routes import Routes, model_of
from modcore.serve.front_door.settings import Settings
from modcore.serve.guard import MAX_BODY_BYTES

_CALL = re.compile(r"(/call|/stream)/([A-Za-z0-9][A-Za-z0-9._-]{0,127})")
#: Nothing that could mean another path to a service, such as dots or percent signs.
_OPENAI = re.compile(r"/v1(/[A-Za-z0-9_-]+)+")


class Calls:
    """What is under way, and how it gets there."""

    def __init__(
        self, routes: Routes, forwarder: Forwarder, load: Load, metrics: Metrics, settings: Settings
    ) -> None:
        self._routes, self._forwarder = routes, forwarder
        self._load, self._metrics, self._settings = load, metrics, settings
        self._under_way: set[CallWatch] = set()
        self.is_draining = False

    async def answer(self, request: Request, reply: Reply) -> None:
        """Answer a request for a service or a model; raises Refusal."""
        called = _CALL.fullmatch(request.path)
        if called is None and not _OPENAI.fullmatch(request.path):
            raise Refusal(404, "There is nothing at this path; send calls to /call/SERVICE.")
        if request.method != "POST":
            raise Refusal(405, f"{request.method} is not what this path takes; send a POST.")
        self._verify_room()
        watch = self._watch_of(request)
        self._under_way.add(watch)
        try:
            if called is not None:
                await self._answer_call(called[1], called[2], request, reply, watch)
            else:
                await self._answer_openai(request, reply, watch)
        finally:
            self._under_way.discard(watch)

    def end_all(self) -> None:
        """End every call that is under way with an error that its client can read."""
        for watch in list(self._under_way):
            watch.end(_shutting_down())

    def _verify_room(self) -> None:
        if self.is_draining:
            raise _shutting_down()
        if len(self._under_way) >= self._settings.capacity:
            count = self._settings.capacity
            raise busy(503, f"{count} calls are under way already; send it again.")

    def _watch_of(self, request: Request) -> CallWatch:
        """What may end the call that `request` makes; raises Refusal."""
        seconds = request.seconds(self._settings.timeout)
        return CallWatch(request.receive, seconds, functools.partial(too_late, seconds))

    async def _answer_call(
        self, path: str, name: str, request: Request, reply: Reply, watch: CallWatch
    ) -> None:
        balancer = self._routes.service(name)
        body = Body(request.receive, request.length, MAX_BODY)
        with watch:
            await body.hold(MAX_HELD)
        await self._forward(Call(name, path, request, body, reply, watch), balancer)

    async def _answer_openai(self, request: Request, reply: Reply, watch: CallWatch) -> None:
        body = Body(request.receive, request.length, MAX_BODY_BYTES)
        with watch:
            await body.hold(MAX_BODY_BYTES)
        name = model_of(body.held)
        balancer = self._routes.model(name)
        await self._forward(Call(name, request.path, request, body, reply, watch), balancer)

    async def _forward(self, call: Call, balancer: Balancer) -> None:
        name = call.name
        try:
            self._load.enter(name)
            try:
                with call.watch:
                    await self._forwarder.forward(call, balancer)
            finally:
                self._load.leave(name)
        except Refusal as refusal:
            await call.reply.refuse(refusal)
        finally:
            seconds = time.monotonic() - call.request.started
            self._metrics.observe(name, call.reply.status, seconds)


def _shutting_down() -> Refusal:
    return busy(503, "The front door is shutting down; send the request again.")
