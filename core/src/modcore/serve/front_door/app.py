"""The ASGI application: what may come in, and which part of the house answers it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from starlette.types import Receive, Scope, Send

from modcore.gateway.directory import Directory
from modcore.gateway.instance import Instance
from modcore.serve.caller_gone import CallerGone
from modcore.serve.front_door.access import Access
from modcore.serve.front_door.calls import Calls
from modcore.serve.front_door.forwarding import Forwarder
from modcore.serve.front_door.load import Load
from modcore.serve.front_door.metrics import Metrics
from modcore.serve.front_door.pages import Pages
from modcore.serve.front_door.pool import Pool
from modcore.serve.front_door.refusals import Refusal
from modcore.serve.front_door.reply import Reply
from modcore.serve.front_door.request import Request
from modcore.serve.front_door.routes import Routes
from modcore.serve.front_door.settings import Settings

log = logging.getLogger("modcore.serve")


class FrontDoor:
    """The application over what `directory` knows; `token` opens the services of the cluster."""

    def __init__(self, directory: Directory, token: str, settings: Settings) -> None:
        load = Load(settings.service_capacity)
        self.metrics = Metrics(directory, load)
        self.pool = Pool()
        self.routes = Routes(directory)
        forwarder = Forwarder(self.pool, token, self.metrics.count_retry)
        self.calls = Calls(self.routes, forwarder, load, self.metrics, settings)
        self._access = Access(settings.api_key)
        shows_urls = settings.api_key is not None
        self._pages = Pages(directory, self.routes, self.metrics, shows_urls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return
        request = Request.of(scope, receive)
        is_call = request.path.startswith(("/call/", "/stream/"))
        reply = Reply(send, request.id, is_openai=not is_call)
        try:
            await self._answer(request, reply)
        except CallerGone:
            pass  # nobody is left to be told
        except Refusal as refusal:
            self.metrics.count_refusal(refusal.status)
            await reply.refuse(refusal)
        except Exception:
            log.exception("the front door failed")
            await reply.refuse(Refusal(500, "The front door failed to answer; its log says why."))

    def tidy(self, instances: Iterable[Instance]) -> None:
        """Let go of what belongs to instances that are not there any more, or will not be."""
        self.routes.forget_the_gone()
        self.pool.keep_only(each.url for each in instances if not each.draining)

    def drain(self) -> None:
        """Take no more calls; those under way go on."""
        self.calls.is_draining = self._pages.is_draining = True

    async def _answer(self, request: Request, reply: Reply) -> None:
        self._access.verify(request)
        page = self._pages.page(request)
        if page is None:
            await self.calls.answer(request, reply)
        else:
            await reply.whole(page.status, page.body, (b"content-type", page.content_type))
