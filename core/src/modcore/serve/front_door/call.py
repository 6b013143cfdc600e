"""One call on its way: who asked, who is to answer, and what has become of it."""

from __future__ import annotations

from dataclasses import dataclass

from modcore.serve.call_watch import CallWatch
from modcore.serve.front_door.bodies import Body
from modcore.serve.front_door.reply import Reply
from modcore.serve.front_door.request import Request


@dataclass(slots=True)
class Call:
    """A request for the service or model `name`, whose instances answer it at `path`."""

    name: str
    path: str
    request: Request
    body: Body
    reply: Reply
    watch: CallWatch
