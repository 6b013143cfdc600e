"""What is said to a service and what its answers mean, whichever way the bytes travel."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

from modcore import wire
from modcore.errors import ServiceError
from modcore.module.remote.address import Address
from modcore.module.remote.failures import DeadlineExceeded, Died, NotBegun, State, told
from modcore.module.remote.reading import Reading

#: That the client waits longer than the service, which says it first if it can.
SLACK_SECONDS = 0.5
_REFUSALS: dict[int, str] = {
    401: "does not take our token; give it the right one",
    404: "has no such path: it is no module service",
    413: "does not take so large a message; send less at once",
    431: "does not take such long headers",
}


class Exchange:
    """One call at `address`, which may take `timeout` seconds; raises CannotTravel."""

    def __init__(
        self, address: Address, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> None:
        self._address, self.timeout = address, timeout
        self.is_done = False  # the last event of a stream has come
        self._kind, self._body = wire.encode({"args": list(args), "kwargs": kwargs})
        self._end = None if timeout is None else time.monotonic() + timeout

    @property
    def left(self) -> float | None:
        """Seconds that are left; raises DeadlineExceeded when there are none."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.too_late()
        return left

    @property
    def give_up_at(self) -> float | None:
        """When to wait no longer, by time.monotonic."""
        return None if self._end is None else self._end + SLACK_SECONDS

    def request(self, path: str) -> bytes:
        """The bytes to send."""
        return self._address.post(path, self._kind, self._body, self.left)

    def result(self, reading: Reading) -> Any:
        """What the module returned; raises what it raised."""
        answer = self._decoded(reading.headers.get("content-type", ""), reading.take())
        if reading.status == 200 and isinstance(answer, dict) and "result" in answer:
            return answer["result"]
        raise self._refused(reading, answer)

    def refusal(self, reading: Reading) -> Exception:
        """The error of an answer that is no stream."""
        answer = self._decoded(reading.headers.get("content-type", ""), reading.take())
        return self._refused(reading, answer)

    def pieces(self, lines: bytes) -> Iterator[Any]:
        """The pieces in whole `lines`, up to the last event; raises the error that this may be."""
        for line in lines.splitlines():
            if not line.startswith(b"data:"):
                continue
            event = self._decoded(wire.JSON, line[5:].strip())
            if not isinstance(event, dict):
                raise self.no_service(line)
            if "error" in event:
                raise self._error(event["error"])
            if event.get("done"):
                self.is_done = True
                return
            yield self._piece(event)

    def _piece(self, event: dict[str, Any]) -> Any:
        if "msgpack" in event:
            return self._decoded(wire.MSGPACK, base64.b64decode(event["msgpack"]))
        return event.get("piece")

    def refused(self, error: Exception) -> NotBegun:
        """There was no connection."""
        return NotBegun(
            f"{self._address.url} does not answer ({error}); start it again.", "refused"
        )

    def died(self, error: Exception, reading: Reading) -> Died:
        """The connection ended after the request was sent."""
        how = str(error) or type(error).__name__
        if reading.has_begun:
            return Died(
                f"{self._address.url} ended its answer in the middle ({how}).", answered=True
            )
        return Died(f"{self._address.url} does not answer ({how}); start it again.", answered=False)

    def too_late(self) -> DeadlineExceeded:
        """The time is over."""
        limit = "its time" if self.timeout is None else told(self.timeout)
        return DeadlineExceeded(
            f"{self._address.url} did not answer within {limit}; give it more by timeout=... "
            "(a ServerModule: deadline=...), or leave that out to wait as long as it takes."
        )

    def no_service(self, body: bytes) -> ServiceError:
        """What came is not what a module service says."""
        return ServiceError(
            f"{self._address.url} answers what no module service answers: {body[:80]!r}"
        )

    def _refused(self, reading: Reading, answer: Any) -> Exception:
        error = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(error, dict):
            return self.no_service(f"{reading.status} {answer!r}".encode())
        state = reading.headers.get("x-modcore-state")
        message = str(error.get("message", ""))
        if reading.status == 503 and state in ("busy", "draining"):
            known: State = "busy" if state == "busy" else "draining"
            wait = reading.headers.get("retry-after", "")
            text = f"{self._address.url} takes no call now ({state}): {message}"
            return NotBegun(text, known, float(wait) if wait.isdigit() else None)
        if reading.status in (422, 500, 503, 504):
            return self._error(error)
        refusal = _REFUSALS.get(reading.status, f"says {reading.status}")
        return ServiceError(f"{self._address.url} {refusal} ({message})")

    def _error(self, error: Any) -> Exception:
        if (
            isinstance(error, dict)
            and error.get("type") == "DeadlineExceeded"
            and "module" not in error
        ):
            return (
                self.too_late()
                if self.timeout is not None
                else DeadlineExceeded(str(error.get("message")))
            )
        if isinstance(error, dict) and error.get("type") == "Draining" and "module" not in error:
            return Died(
                f"{self._address.url} has been stopped: {error.get('message')}", answered=True
            )
        return wire.rebuild(error)

    def _decoded(self, content_type: str, body: bytes) -> Any:
        kind = content_type.partition(";")[0].strip().lower()
        try:
            return wire.decode(wire.MSGPACK if kind == wire.MSGPACK else wire.JSON, body)
        except wire.Malformed:
            raise self.no_service(body) from None
