"""Asking Ray for a place: an actor with a name and resources, and what to say when there is none."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from modcore.deploy.process_identity import ProcessIdentity
from modcore.errors import InvalidRequest, ServiceError
from modcore.flow.interrupts import HEARTBEAT
from modcore.plugins import ServiceSpec
from modcore_ray.local_ray import NAMESPACE

TIMEOUT = "MODCORE_RAY_PLACEMENT_TIMEOUT"
_DEFAULT_TIMEOUT = 30.0
#: Calls of an actor's methods that run at once: those who wait for news, and those who ask or stop.
_CALLS_AT_ONCE = 16
_GIB = 2**30

#: What a service asks for, and what there is: cores, GPUs, bytes, under Ray's names.
Amounts = Mapping[str, float]


def actor_name(spec: ServiceSpec) -> str:
    """The name of an instance's actor in the namespace ``modcore``."""
    return f"modcore:{spec.name}:{spec.replica}"


def actor_options(spec: ServiceSpec) -> dict[str, Any]:
    """Ray's options for the actor of `spec`: no secret is among them."""
    return {
        "name": actor_name(spec),
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "num_cpus": spec.resources.cpus,
        "num_gpus": spec.resources.gpus,
        "memory": spec.resources.memory,
        "max_restarts": spec.restarts,
        "max_concurrency": _CALLS_AT_ONCE,
        "scheduling_strategy": "SPREAD",  # replicas do not fall together
    }


def create_actor(spec: ServiceSpec, payload: bytes | None) -> Any:
    """The actor of `spec`, which need not have a place yet.

    Raises ServiceError when one of its name is there, unless whoever had placed that is dead: then it is ended.
    """
    import ray

    from modcore_ray.actor import ServiceActor

    owner = ProcessIdentity.of(os.getpid())
    assert owner is not None
    arguments = (json.dumps(spec.to_json()), payload, json.dumps(asdict(owner)))
    for is_last in (False, True):
        try:
            return ray.remote(ServiceActor).options(**actor_options(spec)).remote(*arguments)
        except ValueError as error:
            if is_last or not _end_orphan(actor_name(spec), owner):
                raise ServiceError(
                    f"Ray has an actor {actor_name(spec)} already: a service {spec.name} runs there. End it "
                    f"where it was deployed (modcore stop {spec.name}), or choose another name."
                ) from error
    raise AssertionError("unreachable")


def wait_for_place(actor: Any, spec: ServiceSpec, *, is_final: bool) -> None:
    """Wait until `actor` runs; raises ServiceError, with what is asked and what there is, when it does not.

    `is_final` says that nothing can be added to what there is.
    """
    import ray

    answer = actor.owner.remote()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    is_hopeless = is_final and not any(_holds(node, asked_for(spec)) for node in nodes)
    seconds = 0.0 if is_hopeless else min(placement_timeout(), spec.ready_timeout)
    end = time.monotonic() + seconds
    while not ray.wait([answer], timeout=HEARTBEAT)[0]:
        if time.monotonic() >= end:
            raise ServiceError(shortage(spec, nodes, ray.available_resources(), seconds))
    try:
        ray.get(answer)
    except ray.exceptions.RayError as error:
        raise ServiceError(f"Ray could not start service {spec.name}: {error}") from error


def node_of_this_process() -> str:
    """The address under which Ray knows this machine."""
    import ray

    return str(ray.util.get_node_ip_address())


def placement_timeout() -> float:
    """How many seconds a service waits for its resources: ``MODCORE_RAY_PLACEMENT_TIMEOUT``."""
    text = os.environ.get(TIMEOUT, "")
    try:
        seconds = float(text or _DEFAULT_TIMEOUT)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 1e6:
        raise InvalidRequest(f"{TIMEOUT} is {text!r}; write a number of seconds, such as 30.")
    return seconds


def asked_for(spec: ServiceSpec) -> dict[str, float]:
    """What `spec` asks of a node, under Ray's names."""
    return {
        "CPU": spec.resources.cpus,
        "GPU": spec.resources.gpus,
        "memory": float(spec.resources.memory or 0),
    }


def shortage(spec: ServiceSpec, nodes: Sequence[Amounts], free: Amounts, seconds: float) -> str:
    """The sentence for a service that got no place within `seconds`."""
    asked = asked_for(spec)
    there = "; ".join(_words(node) for node in nodes) or "no node"
    remedy = "ask for less (modcore deploy --cpus, --gpus, --memory), or add a node."
    if not any(_holds(node, asked) for node in nodes):
        return f"service {spec.name} asks for {_words(asked)}, and no node of Ray has that (there is: {there}); {remedy}"
    return (
        f"service {spec.name} asks for {_words(asked)}, which was not free within {seconds:g} s (there is: "
        f"{there}; free of it: {_words(free)}); end another service, {remedy}"
    )


def _words(amounts: Amounts) -> str:
    words = [f"{amounts.get('CPU', 0.0):g} CPUs", f"{amounts.get('GPU', 0.0):g} GPUs"]
    if amounts.get("memory"):
        words.append(f"{amounts['memory'] / _GIB:.1f} GiB of memory")
    return ", ".join(words)


def _holds(node: Amounts, asked: Amounts) -> bool:
    return all(node.get(name, 0.0) >= amount for name, amount in asked.items())


def _end_orphan(name: str, us: ProcessIdentity) -> bool:
    """End the actor `name` if a process of this machine has placed it that is dead; whether it was so."""
    import ray

    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
        owner = ProcessIdentity(**json.loads(ray.get(actor.owner.remote(), timeout=5.0)))
    except (ValueError, ray.exceptions.RayError):
        return False  # it has just ended, or does not answer
    machine = us.started.partition(":")[0]
    if owner.is_alive or owner.started.partition(":")[0] != machine:
        return False
    ray.kill(actor, no_restart=True)
    return True
