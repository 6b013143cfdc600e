"""A pipe with bytes for one child: the parent's end, whose other end is `read_payload`."""

from __future__ import annotations

import contextlib
import os
import threading

from modcore.deploy.parent import PAYLOAD_PIPE


class Payload:
    """Use as a context around the start of the child; `send` once it is started."""

    def __init__(self, content: bytes | None) -> None:
        self._content = content
        self.descriptors: tuple[int, ...] = ()
        self.environment: dict[str, str] = {}
        self._writer = -1

    def __enter__(self) -> Payload:
        if self._content is not None:
            reader, self._writer = os.pipe()
            self.descriptors = (reader,)
            self.environment = {PAYLOAD_PIPE: str(reader)}
        return self

    def send(self) -> None:
        """Write beside whoever waits: a pipe holds less than a module may need."""
        if self._content is not None:
            threading.Thread(target=self._write, args=(self._writer,), daemon=True).start()
            self._writer = -1

    def _write(self, writer: int) -> None:
        # A child that ends before it has read says why on its stderr.
        with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "wb") as pipe:
            pipe.write(self._content or b"")

    def __exit__(self, *_: object) -> None:
        for descriptor in (*self.descriptors, self._writer):
            if descriptor >= 0:
                os.close(descriptor)
