"""How the next token is chosen: the parameters of a request, and the batched choice itself."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from modcore.errors import InvalidRequest

MAX_TOKENS = 1_000_000
MAX_TEMPERATURE = 1000.0
MAX_STOP_STRINGS = 64
MAX_STOP_LENGTH = 256  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """What a request asks for; names and meanings are OpenAI's and vLLM's.

    max_tokens:  tokens to generate at most; None: until the context is full.
    temperature: 0 takes the likeliest token, 1 samples from the model's own distribution.
    top_p:       sample from the likeliest tokens that together hold this probability.
    seed:        the same seed draws the same numbers, whatever else is in the batch.
    stop:        strings that end the answer; they are not part of it.

    Raises InvalidRequest, which names the parameter, for a value out of range.
    """

    max_tokens: int | None = 16
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.max_tokens is not None:
            _need_integer("max_tokens", self.max_tokens, 1, MAX_TOKENS)
        _need_number(
            "temperature",
            self.temperature,
            MAX_TEMPERATURE,
            f"a number from 0 to {MAX_TEMPERATURE:g}",
        )
        _need_number("top_p", self.top_p, 1.0, "a number above 0 and up to 1")
        if self.top_p == 0:
            raise InvalidRequest(
                "top_p is 0, which leaves no token; use temperature 0 for the likeliest.",
                param="top_p",
            )
        if self.seed is not None:
            _need_integer("seed", self.seed, -(2**63), 2**63 - 1)
        object.__setattr__(self, "stop", _stop_strings(self.stop))

    def generator(self) -> torch.Generator:
        """A random number generator of the request's own."""
        seed = secrets.randbits(63) if self.seed is None else self.seed
        return torch.Generator().manual_seed(seed)


def _need_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequest(
            f"{name} is {value!r}; it has to be a whole number from {low} to {high}.", param=name
        )


def _need_number(name: str, value: object, high: float, what: str) -> None:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not numeric or not 0.0 <= value <= high:  # type: ignore[operator]
        raise InvalidRequest(f"{name} is {value!r}; it has to be {what}.", param=name)


def _stop_strings(stop: object) -> tuple[str, ...]:
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, (list, tuple)) or not all(
        isinstance(item, str) and item for item in strings
    ):
        raise InvalidRequest(
            "stop has to be a string that is not empty, or a list of such strings.", param="stop"
        )
    if len(strings) > MAX_STOP_STRINGS:
        raise InvalidRequest(
            f"stop has {len(strings)} strings; {MAX_STOP_STRINGS} are the most.", param="stop"
        )
    if any(len(item) > MAX_STOP_LENGTH for item in strings):
        raise InvalidRequest(
            f"a stop string has more than {MAX_STOP_LENGTH} characters; shorten it.", param="stop"
        )
    return tuple(strings)


def sample(
    logits: torch.Tensor,
    params: Sequence[SamplingParams],
    generators: Sequence[torch.Generator],
) -> list[int]:
    """The next token of each request from ``[batch, vocab]`` float32 logits.

    Greedy requests take the argmax. The others draw one number each from their own generator and
    find it in their cumulated distribution, so that a request's luck does not depend on the batch.
    """
    tokens = logits.argmax(dim=-1)
    drawn = [row for row, param in enumerate(params) if param.temperature > 0]
    # Sorting the vocabulary costs more than all the rest, and only a nucleus needs it.
    for rows, draw in (
        ([row for row in drawn if params[row].top_p == 1], _draw_from_all),
        ([row for row in drawn if params[row].top_p < 1], _draw_from_nucleus),
    ):
        if rows:
            index = torch.tensor(rows, device=logits.device)
            some = [params[row] for row in rows]
            uniform = _uniform([generators[row] for row in rows]).to(logits.device)
            tokens[index] = draw(_probabilities(logits[index], some), uniform, some)
    return tokens.tolist()


def _uniform(generators: Sequence[torch.Generator]) -> torch.Tensor:
    """One number in [0, 1) from each, ``[batch, 1]``."""
    return torch.stack([torch.rand(1, generator=each, dtype=torch.float64) for each in generators])


def _probabilities(logits: torch.Tensor, params: Sequence[SamplingParams]) -> torch.Tensor:
    """The distributions at each request's temperature, ``[batch, vocab]`` float64."""
    temperature = logits.new_tensor([[param.temperature] for param in params], dtype=torch.float64)
    # In double, and with the largest logit taken off first: a tiny temperature must not overflow.
    shifted = (logits - logits.amax(dim=-1, keepdim=True)).double() / temperature
    return shifted.softmax(dim=-1)


def _draw_from_all(
    probabilities: torch.Tensor, uniform: torch.Tensor, params: Sequence[SamplingParams]
) -> torch.Tensor:
    del params  # whole distributions: the temperature is in them already
    cumulated = probabilities.cumsum(dim=-1)
    place = torch.searchsorted(cumulated, uniform * cumulated[:, -1:], right=True)
    return place.clamp(max=probabilities.shape[-1] - 1).squeeze(-1)


def _draw_from_nucleus(
    probabilities: torch.Tensor, uniform: torch.Tensor, params: Sequence[SamplingParams]
) -> torch.Tensor:
    """Draw from the smallest set of likeliest tokens that holds top_p (arXiv 1904.09751)."""
    top_p = probabilities.new_tensor([[param.top_p] for param in params])
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    cumulated = ranked.cumsum(dim=-1)
    # A token belongs to the nucleus when those before it do not fill top_p yet.
    size = (cumulated - ranked < top_p).sum(dim=-1, keepdim=True)  # [batch, 1]
    place = torch.searchsorted(cumulated, uniform * cumulated.gather(-1, size - 1), right=True)
    return order.gather(-1, torch.minimum(place, size - 1)).squeeze(-1)
