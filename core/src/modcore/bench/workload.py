"""The requests of a run: random tokens, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from modcore.bench.settings import Settings

#: The first ids are often padding or marks of a beginning and an end.
_FIRST_ID = 4
_WARMUP_TOKENS = 8  # are enough to have taken every kind of step

#: What stands for ids where a server takes text: about one token each for most tokenizers.
_TEXT = (
    "a about after all and are as at back be but by can come could day do even first for from get "
    "give go good have he her him his how if in into is it its just know like look make me most my "
    "new no not now of on one only or other our out over people say see she so some take than that "
    "the their them then there these they think this time to two up us use want was way we well "
    "what when which who will with work would year you your"
)
WORDS = tuple(_TEXT.split())


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """A prompt as token ids, and the tokens that its answer shall have."""

    prompt_ids: list[int]
    max_tokens: int

    @property
    def text(self) -> str:
        """Words in place of the ids."""
        return " ".join(WORDS[token % len(WORDS)] for token in self.prompt_ids)


class Workload:
    """Draws requests with token ids below `vocab_size`.

    Levels and their warm-ups share the prefix and nothing else, so none finds what another has
    left in a prefix cache.
    """

    def __init__(self, settings: Settings, vocab_size: int) -> None:
        self._settings = settings
        self._ids = range(min(_FIRST_ID, vocab_size - 1), vocab_size)
        random = Random(f"{settings.seed} prefix")  # noqa: S311
        self._prefix = random.choices(self._ids, k=settings.shared_prefix)

    def level(self, concurrency: int) -> Iterator[BenchRequest]:
        """The requests of one level, made as they are taken."""
        count = self._settings.requests_at(concurrency)
        yield from self._draw(count, f"level {concurrency}")

    def warmup(self, concurrency: int) -> Iterator[BenchRequest]:
        """The requests before it; their answers are short."""
        for request in self._draw(self._settings.warmup_at(concurrency), f"warmup {concurrency}"):
            yield BenchRequest(request.prompt_ids, min(request.max_tokens, _WARMUP_TOKENS))

    def _draw(self, count: int, purpose: str) -> Iterator[BenchRequest]:
        random = Random(f"{self._settings.seed} {purpose}")  # noqa: S311
        for _ in range(count):
            length = self._settings.prompt_tokens.draw(random)
            own = random.choices(self._ids, k=length - len(self._prefix))
            yield BenchRequest(self._prefix + own, self._settings.output_tokens.draw(random))
