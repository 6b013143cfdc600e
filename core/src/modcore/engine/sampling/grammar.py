"""JSON schemas and regular expressions that an answer follows, token by token, through llguidance.

A grammar is compiled once for a tokenizer and kept; each sequence follows it with a matcher of its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch

from modcore.engine.sampling.grammar_tokenizer import grammar_tokenizer, in_a_line
from modcore.engine.sampling.params import SamplingParams
from modcore.engine.sampling.suspicion import is_suspicious
from modcore.engine.sampling.trial import Trials
from modcore.engine.sampling.trial_process import parser_limits, problem_of
from modcore.errors import InvalidRequest, StepFailed

if TYPE_CHECKING:
    from llguidance import LLMatcher

_KEPT = 64  # compiled grammars
#: Between the parts of an answer's JSON. Bounded: a model could go on with blank space for ever.
_BLANKS = r"[ \n\r\t]{0,32}"


class GrammarCompiler:
    """Compiles the constraints of requests for one tokenizer; safe from any thread.

    `tokenizer` is a fast one of transformers, `vocab_size` the width of the logits (which may be wider
    or narrower than the tokenizer), `eos_token_ids` the tokens that may come when a grammar is at an end.
    `trials` is where suspicious grammars are compiled first.

    Raises MissingExtra without llguidance, InvalidRequest for a tokenizer that it cannot use.
    """

    def __init__(
        self,
        tokenizer: Any,
        vocab_size: int,
        eos_token_ids: Collection[int],
        trials: Trials | None = None,
    ) -> None:
        found = grammar_tokenizer(tokenizer, vocab_size, eos_token_ids)
        self._tokenizer, self.unusable_end = found  # an end that the model does not have
        self._words = -(-self._tokenizer.vocab_size // 32)
        self._usable = (1 << vocab_size) - 1  # a bit for each token that the model can choose
        if self.unusable_end is not None:
            self._usable &= ~(1 << self.unusable_end)
        self._trials = trials or Trials()
        self._compiled: OrderedDict[tuple[str, str], LLMatcher] = OrderedDict()
        self._lock = threading.Lock()
        self._bits = torch.zeros(0, self._words, dtype=torch.int32)

    def compile(self, params: SamplingParams) -> Constraint | None:
        """A matcher at the beginning of what `params` ask for, one for each call; None: they ask for nothing.

        Raises InvalidRequest, with the parameter's name, when it does not compile.
        """
        key = _key(params)
        if key is None:
            return None
        with self._lock:
            matcher = self._compiled.get(key)
            if matcher is not None:
                self._compiled.move_to_end(key)
        if matcher is None:
            matcher = self._compile(*key)
            with self._lock:
                self._compiled[key] = matcher
                while len(self._compiled) > _KEPT:
                    self._compiled.popitem(last=False)
        return Constraint(self, matcher.deep_copy())

    def has(self, params: SamplingParams) -> bool:
        """Whether what `params` ask for has been compiled, and is kept."""
        return _key(params) in self._compiled

    def bits(self, rows: int) -> torch.Tensor:
        """Room for the masks of `rows` sequences, ``[rows, words]`` int32; the next call uses it again."""
        if len(self._bits) < rows:
            self._bits = torch.zeros(2 * rows, self._words, dtype=torch.int32)
        return self._bits[:rows]

    def _compile(self, name: str, text: str) -> LLMatcher:
        from llguidance import LLMatcher

        try:
            grammar = _grammar(name, text)
        except ValueError as error:
            raise _refusal(name, str(error)) from None
        # What the trial says of single bytes holds for every tokenizer.
        if is_suspicious(name, text) and (problem := self._trials.problem_of(grammar)):
            raise _refusal(name, problem)
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=parser_limits())
        if problem := problem_of(matcher, self._usable):
            raise _refusal(name, problem)
        return matcher


class Constraint:
    """One sequence's way through a grammar."""

    def __init__(self, compiler: GrammarCompiler, matcher: LLMatcher) -> None:
        self.compiler = compiler
        self._matcher = matcher

    @property
    def matcher(self) -> LLMatcher:
        """The matcher, as llguidance knows it."""
        return self._matcher

    @property
    def is_accepting(self) -> bool:
        """Whether the answer may end here."""
        return self._matcher.is_accepting()

    @property
    def is_complete(self) -> bool:
        """Whether the answer can only end here."""
        return self._matcher.is_stopped()

    @property
    def error(self) -> str:
        """Why the grammar cannot be followed any further; empty while it can."""
        return in_a_line(self._matcher.get_error()) if self._matcher.is_error() else ""

    def accept(self, token: int) -> None:
        """Go on with `token`; raises StepFailed when the grammar does not allow it."""
        if not self._matcher.is_stopped() and not self._matcher.consume_token(token):
            raise StepFailed(f"The grammar does not allow token {token}: {self.error}.")

    def copy(self) -> Constraint:
        """Another sequence at the same place."""
        return Constraint(self.compiler, self._matcher.deep_copy())


def fill_masks(constraints: Sequence[Constraint]) -> torch.Tensor:
    """The tokens that each constraint allows next, a bit each, ``[len, words]`` int32 on the CPU.

    Token t is bit t % 32 of word t // 32. The tensor is used again by the next call. All constraints are
    of one compiler.
    """
    bits = constraints[0].compiler.bits(len(constraints))
    size = bits.shape[1] * bits.element_size()
    for row, constraint in enumerate(constraints):
        constraint.matcher.unsafe_compute_mask_ptr(bits.data_ptr() + row * size, size)
    end = constraints[0].compiler.unusable_end
    if end is not None:
        others = 0xFFFF_FFFF ^ (1 << end % 32)
        bits[:, end // 32] &= others - (1 << 32 if others >> 31 else 0)  # as a signed number
    return bits


def _key(params: SamplingParams) -> tuple[str, str] | None:
    """The parameter that constrains the answer, and its text."""
    if params.json_schema is not None:
        return "json_schema", str(params.json_schema)
    return None if params.regex is None else ("regex", params.regex)


def _grammar(name: str, text: str) -> str:
    """`text` in llguidance's form; raises ValueError."""
    from llguidance import LLMatcher

    if name == "regex":
        return LLMatcher.grammar_from_regex(text)
    return LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_pattern": _BLANKS})


def _refusal(name: str, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"{name} cannot be compiled: {in_a_line(reason)}. Write it differently.", param=name
    )
