"""From the name of a service or a model to the instances that a call may go to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from modcore.gateway.balancer import Balancer
from modcore.gateway.directory import Directory, Snapshot
from modcore.gateway.instance import Instance
from modcore.serve.front_door.refusals import Refusal

MAX_NAMED = 20  # names that an error lists


class Routes:
    """A balancer for each service, and one for each model, over what `directory` knows now."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._services: dict[str, Balancer] = {}
        self._models: dict[str, Balancer] = {}
        self._seen: Snapshot | None = None
        self._serving: dict[str, tuple[Instance, ...]] = {}

    def service(self, name: str) -> Balancer:
        """The balancer of a service; raises Refusal (404) when none is registered under `name`."""
        if not self._directory.instances(name):
            known = _named(self._directory.services())
            message = f"No service {name!r} is registered; registered are: {known}."
            raise Refusal(404, message, code="service_not_found")
        if name not in self._services:
            self._services[name] = Balancer(lambda: self._directory.instances(name), repr(name))
        return self._services[name]

    def model(self, name: str) -> Balancer:
        """The balancer of a model; raises Refusal (404) when no instance serves it."""
        if name not in self._by_model():
            raise unknown_model(name, self.models())
        if name not in self._models:
            self._models[name] = Balancer(lambda: self._by_model().get(name, ()), repr(name))
        return self._models[name]

    def models(self) -> Mapping[str, Instance]:
        """The models that are served, each with the instance that has served it longest."""
        return {
            name: min(instances, key=lambda each: each.started_at)
            for name, instances in self._by_model().items()
        }

    def instances(self) -> dict[str, Instance]:
        """Every instance that is known, by id."""
        services = self._directory.services().values()
        return {each.id: each for instances in services for each in instances}

    def in_flight(self) -> Counter[str]:
        """The calls under way, by the ids of the instances."""
        counts: Counter[str] = Counter()
        for balancer in self._balancers():
            counts.update(balancer.in_flight())
        return counts

    def ejected(self) -> set[str]:
        """The ids of the instances that are left out for their failures."""
        return set().union(*(balancer.ejected for balancer in self._balancers()))

    def forget_the_gone(self) -> None:
        """Drop the balancers of services and models that are registered no more."""
        for name in self._services.keys() - self._directory.services().keys():
            del self._services[name]
        for name in self._models.keys() - self._by_model().keys():
            del self._models[name]

    def _balancers(self) -> Sequence[Balancer]:
        return [*self._services.values(), *self._models.values()]

    def _by_model(self) -> Mapping[str, tuple[Instance, ...]]:
        """Who serves which model; the same tuples as long as the snapshot does not change."""
        snapshot = self._directory.services()
        if snapshot is not self._seen:
            serving: dict[str, list[Instance]] = {}
            for instances in snapshot.values():
                for instance in instances:
                    for model in instance.models:
                        serving.setdefault(model, []).append(instance)
            self._serving = {name: tuple(instances) for name, instances in serving.items()}
            self._seen = snapshot
        return self._serving


class _NamesModel(msgspec.Struct):
    model: str


_decoder = msgspec.json.Decoder(_NamesModel)


def model_of(body: bytes) -> str:
    """The model that the body of an OpenAI request names; the rest of it is not looked at.

    Raises Refusal (400) for a body that is no JSON object or names none.
    """
    try:
        return _decoder.decode(body).model
    except msgspec.ValidationError as error:
        raise Refusal(400, f"model: {error}.", param="model", type_name="ValueError") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The body is not valid JSON: {error}."
        raise Refusal(400, message, type_name="ValueError") from None


def unknown_model(name: str, known: Iterable[str]) -> Refusal:
    """The answer to who asks for a model that nobody serves."""
    message = f"The model {name[:100]!r} is not served here; served are: {_named(known)}."
    return Refusal(404, message, code="model_not_found", param="model")


def _named(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - MAX_NAMED} more" if len(listed) > MAX_NAMED else ""
    return ", ".join(listed[:MAX_NAMED]) + more or "none"
