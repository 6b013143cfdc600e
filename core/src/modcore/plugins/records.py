"""What travels through the hooks: small, typed, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

MatchKind = Literal["architecture", "model_type", "predicate"]

#: How closely a match fits, best first.
MATCH_KINDS: tuple[MatchKind, ...] = ("architecture", "model_type", "predicate")


@dataclass(frozen=True, slots=True)
class ModelMatch:
    """A model class that can serve a config, and why.

    `id` is an entry of ``modcore.text_models`` or ``modcore.vision_models``; `kind` ranks the
    match; `reason` is shown to people. The manager fills `dist`, `version` and `group`: a hook
    leaves them out.
    """

    id: str
    reason: str
    kind: MatchKind = "model_type"
    dist: str = ""
    version: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if self.kind not in MATCH_KINDS:
            raise ValueError(f"a match is of one of the kinds {MATCH_KINDS}, not {self.kind!r}")

    def to_json(self) -> dict[str, str]:
        """The match as ``modcore explain --json`` prints it."""
        return {"dist": self.dist, "version": self.version, "id": self.id, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPart:
    """A text model inside the checkpoint of another model.

    `config` is what its own ``config.json`` would hold; `prefixes` are the beginnings of its tensors'
    names in the files, each with what stands there in a checkpoint of its own.
    """

    config: Mapping[str, Any]
    prefixes: Mapping[str, str]


#: What models compute in; ``auto`` is what their tensors are stored in.
DTYPES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How a model is to be built.

    `dtype` is ``auto``, ``float32`` or ``bfloat16``; `kv_tokens` is the number of tokens that the
    KV cache holds (None: as many as fit); `max_batch` bounds the requests decoded together;
    `weights` and `layers` name variants of the family's parts, such as ``int8``;
    `context_length` is the most tokens of a prompt and its answer (None: as ``config.json`` says;
    more than that is possible only where positions have no end, as with ALiBi); `part` says that
    the model is a part of the checkpoint's; `vision` are options of a model that reads images, by name.
    """

    path: Path
    dtype: str = "auto"
    weights: str | None = None
    layers: str | None = None
    kv_tokens: int | None = None
    max_batch: int = 64
    context_length: int | None = None
    part: ModelPart | None = None
    vision: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a service asks of a machine: processor cores, GPUs (parts of one too), memory in bytes."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """One instance of a service, to be placed by a launcher: JSON through and through.

    `command` are the words after ``modcore`` (``["serve", "/models/llama"]``); `environment` is
    added to the launcher's own. Secrets stand in neither: they go over a private pipe.
    `ready_timeout` is in seconds. `restarts` is how often in a row an instance that fails is started
    again, with a growing pause; one that has run for a while begins anew. `replica` tells instances
    of one service apart in logs.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    launcher: str = "local"
    ready_timeout: float = 300.0
    replica: int = 0
    restarts: int = 0
    resources: Resources = field(default_factory=Resources)

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON holds it."""
        return {**asdict(self), "command": list(self.command), "environment": {**self.environment}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ServiceSpec:
        """What `to_json` made."""
        resources = Resources(**values.get("resources", {}))
        return cls(**{**values, "command": tuple(values["command"]), "resources": resources})


class Service(Protocol):
    """A running instance of a service, as a launcher hands it out.

    One that has them may tell its process's `pid` and its `restarts` so far too: ``modcore ps`` shows them.
    """

    name: str

    @property
    def url(self) -> str:
        """Where it listens now: another place after each restart, nowhere (``""``) while it is down."""
        ...

    def poll(self) -> int | None:
        """The exit code of a service that has ended for good, None otherwise. Does not wait."""
        ...

    def wait(self) -> int:
        """Wait until the service has ended for good. Returns its exit code."""
        ...

    def stop(self, timeout: float = 10.0) -> int:
        """End the service; wait `timeout` seconds before it is killed. Returns its exit code."""
        ...


class Launcher(Protocol):
    """What ``modcore.launchers`` names: a factory, called with the launcher's options.

    The options of every launcher: `secret_payload`, bytes for the instance alone. It has to start an
    instance again as often as ``spec.restarts`` says: nobody else does.
    """

    def launch(self, spec: ServiceSpec) -> Service:
        """Place `spec` and return it once it is ready; raises ServiceError with the instance's words.

        May be called from several threads at once. A caller who loses patience raises an exception in the
        thread, at any place: nothing may be left running then.
        """
        ...
