"""What every test shares: small checkpoints that transformers itself wrote."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Several processes share the cores here, and torch's threads wait for each other by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# A shell's background jobs ignore Ctrl-C, and so would every process that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys, logs and snapshots of the tests are nobody else's."""
    directory = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODCORE_STATE_DIR", str(directory))
        yield directory


@pytest.fixture(scope="session")
def write_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a random checkpoint: `write_checkpoint(config, **save_options)` -> its directory."""
    from checkpoints import write_random

    def write(config: Any, **options: Any) -> Path:
        return write_random(config, tmp_path_factory.mktemp("checkpoint") / "model", **options)

    return write


@pytest.fixture(scope="session")
def text_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Llama with a byte-level tokenizer and a chat template; do not change it."""
    from checkpoints import llama_config, train_tokenizer, write_random

    directory = tmp_path_factory.mktemp("text") / "tiny-llama"
    tokenizer = train_tokenizer()
    config = llama_config(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    write_random(config, directory)
    tokenizer.save_pretrained(directory)
    return directory
