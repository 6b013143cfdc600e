"""Train a small Llama with transformers until it knows a text by heart, and save it.

What is saved is an ordinary Hugging Face checkpoint: modcore has no part in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WINDOW = 64  # tokens that the model sees at once in training
BATCH = 24
WARMUP_STEPS = 20
KNOWN_BY_HEART = 0.06  # nats a token; the first tokens of a window can never be known
TIME_LIMIT = 110.0  # seconds

END = "<|end|>"
#: A conversation is a poem: each message is a line of it.
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] + '\\n' }}{% endfor %}"

#: Told after each step: step, loss, and how far the training is, from 0 to 1.
Progress = Callable[[int, float, float], None]


@dataclass(frozen=True, slots=True)
class Training:
    """What the training came to."""

    parameters: int
    steps: int
    loss: float
    seconds: float


def train(text: str, directory: Path, progress: Progress) -> Training:
    """Learn `text` by heart and save model and tokenizer to `directory`."""
    torch.manual_seed(0)
    # Threads wait for each other after every operation. In a model this small that gains little on an
    # idle machine, and when another program takes one of their cores it costs fifty times the work.
    torch.set_num_threads(1)
    tokenizer = _train_tokenizer(text)
    model = LlamaForCausalLM(_config(len(tokenizer), tokenizer.eos_token_id))
    training = _learn(model, torch.tensor(tokenizer(text)["input_ids"]), progress)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return training


def _train_tokenizer(text: str) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=[END],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([text], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _config(vocab_size: int, eos_token_id: int) -> Any:
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos_token_id,
        pad_token_id=eos_token_id,
    )


def _learn(model: Any, ids: torch.Tensor, progress: Progress) -> Training:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    first_loss = smooth = 0.0
    start = time.monotonic()
    step = 0
    while time.monotonic() - start < TIME_LIMIT:
        step += 1
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, step / WARMUP_STEPS)
        windows = _windows(ids)
        loss = model(input_ids=windows, labels=windows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        smooth = loss.item() if step == 1 else 0.8 * smooth + 0.2 * loss.item()
        first_loss = first_loss or smooth
        done = (first_loss - smooth) / (first_loss - KNOWN_BY_HEART)
        progress(step, smooth, min(max(done, 0.0), 1.0))
        if smooth < KNOWN_BY_HEART:
            break
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Training(parameters, step, smooth, time.monotonic() - start)


def _windows(ids: torch.Tensor) -> torch.Tensor:
    """``[BATCH, WINDOW]`` pieces of the text, from anywhere in it."""
    starts = torch.randint(len(ids) - WINDOW, (BATCH, 1))
    return ids[starts + torch.arange(WINDOW)]
