"""JSON schemas and regular expressions that an answer follows, token by token, through llguidance.

A grammar is compiled once for a tokenizer and kept; each sequence follows it with a matcher of its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch

from modcore.engine.sampling.params import SamplingParams
from modcore.engine.sampling.trial import MAX_STATES, needs_trial, try_grammar
from modcore.errors import InvalidRequest, MissingExtra, StepFailed

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_KEPT = 64  # compiled grammars
_REASON = 200  # characters of llguidance's words that a message repeats
_NO_END = "<|modcore: no end|>"
#: Between the parts of an answer's JSON. Bounded: a model could go on with blank space for ever.
_BLANKS = r"[ \n\r\t]{0,32}"


class GrammarCompiler:
    """Compiles the constraints of requests for one tokenizer; safe from any thread.

    `tokenizer` is a fast one of transformers, `vocab_size` the width of the logits (which may be wider
    or narrower than the tokenizer), `eos_token_ids` the tokens that may come when a grammar is at an end.

    Raises MissingExtra without llguidance, InvalidRequest for a tokenizer that it cannot use.
    """

    def __init__(self, tokenizer: Any, vocab_size: int, eos_token_ids: Collection[int]) -> None:
        backend = _own_copy(tokenizer)
        size = backend.get_vocab_size(with_added_tokens=True)
        ends = sorted(token for token in eos_token_ids if 0 <= token < size)
        self.unusable_end: int | None = None  # stands for the end that a model does not have
        if not ends:
            backend.add_special_tokens([_NO_END])
            self.unusable_end = backend.token_to_id(_NO_END)
            ends = [self.unusable_end]
        self._tokenizer = _ll_tokenizer(backend, max(vocab_size, size + 1), ends)
        self._words = -(-self._tokenizer.vocab_size // 32)
        self._compiled: OrderedDict[tuple[str, str], LLMatcher] = OrderedDict()
        self._lock = threading.Lock()
        self._bits = torch.zeros(0, self._words, dtype=torch.int32)

    def compile(self, params: SamplingParams) -> Constraint | None:
        """A matcher at the beginning of what `params` ask for, one for each call; None: they ask for nothing.

        Raises InvalidRequest, with the parameter's name, when it does not compile.
        """
        if params.json_schema is not None:
            key = ("json_schema", str(params.json_schema))
        elif params.regex is not None:
            key = ("regex", params.regex)
        else:
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

    def bits(self, rows: int) -> torch.Tensor:
        """Room for the masks of `rows` sequences, ``[rows, words]`` int32; the next call uses it again."""
        if len(self._bits) < rows:
            self._bits = torch.zeros(2 * rows, self._words, dtype=torch.int32)
        return self._bits[:rows]

    def _compile(self, name: str, text: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(max_lexer_states=MAX_STATES, verbose_errors=False)
        try:
            if name == "regex":
                grammar = LLMatcher.grammar_from_regex(text)
            else:
                grammar = LLMatcher.grammar_from_json_schema(
                    text, overrides={"whitespace_pattern": _BLANKS}
                )
                if needs_trial(text):
                    try_grammar(grammar, name)
            matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits)
            reason = matcher.get_error() if matcher.is_error() else ""
        except InvalidRequest:
            raise
        except ValueError as error:
            reason = str(error)
        if reason:
            raise InvalidRequest(
                f"{name} cannot be compiled: {_cut(reason)}. Write it differently.", param=name
            )
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
        return _cut(self._matcher.get_error()) if self._matcher.is_error() else ""

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


def _own_copy(tokenizer: Any) -> Any:
    """The Rust tokenizer behind transformers', in a copy that may be changed."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InvalidRequest(
            "json_schema and regex need a fast tokenizer, and this checkpoint's is not one.",
            param="json_schema",
        )
    backend = type(backend).from_str(backend.to_str())
    backend.no_padding()
    backend.no_truncation()
    return backend


def _ll_tokenizer(backend: Any, width: int, ends: list[int]) -> LLTokenizer:
    try:
        from llguidance import LLTokenizer
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "json_schema and regex need llguidance, which is not installed; "
            "try: pip install 'modcore[engine]'"
        ) from error
    try:
        return LLTokenizer(backend.to_str(), n_vocab=width, eos_token=ends)
    except ValueError as error:
        raise InvalidRequest(
            f"json_schema and regex cannot be served with this checkpoint's tokenizer: {_cut(str(error))}.",
            param="json_schema",
        ) from error


def _cut(reason: str) -> str:
    line = " ".join(reason.split()).rstrip(".")
    return line if len(line) <= _REASON else line[:_REASON] + "…"
