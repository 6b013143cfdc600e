"""What the front door itself answers when a call cannot be made: a status, a sentence, and when to come again."""

from __future__ import annotations

import json
from typing import Any

from modcore.serve.error_body import error_body


class Refusal(Exception):
    """A call that the front door answers itself; `type_name` is the error's type beside the OpenAI API."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type_name: str = "ServiceError",
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.type_name, self.retry_after = type_name, retry_after

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
        module = (
            "builtins" if self.type_name in ("TimeoutError", "ValueError") else "modcore.errors"
        )
        return {"error": {"type": self.type_name, "module": module, "message": self.message}}


def busy(status: int, message: str) -> Refusal:
    """A call that may be made again in a second."""
    return Refusal(status, message, code="overloaded", retry_after=1)
