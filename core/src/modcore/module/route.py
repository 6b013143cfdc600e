"""The way to a service: each call goes to one of its instances, by what each says elsewhere if need be."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from modcore.gateway.balancer import Balancer
from modcore.gateway.instance import Instance
from modcore.module.attempts import Attempts
from modcore.module.remote import RemoteModule
from modcore.module.time_left import within

_Args = tuple[Any, ...]
_Kwargs = dict[str, Any]


class Route:
    """Calls of `service`, whose instances `find` names and whose token is `token`.

    `seconds` is what a call may take, all of its pieces included; None is for ever. `is_hopeless` says that
    nobody will come (back), so that a call need not wait. See `attempts` for what is tried again.
    """

    def __init__(
        self,
        service: str,
        find: Callable[[], Sequence[Instance]],
        token: str,
        *,
        seconds: float | None = None,
        idempotent: bool = False,
        is_hopeless: Callable[[], bool] = lambda: False,
    ) -> None:
        self._token, self._seconds, self._idempotent = token, seconds, idempotent
        self._find, self._is_hopeless = find, is_hopeless
        self._balancer = Balancer(find, service)
        self._remotes: Mapping[str, RemoteModule] = {}

    def call(self, args: _Args, kwargs: _Kwargs) -> Any:
        """The result of one call."""
        attempts = self._attempts()
        while True:
            instance = attempts.instance()
            with attempts:
                return self._at(instance).call(args, kwargs, timeout=attempts.left)

    def stream(self, args: _Args, kwargs: _Kwargs) -> Iterator[Any]:
        """The pieces of one call as they are made; closing the iterator ends the call."""
        attempts = self._attempts()
        while True:
            instance = attempts.instance()
            with attempts:
                pieces = self._at(instance).stream(args, kwargs, timeout=attempts.left)
                with contextlib.closing(pieces):
                    for piece in pieces:
                        attempts.begun = True
                        yield piece
                return

    async def acall(self, args: _Args, kwargs: _Kwargs) -> Any:
        """As `call`, for asyncio."""
        attempts = self._attempts()
        while True:
            instance = await attempts.ainstance()
            with attempts:
                return await self._at(instance).acall(args, kwargs, timeout=attempts.left)

    async def astream(self, args: _Args, kwargs: _Kwargs) -> AsyncIterator[Any]:
        """As `stream`, for asyncio."""
        attempts = self._attempts()
        while True:
            instance = await attempts.ainstance()
            with attempts:
                pieces = self._at(instance).astream(args, kwargs, timeout=attempts.left)
                async with contextlib.aclosing(pieces):
                    async for piece in pieces:
                        attempts.begun = True
                        yield piece
                return

    def close(self) -> None:
        """Give back idle connections."""
        for remote in self._remotes.values():
            remote.close()

    def _attempts(self) -> Attempts:
        return Attempts(
            self._balancer,
            within(self._seconds),
            idempotent=self._idempotent,
            has_served=bool(self._remotes),
            is_hopeless=self._is_hopeless,
        )

    def _at(self, instance: Instance) -> RemoteModule:
        return self._remotes.get(instance.url) or self._new_remote(instance.url)

    def _new_remote(self, url: str) -> RemoteModule:
        """A client for `url`; those whose instances are gone give back their connections."""
        now = {instance.url for instance in self._find()} | {url}
        kept = {each: remote for each, remote in self._remotes.items() if each in now}
        gone = [remote for each, remote in self._remotes.items() if each not in now]
        remote = RemoteModule(url, self._token)
        self._remotes = {**kept, url: remote}
        for each in gone:
            each.close()
        return remote
