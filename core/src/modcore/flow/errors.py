"""What a flow says when it is put together wrongly, or cannot go on."""

from modcore.errors import ModcoreError


class FlowError(ModcoreError):
    """A flow cannot do what it was asked for."""


class InvalidFlow(FlowError, ValueError):
    """A flow is put together wrongly."""


class NotCallable(InvalidFlow, TypeError):
    """Something that cannot be called was given as an item, a condition or a formatter."""


class NoMatch(FlowError, LookupError):
    """No case of a switch is for its input."""


class NotRunning(FlowError, LookupError):
    """A reference was asked for a value that no running call has (yet)."""


class BarrierBroken(FlowError, RuntimeError):
    """Not every branch reaches the barrier that others wait at.

    ``because_of_failure``: another branch failed; its own error is what is worth reading.
    """

    def __init__(self, message: str, *, because_of_failure: bool = False) -> None:
        super().__init__(message)
        self.because_of_failure = because_of_failure
