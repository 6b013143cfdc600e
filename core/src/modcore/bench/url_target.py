"""A server with the OpenAI API as the target: ``POST /v1/completions``, streamed.

Source: the OpenAI API reference, *Completions*; ``ignore_eos`` is vLLM's.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from modcore.bench.http import Address, Response, exchange, reason_of
from modcore.bench.measurement import Measurement
from modcore.bench.workload import BenchRequest
from modcore.errors import InvalidRequest, ServiceError

#: Ids below this are in every vocabulary; what the server's has beyond, nobody tells.
VOCAB_SIZE = 128
_ERROR_BYTES = 16 << 10
_ERROR_CHARACTERS = 300
_PROBE_SECONDS = 60


class UrlTarget:
    """The server at `url`; `connect` it before anything is asked.

    Prompts are token ids, or words when `text_prompts`, for servers that take text only.
    """

    kind = "url"

    def __init__(
        self,
        url: str,
        model: str | None = None,
        api_key: str | None = None,
        text_prompts: bool = False,
    ) -> None:
        self._address = Address.parse(url)
        self.name = str(self._address)
        self.model = model or ""
        self.vocab_size = VOCAB_SIZE
        self.context: int | None = None
        self.details: dict[str, Any] = {}
        self._text_prompts = text_prompts
        self._headers = {"content-type": "application/json", "accept": "text/event-stream"}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._extras: dict[str, Any] = {
            "ignore_eos": True,
            "stream_options": {"include_usage": True},
        }

    async def connect(self) -> None:
        """Find the model, and which fields the server takes, with a request of one token.

        Raises ServiceError when it cannot be reached or refuses, InvalidRequest when `model` has
        to be given.
        """
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await self._find_model()
                await self._probe()
        except TimeoutError:
            raise ServiceError(
                f"{self.name} has not answered within {_PROBE_SECONDS} seconds."
            ) from None
        except OSError as error:
            raise ServiceError(
                f"{self.name} cannot be reached: {reason_of(error)}; is the server running?"
            ) from error
        self.details = {"ignore_eos": "ignore_eos" in self._extras}

    async def ask(self, request: BenchRequest, measurement: Measurement) -> None:
        """Have `request` answered; raises ServiceError, or OSError, when it is not."""
        body = {
            "model": self.model,
            "prompt": request.text if self._text_prompts else request.prompt_ids,
            "max_tokens": request.max_tokens,
            "temperature": 0,
            "stream": True,
            **self._extras,
        }
        async with exchange(
            self._address,
            "POST",
            "/v1/completions",
            self._headers,
            json.dumps(body).encode(),
            measurement.sent,
        ) as response:
            if response.status != 200:
                raise await _refusal(response)
            await _listen(response, measurement)

    async def _find_model(self) -> None:
        async with exchange(self._address, "GET", "/v1/models", self._headers) as response:
            if response.status == 404 and self.model:
                return
            if response.status != 200:
                raise await _refusal(response)
            models = _listed(await response.read())
        if not self.model:
            if len(models) != 1:
                names = ", ".join(name[:100] for name in list(models)[:20]) or "none"
                raise InvalidRequest(
                    f"the server has not one model but these: {names}; name one.", param="model"
                )
            self.model = next(iter(models))
        self.context = models.get(self.model)

    async def _probe(self) -> None:
        while True:
            try:
                await self.ask(BenchRequest([5, 6, 7], 1), Measurement(3))
                return
            except RefusedField as error:
                refused = [name for name in self._extras if name in str(error)]
                if not refused:
                    raise
                del self._extras[refused[0]]


class RefusedField(ServiceError):
    """The server does not take a request as it is (400 or 422)."""


async def _listen(response: Response, measurement: Measurement) -> None:
    finished = False
    async for line in response.lines():
        if not line.startswith(b"data:"):
            continue  # comments and empty lines between events
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        finished = _take(_object(data), measurement) or finished
    if not finished:
        raise ServiceError("The server ended the stream in the middle of an answer.")


def _take(event: dict[str, Any], measurement: Measurement) -> bool:
    """Note what `event` brings; true when it ends the answer."""
    if "error" in event:
        raise ServiceError(f"The server broke off: {_message(event)}")
    usage = event.get("usage")
    reason = None
    for choice in _objects(event, "choices"):
        reason = reason or choice.get("finish_reason")
        # An event without text is a token that makes none yet, unless it only says why it ended.
        if choice.get("text") or not reason:
            measurement.piece()
    if isinstance(usage, dict):
        measurement.output_tokens = _count(usage, "completion_tokens", measurement.output_tokens)
        measurement.prompt_tokens = _count(usage, "prompt_tokens", measurement.prompt_tokens)
    return reason is not None


async def _refusal(response: Response) -> ServiceError:
    status = response.status
    if 300 <= status < 400:
        place = _readable(response.headers.get("location", "elsewhere"))
        return ServiceError(f"The server redirects to {place}; give the address that answers.")
    if status == 401:
        return ServiceError(
            "The server asks for a key (401); put it into a variable and name that with --api-key-env."
        )
    body = await response.read(_ERROR_BYTES)
    try:
        message = _message(_object(body))
    except ServiceError:
        message = _readable(body.decode(errors="replace"))
    kind = RefusedField if status in (400, 422) else ServiceError
    return kind(f"The server answered {status}: {message}")


def _message(body: dict[str, Any]) -> str:
    error = body.get("error", body.get("detail", body))
    message = error.get("message", error) if isinstance(error, dict) else error
    return _readable(str(message))


def _readable(text: str) -> str:
    """A server's words on one line of a terminal, which they must not steer."""
    line = " ".join(text.split())[:_ERROR_CHARACTERS]
    return "".join(each if each.isprintable() else "?" for each in line)


def _listed(body: bytes) -> dict[str, int | None]:
    """The models and their contexts, where those are told (``max_model_len``, as vLLM does)."""
    models = {}
    for model in _objects(_object(body), "data"):
        name, context = str(model.get("id")), model.get("max_model_len")
        if name.isprintable():
            models[name] = context if isinstance(context, int) else None
    return models


def _objects(body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of objects that `body` has under `key`; none when there is nothing like it."""
    found = body.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _count(usage: dict[str, Any], key: str, otherwise: int) -> int:
    value = usage.get(key)
    return value if type(value) is int and value > 0 else otherwise


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ServiceError("The server sent something that is not the OpenAI API's JSON.")
    return value
