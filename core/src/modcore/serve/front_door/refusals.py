"""What the front door itself answers when a call cannot be made: a status, a sentence, and when to come again."""

from __future__ import annotations

import json
from typing import Any

from modcore.serve.error_body import error_body

#: The types of errors beside the OpenAI API, which are those of services.
_TYPES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "RequestTooLarge",
    429: "TooManyRequests",
    500: "InternalError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "DeadlineExceeded",
}


class Refusal(Exception):
    """A call that the front door answers itself, with one of the statuses in `_TYPES`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after = retry_after

    def body(self, is_openai: bool) -> bytes:
        """The JSON of the answer: in OpenAI's shape, or in a module service's."""
        return json.dumps(self.shape(is_openai)).encode()

    def event(self, is_openai: bool) -> bytes:
        """The error as the last event of a stream."""
        return b"data: " + self.body(is_openai) + b"\n\n"

    def shape(self, is_openai: bool) -> dict[str, Any]:
        """The answer as JSON holds it."""
        if is_openai:
            return error_body(self.status, self.message, self.param, self.code)
        return {"error": {"type": _TYPES[self.status], "message": self.message}}


def too_late(seconds: float) -> Refusal:
    """The answer to a call that has had its `seconds`."""
    return Refusal(504, f"There was no complete answer within {seconds:g} s.", code="deadline")


def busy(status: int, message: str) -> Refusal:
    """A call that may be made again in a second."""
    return Refusal(status, message, code="overloaded", retry_after=1)
