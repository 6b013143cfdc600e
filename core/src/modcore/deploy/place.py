"""Where a service that runs in this process can be found: its registration, if it has a gateway."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from modcore.errors import ServiceError

if TYPE_CHECKING:
    from modcore.deploy.handover import Handover
    from modcore.gateway import Instance, Registration


class Place:
    """Keeps `instance` registered at the gateway of `handover`; without one, nothing happens.

    Raises ServiceError when the instance cannot be registered as it is.
    """

    def __init__(self, handover: Handover, instance: Instance) -> None:
        self._failure: Exception | None = None
        self._registration = _registration(handover, instance) if handover.gateway else None

    def register(self, then: Callable[[], None]) -> None:
        """Register beside the caller, and call `then`, whether or not the store answers.

        A gateway that cannot be used as it is configured ends this process: see `raise_failure`.
        """
        if self._registration is None:
            then()
        else:
            threading.Thread(target=self._register, args=(then,), daemon=True).start()

    def _register(self, then: Callable[[], None]) -> None:
        assert self._registration is not None
        try:
            self._registration.start()
        except Exception as error:
            self._failure = error
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            then()

    def raise_failure(self) -> None:
        """Raise why it could not be registered, if that was so."""
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """Tell that new calls are not taken any more."""
        if self._registration is not None:
            self._registration.update(replace(self._registration.instance, draining=True))

    def leave(self) -> None:
        """Take it out of the gateway; a second at most."""
        if self._registration is not None:
            self._registration.close()


def adopt(handover: Handover) -> None:
    """Use the gateway of `handover` in this process: what its module calls finds services there."""
    if handover.gateway:
        from modcore.gateway import configure
        from modcore.gateway.secret import use_cluster_key

        configure(gateway=handover.gateway)
        use_cluster_key(handover.gateway, handover.cluster_key)


def _registration(handover: Handover, instance: Instance) -> Registration:
    # Here, so that a service without a gateway does not wait for what it does not need.
    from modcore.gateway import ClusterKey, Registration, connect
    from modcore.gateway.instance import verify_service_name

    verify_service_name(instance.service)
    key = ClusterKey(handover.cluster_key)
    if handover.token != key.token:
        raise ServiceError("the token that was handed over is not the cluster's; it has to be.")
    return Registration(connect(handover.gateway), instance, key)
