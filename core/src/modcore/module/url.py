"""UrlModule: a module that runs elsewhere already."""

from __future__ import annotations

from typing import Any

from modcore.flow.tree import make_repr
from modcore.module.base import ModuleBase
from modcore.module.remote import RemoteModule


class UrlModule(ModuleBase):
    """A module service at `url`, called like the module that it serves.

    With `stream`, a call returns the pieces as they are made. `token` is the service's, `timeout` in
    seconds; without one a call waits as long as it takes.
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
        self._remote = RemoteModule(url, token, timeout)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The remote call."""
        return (self._remote.stream if self.stream else self._remote.call)(args, kwargs)

    def __repr__(self) -> str:
        return make_repr(
            "Module", "Url", name=self.name, attrs={"url": self.url, "stream": self.stream}
        )
