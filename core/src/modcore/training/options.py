"""How to train: the method and its options, which carry the names that transformers and PEFT give them."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal, get_args, get_type_hints

from modcore.errors import InvalidRequest, MissingExtra

Kind = Literal["full", "lora"]
KINDS: tuple[Kind, ...] = ("full", "lora")

#: Options that exist, and that modcore answers for itself.
_OWN = {
    "output_dir": "the result goes to target_path",
    "resume_from_checkpoint": "update() resumes by itself",
    "save_only_model": "a checkpoint holds what resuming needs",
    "load_best_model_at_end": "there is no evaluation while training; use evalset() and eval()",
    "eval_strategy": "there is no evaluation while training; use evalset() and eval()",
    "eval_on_start": "there is no evaluation while training; use evalset() and eval()",
    "push_to_hub": "modcore uploads nothing",
    "task_type": "modcore trains causal language models",
    "peft_type": "the method says it",
    "base_model_name_or_path": "it is the module's base_model",
    "inference_mode": "update() trains",
}


#: Numbers of something of which there has to be one.
_COUNTS = frozenset({"per_device_train_batch_size", "gradient_accumulation_steps", "r"})
#: With zero of these, nothing is learnt.
_ABOVE_ZERO = frozenset({"num_train_epochs", "learning_rate", "adam_epsilon", "lora_alpha"})


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train: all weights (``full``) or a low-rank adapter (``lora``).

    `training` and `lora` hold what differs from our defaults, under the names of transformers'
    TrainingArguments and PEFT's LoraConfig. With `merge`, a LoRA is merged into the weights.
    """

    kind: Kind = "full"
    training: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] = field(default_factory=dict)
    merge: bool = True

    @classmethod
    def from_options(cls, kind: str, options: Mapping[str, Any]) -> Method:
        """The method `kind` with `options` sorted to where they belong.

        Raises InvalidRequest for an unknown method or option, with the near ones, and MissingExtra.
        """
        if kind not in KINDS:
            raise InvalidRequest(
                f"There is no finetune method {kind!r}; {_hint(str(kind), KINDS)}",
                param="finetune_method",
            )
        rest = {name: _plain(name, value) for name, value in options.items()}
        merge = _merge(kind, rest.pop("merge", None))
        if not rest:
            return cls(kind, merge=merge)
        need_train_extra(kind)
        known_training = _training_types()
        known_lora = _lora_types() if kind == "lora" else {}
        known = {**known_lora, **known_training}
        for name, value in rest.items():
            _verify_name(name, kind, known)
            _verify_value(name, value, known[name])
        # A name that both have (none today) is the trainer's.
        training = {name: value for name, value in rest.items() if name in known_training}
        lora = {name: value for name, value in rest.items() if name not in known_training}
        return cls(kind, training, lora, merge)

    def to_json(self) -> dict[str, Any]:
        """What tells one method from another."""
        return dataclasses.asdict(self)


def need_train_extra(kind: Kind) -> None:
    """Raise MissingExtra, with the pip line, unless what `kind` needs is installed."""
    needed = ["torch", "transformers", "accelerate", *(["peft"] if kind == "lora" else [])]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"Training ({kind}) needs {' and '.join(missing)}, which is not installed; "
            "try: pip install 'modcore[train]'"
        )


def _merge(kind: str, value: Any) -> bool:
    if value is None:
        return True
    if kind != "lora":
        raise InvalidRequest(
            "merge is an option of the method 'lora'; leave it out.", param="merge"
        )
    if not isinstance(value, bool):
        raise InvalidRequest(f"merge is {value!r}; it has to be True or False.", param="merge")
    return value


def _verify_name(name: str, kind: str, known: Mapping[str, Any]) -> None:
    reason = _OWN.get(name)
    if name.startswith("hub_"):
        reason = _OWN["push_to_hub"]
    if reason is not None:
        raise InvalidRequest(f"{name} cannot be set: {reason}.", param=name)
    if name in known:
        return
    if kind == "full" and find_spec("peft") is not None and name in _lora_types():
        raise InvalidRequest(
            f"{name} is an option of the method 'lora', not of 'full'.", param=name
        )
    raise InvalidRequest(
        f"There is no option {name!r} of the method {kind!r}; "
        f"{_hint(name, [*known, *(['merge'] if kind == 'lora' else [])])}",
        param=name,
    )


def _verify_value(name: str, value: Any, kind: Any) -> None:
    """Refuse what is no number where `kind` has to be one: transformers notices it while it trains."""
    kinds = set(get_args(kind) or (kind,))
    if value is None and type(None) in kinds:
        return
    if not kinds <= {int, float, bool, type(None)}:
        return
    if wanted := _unfit(name, value, kinds):
        raise InvalidRequest(f"{name} is {value!r}; it has to be {wanted}.", param=name)


def _unfit(name: str, value: Any, kinds: set[Any]) -> str | None:
    """What the number `value` would have to be; None when it is that."""
    if not isinstance(value, (int, float)) or (isinstance(value, bool) and bool not in kinds):
        return "True or False" if bool in kinds else "a number"
    if not math.isfinite(value):
        return "a finite number"
    if isinstance(value, float) and (name in _COUNTS or name == "max_steps"):
        return "a whole number"
    if name == "max_steps" and not (value == -1 or value > 0):
        return "above 0, or -1 for none"
    if name in _COUNTS and value < 1:
        return "1 or more"
    if name in _ABOVE_ZERO and value <= 0:
        return "above 0"
    return None


def _hint(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    if len(names) > 4:
        return "the names are those of TrainingArguments and LoraConfig."
    return f"there are {', '.join(names)}."


def _plain(name: str, value: Any) -> Any:
    """`value` as JSON has it: it goes into the record that tells whether a run can be resumed."""
    if isinstance(value, (set, frozenset)):
        value = sorted(value)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        raise InvalidRequest(
            f"{name} is {value!r}; it has to be text, a number, True or False, or a list or dict of them.",
            param=name,
        ) from None


def _training_types() -> dict[str, Any]:
    from transformers import TrainingArguments

    return _types(TrainingArguments)


def _lora_types() -> dict[str, Any]:
    from peft import LoraConfig

    return _types(LoraConfig)


def _types(config: Any) -> dict[str, Any]:
    """The options that `config` takes, each with its type."""
    types = get_type_hints(config)
    return {each.name: types[each.name] for each in dataclasses.fields(config) if each.init}
