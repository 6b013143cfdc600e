"""Keeping an instance registered as long as its process lives, whatever becomes of the store."""

from __future__ import annotations

import logging
import random
import threading

from modcore.gateway.base import Entry, Gateway, GatewayError, GatewayUnavailable
from modcore.gateway.cluster_key import ClusterKey
from modcore.gateway.instance import BadDocument, Instance, read_entry
from modcore.gateway.settings import heartbeat
from modcore.gateway.settings import ttl as default_ttl

_log = logging.getLogger(__name__)

FIRST_PAUSE = 0.2  # seconds between two attempts at a store that does not answer, doubling
CLOSING = 1.0  # seconds that closing may take
_STARTING = 2.0  # seconds that the first attempt may take


class Registration:
    """`instance`, signed with `key`, in `gateway` until `close`; `ttl` in seconds.

    All traffic with the store is one thread's. It registers again when the store has forgotten, and tries
    on while it does not answer. A process that finds another of its id and a newer epoch steps back.
    In a forked child a registration does nothing: it is the parent's.
    """

    def __init__(
        self, gateway: Gateway, instance: Instance, key: ClusterKey, ttl: float | None = None
    ) -> None:
        self._gateway, self._key = gateway, key
        self._ttl = default_ttl() if ttl is None else ttl
        self._instance = instance
        self._entry = _checked(instance, key)
        self._stored: Entry | None = None  # the entry that the store has, as far as we know
        self._error: Exception | None = None
        self._superseded = False
        self._closing, self._wake, self._tried = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(
            target=self._run, name=f"registration of {instance.service}", daemon=True
        )

    @property
    def instance(self) -> Instance:
        """What is registered, or is to be."""
        return self._instance

    @property
    def is_registered(self) -> bool:
        """Whether the store had the instance, as it is now, when it last answered."""
        return self._stored is self._entry

    @property
    def is_superseded(self) -> bool:
        """Whether another process bears our id by now."""
        return self._superseded

    def start(self) -> None:
        """Register; when the store does not answer, go on trying in the background.

        Raises GatewayError when the gateway cannot be used as it is configured.
        """
        self._thread.start()
        self._tried.wait(_STARTING)
        error = self._error
        if isinstance(error, GatewayError) and not isinstance(error, GatewayUnavailable):
            self.close()
            raise error

    def update(self, instance: Instance) -> None:
        """Tell `instance` from now on (``draining=True``); returns before the store has it.

        Raises ValueError when it is not the same service, id and epoch.
        """
        mine = self._instance
        if (instance.service, instance.id, instance.epoch) != (mine.service, mine.id, mine.epoch):
            raise ValueError(f"{instance} is another instance than {mine}; register it instead.")
        self._instance, self._entry = instance, _checked(instance, self._key)
        self._wake.set()

    def close(self) -> None:
        """Deregister; waits a second at most, after which the entry expires by itself."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():  # not in a forked child: there it never ran
            self._thread.join(CLOSING)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set() and not self._superseded:
            # Cleared before the entry is read: an update that comes meanwhile is not missed.
            self._wake.clear()
            if self._attempt():
                pause, wait = FIRST_PAUSE, heartbeat(self._ttl)
            else:
                wait, pause = pause, min(2 * pause, heartbeat(self._ttl) / 2)
            self._tried.set()
            if not self._closing.is_set():
                self._wake.wait(wait * random.uniform(0.9, 1.0))  # noqa: S311
        self._leave()

    def _attempt(self) -> bool:
        """Whether the store has answered."""
        try:
            self._keep()
        except Exception as error:  # a gateway may be somebody else's, and this thread has to live
            self._note(error)
            return False
        self._note(None)
        return True

    def _keep(self) -> None:
        entry = self._entry
        if self._stored is entry and self._gateway.heartbeat(entry, self._ttl):
            return
        if self._stored is not None and self._is_replaced():
            self._superseded = True
            _log.warning("another process has taken over %s of %s", entry.id, entry.service)
            return
        self._gateway.register(entry, self._ttl)
        self._stored = entry

    def _is_replaced(self) -> bool:
        """Whether the store has our id with another epoch, rightly signed."""
        mine = self._entry
        for entry in self._gateway.resolve(mine.service):
            if entry.id == mine.id and entry.epoch != mine.epoch:
                try:
                    read_entry(entry, self._key)
                except BadDocument:
                    continue
                return True
        return False

    def _note(self, error: Exception | None) -> None:
        if error is not None and self._error is None:
            _log.warning("%s is not registered for now: %s", self._entry.service, error)
        elif error is None and self._error is not None:
            _log.warning("%s is registered again", self._entry.service)
        self._error = error

    def _leave(self) -> None:
        if self._stored is None:
            return
        try:
            self._gateway.deregister(self._entry)
        except Exception as error:
            _log.warning("%s could not be deregistered: %s", self._entry.service, error)
        self._stored = None


def _checked(instance: Instance, key: ClusterKey) -> Entry:
    """The entry of `instance`; raises GatewayError for one that nobody would accept."""
    entry = instance.entry(key)
    try:
        read_entry(entry, key)
    except BadDocument as error:
        raise GatewayError(
            f"The instance {instance.id} of {instance.service!r} cannot be registered: {error}."
        ) from error
    return entry
