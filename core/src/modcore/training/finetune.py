"""The training itself: transformers' Trainer, and PEFT for LoRA. Needs ``modcore[train]``.

Everything is read from local files, and code from a checkpoint directory never runs.
"""

from __future__ import annotations

import random
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import (
    AutoModelForCausalLM,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

from modcore.errors import CheckpointError, InvalidRequest, ModcoreError
from modcore.training.cadence import SaveEveryMinute
from modcore.training.checkpoints import Fingerprint, Target
from modcore.training.dataset import Trainset
from modcore.training.encoding import IGNORED, Encoded, Encoder
from modcore.training.options import Method

#: What differs from the defaults of TrainingArguments.
DEFAULTS: dict[str, Any] = {
    "dataloader_pin_memory": False,
    "logging_steps": 10,
    "report_to": "none",
    "save_strategy": "no",  # SaveEveryMinute asks for the checkpoints
    "save_total_limit": 2,
    "seed": 42,
}
#: What differs from those, and from the defaults of LoraConfig, for LoRA.
LORA_DEFAULTS: dict[str, Any] = {"learning_rate": 2e-4}
LORA_CONFIG: dict[str, Any] = {"target_modules": "all-linear"}

# accelerate keeps its state in singletons of the process, which each new Trainer resets.
_one_at_a_time = threading.Lock()


def finetune(
    base: Path, trainset: Trainset, method: Method, target: Target, fingerprint: Fingerprint
) -> None:
    """Train `base` on `trainset` and write the result to `target`, or go on where a run broke off.

    Raises InvalidRequest for a row or an option that cannot be used, CheckpointError for a base that
    cannot be trained.
    """
    with _one_at_a_time, target.locked(), _bars_on_a_terminal_only(), _own_random_numbers():
        if target.holds(fingerprint):
            return
        encoder = Encoder(base)
        rows = [encoder.encode(example) for example in trainset.examples]
        arguments = _arguments(method, target)
        set_seed(arguments.seed)  # an adapter begins with random numbers
        model, dtype = _load(base)
        trainer = _trainer(_prepared(model, method), arguments, rows)
        resumed = target.begin(fingerprint)
        # Resuming unpickles optimizer and random states. They are files that this run itself wrote to its
        # target, and transformers loads every one of them with torch.load(weights_only=True), which
        # makes nothing but tensors and plain values.
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        _save(trainer.model, dtype, method, encoder.tokenizer, target)
        target.publish(fingerprint)


def _arguments(method: Method, target: Target) -> TrainingArguments:
    defaults = DEFAULTS | (LORA_DEFAULTS if method.kind == "lora" else {})
    if "save_steps" in method.training:
        defaults = defaults | {"save_strategy": "steps"}
    options = defaults | {"disable_tqdm": not sys.stderr.isatty()} | dict(method.training)
    try:
        return TrainingArguments(output_dir=str(target.path), **options)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"transformers refuses these options: {error}", param="finetune_method"
        ) from error


def _load(base: Path) -> tuple[Any, torch.dtype]:
    """The model, and what its weights are stored in, which the result keeps."""
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            str(base),
            dtype="auto",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"transformers cannot train {base}: {reason}") from error
    if missing := sorted(report["missing_keys"]):  # transformers fills them with random numbers
        raise CheckpointError(
            f"{base} lacks the weight {missing[0]} (and {len(missing) - 1} more); fetch the checkpoint again."
        )
    return model, model.dtype


def _prepared(model: Any, method: Method) -> Any:
    """The model with the weights that are trained, in float32: small steps vanish in bfloat16.

    Those that LoRA leaves alone stay as they are; PEFT keeps its own in float32.
    """
    if method.kind == "full":
        return model.float()
    from peft import LoraConfig, get_peft_model

    try:
        config = LoraConfig(task_type="CAUSAL_LM", **(LORA_CONFIG | dict(method.lora)))
        with warnings.catch_warnings():
            # PEFT asks the model by the old name of the attribute, which answers the same.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
            return get_peft_model(model, config)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"PEFT refuses these options: {error}", param="finetune_method"
        ) from error


def _trainer(model: Any, arguments: TrainingArguments, rows: Sequence[Encoded]) -> Trainer:
    data = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=collate,
        callbacks=[SaveEveryMinute()],
    )
    # One prints a dict every few steps to stdout, the other between the bars.
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(LossInBar())
    return trainer


class LossInBar(ProgressCallback):  # type: ignore[misc]  # transformers is not typed
    """The bar of transformers, with the loss in it."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show the loss of the last steps."""
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(loss=logs["loss"])


def collate(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """The rows as a batch, ``[rows, longest]``, padded at the end with what the loss ignores."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, value: int) -> torch.Tensor:
        return torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in rows])

    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {
        "input_ids": padded("input_ids", 0),
        "attention_mask": (torch.arange(longest) < lengths[:, None]).long(),
        "labels": padded("labels", IGNORED),
    }


def _save(model: Any, dtype: torch.dtype, method: Method, tokenizer: Any, target: Target) -> None:
    """Write the result to the target's place for what is not finished."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ModcoreError(
                f"The training diverged: {name} is not finite. Train with a smaller learning_rate."
            )
    if method.kind == "lora" and method.merge:
        model = model.merge_and_unload()
    if method.kind == "full" or method.merge:
        model = model.to(dtype)
    model.save_pretrained(target.unfinished)
    tokenizer.save_pretrained(target.unfinished)


@contextmanager
def _bars_on_a_terminal_only() -> Iterator[None]:
    """Show the bars that transformers draws while it loads weights only where a person sees them."""
    shown = logging.is_progress_bar_enabled()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """The Trainer seeds the process's generators; the caller's go on where they were."""
    python, arrays = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(arrays)
