"""A call made at one instance after the other, until one of them begins to answer.

What may be made elsewhere is for `gateway.call_failure` to say. Beyond that, a call whose body has flowed to an
instance cannot be sent again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from modcore.gateway.balancer import Balancer, Lease, NoInstance
from modcore.gateway.call_failure import CallFailure
from modcore.serve.front_door.bodies import Body
from modcore.serve.front_door.call import Call
from modcore.serve.front_door.connection import Broken, Connection
from modcore.serve.front_door.headers import inward
from modcore.serve.front_door.pool import Pool, Refused, address_of
from modcore.serve.front_door.refusals import Refusal, busy
from modcore.serve.front_door.reply import Reply

MAX_ATTEMPTS = 5


class TurnedDown(Refusal):
    """An instance has not answered a call: it refused the connection, is busy, or died."""

    def __init__(self, failure: CallFailure, name: str) -> None:
        status, message = _SAID[failure]
        super().__init__(status, message.format(name), code=failure.value, retry_after=1)
        self.failure = failure


_SAID = {
    CallFailure.REFUSED: (503, "No instance of {!r} takes connections now; send it again."),
    CallFailure.BUSY: (503, "Every instance of {!r} is busy or about to end; send it again."),
    CallFailure.DIED: (
        502,
        "The instance of {!r} that had the call ended before it answered; whether the call was made "
        "is not known.",
    ),
}


class Forwarder:
    """Makes calls at instances; `on_retry` hears of each that goes elsewhere, and why."""

    def __init__(self, pool: Pool, token: str, on_retry: Callable[[str, str], None]) -> None:
        self._pool, self._on_retry = pool, on_retry
        self._authorization = f"authorization: Bearer {token}\r\n".encode()

    async def forward(self, call: Call, balancer: Balancer) -> None:
        """Make `call` and pass its answer on; raises Refusal when no instance answers."""
        tried: list[str] = []
        refusal: TurnedDown | None = None
        while len(tried) < MAX_ATTEMPTS:
            try:
                lease = balancer.pick(tried)
            except NoInstance as error:
                raise refusal or busy(503, str(error)) from None
            if refusal is not None:
                self._on_retry(call.name, refusal.failure.value)
            with lease:
                refusal = await self._attempt(call, lease)
            if refusal is None:
                return
            may_be_repeated = refusal.failure.may_be_repeated(idempotent=lease.instance.idempotent)
            if call.body.has_flowed or not may_be_repeated:
                break
            tried.append(lease.instance.id)
        assert refusal is not None
        raise refusal

    async def _attempt(self, call: Call, lease: Lease) -> TurnedDown | None:
        """Why the instance has not answered the call; None when it has."""
        url = lease.instance.url
        try:
            connection = await self._pool.take(url)
        except Refused:
            lease.failed()
            return TurnedDown(CallFailure.REFUSED, call.name)
        try:
            await self._ask(connection, call, url)
            if _turns_away(connection):
                return TurnedDown(CallFailure.BUSY, call.name)
            await _relay(connection, call.reply)
            return None
        except Broken as error:
            lease.failed()
            if error.answered:
                raise _cut_off(call.name) from error
            return TurnedDown(CallFailure.DIED, call.name)
        finally:
            self._pool.give_back(url, connection)

    async def _ask(self, connection: Connection, call: Call, url: str) -> None:
        """Send the request and wait until the answer begins."""
        body = call.body
        connection.begin(self._head(call, url) + _framed(body, body.held))
        if body.is_read:
            connection.is_sent = True
        else:
            await _send_rest(connection, body)
        call.watch.mind_caller()
        await connection.head()

    def _head(self, call: Call, url: str) -> bytes:
        length = call.body.length
        left = max(0.001, call.watch.until - asyncio.get_running_loop().time())
        return b"".join(
            (
                _first_lines(call.path, url),
                self._authorization,
                inward(call.request.fields, call.request.id),
                b"x-modcore-deadline: %.3f\r\n" % left,
                b"transfer-encoding: chunked\r\n\r\n"
                if length is None
                else b"content-length: %d\r\n\r\n" % length,
            )
        )


async def _send_rest(connection: Connection, body: Body) -> None:
    """Hand on what has not been read yet, unless the instance answers before it has all."""
    async for data in body.rest():
        if connection.has_head:
            return
        await connection.write(_framed(body, data))
    if body.length is None:
        await connection.write(b"0\r\n\r\n")
    connection.is_sent = True


@functools.lru_cache(maxsize=4096)
def _first_lines(path: str, url: str) -> bytes:
    address = address_of(url)
    line = b"POST %b%b HTTP/1.1\r\n" % (address.prefix, path.encode())
    return line + b"host: %b\r\n" % address.authority


def _framed(body: Body, data: bytes) -> bytes:
    """`data` as a part of a body whose length is known, or as a chunk."""
    if body.length is not None or not data:
        return data
    return b"%x\r\n%b\r\n" % (len(data), data)


def _turns_away(connection: Connection) -> bool:
    """Whether the instance says that it has not begun the call."""
    return connection.status == 503 and any(
        name == b"x-modcore-state" and value in (b"busy", b"draining")
        for name, value in connection.fields
    )


async def _relay(connection: Connection, reply: Reply) -> None:
    await reply.begin(connection.status, connection.fields)
    is_last = False
    while not is_last:
        data = await connection.read()
        is_last = connection.is_complete
        await reply.write(data, is_last)


def _cut_off(name: str) -> Refusal:
    return Refusal(
        502,
        f"The instance of {name!r} ended in the middle of its answer.",
        code=CallFailure.CUT_OFF.value,
    )
