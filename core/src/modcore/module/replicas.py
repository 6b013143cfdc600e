"""The instances of a service that a launcher places for us: begun at once, ended at once."""

from __future__ import annotations

import functools
import threading
from collections.abc import Collection, Mapping

from modcore.errors import ServiceError
from modcore.gateway.forks import renew_after_fork
from modcore.gateway.instance import Instance
from modcore.module.at_once import AtOnce, all_ended
from modcore.plugins import Service, ServiceSpec, plugin_manager


class Replicas:
    """One instance for each of `specs`, under its id; each gets `payload` over its private pipe.

    A forked child may call them where they were; to end them is its parent's.
    """

    def __init__(self, specs: Mapping[str, ServiceSpec], payload: bytes) -> None:
        self._specs, self._payload = specs, payload
        self._services: dict[str, Service] = {}
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_ours = True
        self._seen: tuple[tuple[str, ...], tuple[Instance, ...]] = (), ()
        renew_after_fork(self)

    def launch(self) -> None:
        """Place all; raises what the first that fails has said, and then none is left."""
        crew = AtOnce("replicas", patience=lambda: 0.0)
        try:
            for name, spec in self._specs.items():
                label = f"starting replica {spec.replica} of {spec.name}"
                crew.start(label, functools.partial(self._launch_one, name, spec))
            crew.wait()
        except BaseException as error:
            try:
                self.close()
            except Exception as failure:
                error.add_note(f"a replica could not be ended: {failure!r}")
            if isinstance(error, ExceptionGroup):
                raise _first_of(error, len(self._specs)) from None
            raise

    def close(self) -> None:
        """End all; what is still being placed is ended as soon as it is there."""
        if not self._is_ours:
            return
        with self._lock:
            self._is_closed = True
            services, self._services = self._services, {}
        failures: list[Exception] = []
        all_ended(
            [
                functools.partial(_end, self._specs[name], service, failures)
                for name, service in services.items()
            ]
        )
        for failure in failures:
            raise failure

    def wait(self) -> None:
        """Wait until all have ended by themselves."""
        for service in tuple(self._services.values()):
            service.wait()

    def instances(self) -> tuple[Instance, ...]:
        """Those that are up, each where it is now; the same tuple as long as nothing has changed."""
        services = tuple(self._services.items())
        urls = tuple(service.url for _, service in services)
        seen_urls, instances = self._seen
        if urls != seen_urls:
            instances = tuple(
                Instance(service=self._specs[name].name, url=url, id=name)
                for (name, _), url in zip(services, urls, strict=True)
                if url
            )
            self._seen = urls, instances  # at once: other threads are here too
        return instances

    @property
    def ids(self) -> Collection[str]:
        """The ids of all, up or not."""
        return self._specs.keys()

    @property
    def has_ended(self) -> bool:
        """Whether nothing is up, and nothing comes up again."""
        return all(service.poll() is not None for service in tuple(self._services.values()))

    @property
    def failure(self) -> ServiceError | None:
        """What has ended by itself for good, with an exit code other than 0, or None."""
        codes = {
            self._specs[name].replica: service.poll()
            for name, service in self._services.copy().items()
        }
        failed = {replica: code for replica, code in codes.items() if code}
        if not failed:
            return None
        name = next(iter(self._specs.values())).name
        if len(codes) == 1:
            return ServiceError(f"the process of {name} ended with exit code {failed[0]}.")
        told = ", ".join(f"{replica} (exit code {code})" for replica, code in failed.items())
        return ServiceError(f"{len(failed)} of {len(codes)} replicas of {name} have ended: {told}.")

    def after_fork(self) -> None:
        """They are the parent's."""
        self._is_ours, self._lock = False, threading.Lock()

    def _launch_one(self, id: str, spec: ServiceSpec) -> None:
        service = plugin_manager().deploy(spec, {"secret_payload": self._payload})
        with self._lock:
            if not self._is_closed:
                self._services[id] = service
                return
        plugin_manager().service_stopped(spec, service.stop())  # somebody has ended it meanwhile


def _end(spec: ServiceSpec, service: Service, failures: list[Exception]) -> None:
    try:
        plugin_manager().service_stopped(spec, service.stop())
    except Exception as error:
        failures.append(error)


def _first_of(several: ExceptionGroup[Exception], count: int) -> Exception:
    """What failed in one replica; the others are made of the same, and have failed of the same."""
    first = several.exceptions[0]
    first.add_note(f"{len(several.exceptions)} of {count} replicas failed")
    return first
