"""TrainableModule: a checkpoint that can be trained, deployed on the engine, called and evaluated."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from modcore.checkpoint import checkpoint_directory
from modcore.errors import CheckpointError, InvalidRequest, ServiceError, named_kind
from modcore.module import ModuleBase, make_repr
from modcore.training.checkpoints import Target, fingerprint_of
from modcore.training.dataset import Message, Trainset
from modcore.training.options import Method, need_train_extra

if TYPE_CHECKING:
    from modcore.engine import Engine
    from modcore.training.encoding import Encoder

#: How `forward` generates unless it is told otherwise: the likeliest token, 256 of them at most.
GENERATION = {"max_tokens": 256, "temperature": 0.0}


@dataclass(frozen=True, slots=True)
class Deployed:
    """What answers: the engine, and how its checkpoint reads prompts."""

    engine: Engine
    encoder: Encoder


class TrainableModule(ModuleBase):
    """The checkpoint `base_model`, trained into `target_path` when there is a trainset.

    ``update()`` trains, writes an ordinary checkpoint to `target_path`, deploys it and evaluates. A
    training that was broken off goes on from its last checkpoint; one that is finished is not done
    again while base, trainset and method are the same. Without a result, the base model is deployed.
    """

    repr_type = "Trainable"
    shows_progress = True  # transformers' own bar

    _trainset: Trainset | None = None
    _method: Method | None = None
    _deployed: Deployed | None = None

    def __init__(
        self,
        base_model: str | Path,
        target_path: str | Path | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        for param, value in (("base_model", base_model), ("target_path", target_path)):
            is_path = isinstance(value, (str, Path)) and str(value)
            if not is_path and (value is not None or param == "base_model"):
                raise InvalidRequest(
                    f"{param} is {value!r}; it has to be the path of a directory.", param=param
                )
        self.base_model = Path(base_model)
        self.target = Target(target_path) if target_path else None

    def trainset(self, rows: str | Path | Sequence[Any]) -> Self:
        """Learn from `rows`, or from the jsonl file of that path; returns the module.

        A row is ``{"prompt": ..., "response": ...}`` or ``{"messages": [...]}``, of which the last, the
        assistant's, is learnt. Raises FileNotFoundError, and InvalidRequest with the line of a wrong row.
        """
        self._trainset = Trainset.read(rows)
        return self

    def finetune_method(self, kind: str, **options: Any) -> Self:
        """Train all weights (``full``) or a low-rank adapter (``lora``); returns the module.

        `options` have the names of transformers' TrainingArguments and, for ``lora``, of PEFT's
        LoraConfig. ``merge=False`` leaves the adapter apart in `target_path`; such a result is not
        deployed, and cannot be evaluated. Raises InvalidRequest for an unknown name, for a value that is no
        number where one is needed, and for ``merge=False`` beside an evaluation set; MissingExtra when
        it cannot be checked.
        """
        method = Method.from_options(kind, options)
        self._verify_evaluation(method, self._evalset is not None)
        self._method = method
        return self

    def evalset(self, *args: Any, **options: Any) -> None:
        """As for every module; raises InvalidRequest where ``merge=False`` leaves nothing to evaluate."""
        self._verify_evaluation(self._method, has_rows=True)
        super().evalset(*args, **options)

    def _verify_evaluation(self, method: Method | None, has_rows: bool) -> None:
        if method is not None and not method.merge and has_rows and "eval" not in self._skipped:
            raise InvalidRequest(
                "A LoRA adapter by itself (merge=False) is not deployed, so there is nothing to evaluate; train "
                'with merge=True, or say skip("eval") first.',
                param="merge",
            )

    def forward(self, prompt: str | Sequence[Message], **sampling: Any) -> str:
        """The answer to `prompt`, text or chat messages; a text is the user's message in a chat model.

        `sampling` are fields of SamplingParams; greedy, and at most 256 tokens, unless they say otherwise.
        Raises ServiceError when the module is not deployed.
        """
        from modcore.training.encoding import as_prompt

        deployed = self.deployed
        if not isinstance(prompt, Sequence):
            raise InvalidRequest(
                f"The prompt is {named_kind(type(prompt))}; give a text or a list of messages.",
                param="prompt",
            )
        asked = as_prompt(prompt, has_template=deployed.encoder.has_template)
        [answer] = deployed.engine.generate([asked], _sampling(sampling))
        return answer.text

    @property
    def deployed(self) -> Deployed:
        """What answers; raises ServiceError when the module is not deployed."""
        if self._deployed is not None:
            return self._deployed
        if self.target is not None and self.target.holds_adapter:
            raise ServiceError(
                f"{self.target.path} holds a LoRA adapter by itself (merge=False), which the engine does not "
                "serve; train with merge=True."
            )
        raise ServiceError(
            f"The module of {self.base_model} is not deployed; call update() or start() first."
        )

    def _load(self) -> None:
        """Load the result, or the base model where there is none, into an engine."""
        from modcore.engine import Engine
        from modcore.training.encoding import Encoder

        self._deployed = None  # the memory is needed
        directory = self._checkpoint()
        self._deployed = Deployed(Engine.from_pretrained(directory), Encoder(directory))

    def stop(self) -> None:
        """Let the engine go."""
        self._deployed = None
        super().stop()

    def _get_train_tasks(self) -> Callable[[], None] | None:
        if self._trainset is None and self._method is None:
            return None
        return self._train

    def _get_deploy_tasks(self) -> Callable[[], None] | None:
        if self.target is not None and self.target.holds_adapter:
            self._deployed = None
            return None
        return self._load

    def _train(self) -> None:
        self._verify_evaluation(self._method, self._evalset is not None)
        if self._trainset is None:
            raise InvalidRequest(
                "There is a finetune_method, but nothing to learn from; call trainset(...).",
                param="trainset",
            )
        if self.target is None:
            raise InvalidRequest(
                "There is a trainset, but no place for the result; give TrainableModule a target_path.",
                param="target_path",
            )
        base, method = checkpoint_directory(self.base_model), self._method or Method()
        if self.target.path.resolve() == base.resolve():
            raise CheckpointError(
                f"target_path is the base model's own directory {base}; name another, or it would be overwritten."
            )
        self.target.verify()
        fingerprint = fingerprint_of(base, self._trainset.digest(), method.to_json())
        if self.target.holds(fingerprint):
            return
        need_train_extra(method.kind)
        from modcore.training.finetune import finetune

        finetune(base, self._trainset, method, self.target, fingerprint)

    def _evaluate(self) -> None:
        """As every module; one that is not deployed, or in another process only, is loaded for this alone."""
        if self._deployed is not None:
            super()._evaluate()
            return
        if self._get_deploy_tasks() is not None:
            self._load()
        try:
            super()._evaluate()
        finally:
            self._deployed = None

    def _checkpoint(self) -> Path:
        """The directory to serve."""
        if self.target is not None:
            self.target.verify()
            if self.target.is_finished:
                return self.target.path
        return checkpoint_directory(self.base_model)

    def __getstate__(self) -> dict[str, Any]:
        # An engine stays in its process; the one that gets the module loads its own.
        return {**super().__getstate__(), "_deployed": None}

    def __repr__(self) -> str:
        attributes = {"base_model": str(self.base_model)}
        if self.target is not None:
            attributes["target_path"] = str(self.target.path)
        return make_repr("Module", self.repr_type or type(self), name=self.name, attrs=attributes)


def _sampling(options: Mapping[str, Any]) -> Any:
    from modcore.engine import SamplingParams

    names = [each.name for each in dataclasses.fields(SamplingParams)]
    for name in options:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}."
            raise InvalidRequest(f"There is no sampling option {name!r}; {hint}", param=name)
    return SamplingParams(**{**GENERATION, **options})
