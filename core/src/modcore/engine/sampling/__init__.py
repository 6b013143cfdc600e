"""How the next token is chosen: what a request asks for, what a sequence carries, the batched choice.

Knows no requests, no scheduler and no text: tokens and logits come in, tokens and records go out. Only
`grammar` and `token_text` see a tokenizer.
"""

from __future__ import annotations

from modcore.engine.sampling.grammar import Constraint, GrammarCompiler
from modcore.engine.sampling.logprobs import TokenLogprob, prompt_logprobs, token_logprobs
from modcore.engine.sampling.params import SamplingParams
from modcore.engine.sampling.sampler import Sampled, final_distribution, sample
from modcore.engine.sampling.state import SamplingState

__all__ = [
    "Constraint",
    "GrammarCompiler",
    "Sampled",
    "SamplingParams",
    "SamplingState",
    "TokenLogprob",
    "final_distribution",
    "prompt_logprobs",
    "sample",
    "token_logprobs",
]
