"""What is to be deployed: the service of one entry point, in so many replicas."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from modcore.deploy.environment import INSTANCE
from modcore.deploy.handover import Handover
from modcore.plugins.records import Resources, ServiceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPlan:
    """`replicas` instances of what `entry` names, called `name`; `arguments` is JSON, as it was given.

    `token` opens them. With a `gateway` they register there, and token and signatures are the
    `cluster_key`'s. It holds secrets, so it travels over private pipes alone.
    """

    name: str
    entry: str
    token: str = field(repr=False)
    arguments: str | None = None
    launcher: str = "local"
    replicas: int = 1
    capacity: int | None = None
    is_idempotent: bool = False
    restarts: int = 5
    ready_timeout: float = 300.0
    resources: Resources = field(default_factory=Resources)
    gateway: str = field(default="", repr=False)
    cluster_key: str = field(default="", repr=False)
    ids: tuple[str, ...] = ()

    def specs(self) -> list[ServiceSpec]:
        """The instances, as launchers take them."""
        return [
            ServiceSpec(
                name=self.name,
                command=self._command(),
                environment={INSTANCE: name},
                launcher=self.launcher,
                ready_timeout=self.ready_timeout,
                replica=replica,
                restarts=self.restarts,
                resources=self.resources,
            )
            for replica, name in enumerate(self.ids)
        ]

    def handover(self) -> Handover:
        """What each instance gets over its private pipe."""
        return Handover(token=self.token, gateway=self.gateway, cluster_key=self.cluster_key)

    def to_bytes(self) -> bytes:
        """The plan for another process of ours."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> DeploymentPlan:
        """What `to_bytes` made."""
        values: Mapping[str, Any] = json.loads(content)
        resources = Resources(**values["resources"])
        return cls(**{**values, "resources": resources, "ids": tuple(values["ids"])})

    def _command(self) -> tuple[str, ...]:
        words = ["serve-module", "--entry", self.entry, "--name", self.name]
        words += ["--launcher", self.launcher]
        if self.arguments is not None:
            words += ["--args", self.arguments]
        if self.capacity is not None:
            words += ["--capacity", str(self.capacity)]
        if self.is_idempotent:
            words.append("--idempotent")
        return tuple(words)


def new_ids(count: int) -> tuple[str, ...]:
    """Ids for so many instances."""
    return tuple(secrets.token_hex(8) for _ in range(count))
