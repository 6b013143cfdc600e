"""UrlModule: a module that runs elsewhere already."""

from __future__ import annotations

from typing import Any

from modcore.flow.tree import make_repr
from modcore.module.base import ModuleBase
from modcore.module.remote import RemoteModule
from modcore.module.time_left import within


class UrlModule(ModuleBase):
    """A module service at `url`, called like the module that it serves.

    With `stream`, a call returns the pieces as they are made, `acall` an async iterator of them. `token` is
    the service's, `timeout` in seconds; without one a call waits as long as it takes, or as the call to which it
    belongs may still take.
    """

    repr_type = "Url"

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        stream: bool = False,
        token: str | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(name=name)
        self.url, self.stream = url, stream
        self._timeout = timeout
        self._remote = RemoteModule(url, token)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The remote call."""
        call = self._remote.stream if self.stream else self._remote.call
        return call(args, kwargs, timeout=within(self._timeout))

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """As a call, for asyncio: no thread waits for the answer."""
        if self._extras is not None:
            return await super().acall(*args, **kwargs)
        seconds = within(self._timeout)
        if self.stream:
            return self._remote.astream(args, kwargs, timeout=seconds)
        return await self._remote.acall(args, kwargs, timeout=seconds)

    def __repr__(self) -> str:
        return make_repr(
            "Module", "Url", name=self.name, attrs={"url": self.url, "stream": self.stream}
        )
