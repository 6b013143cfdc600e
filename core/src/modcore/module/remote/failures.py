"""What becomes of a call that a service does not answer."""

from __future__ import annotations

from typing import Literal

from modcore.errors import ServiceError
from modcore.gateway.call_failure import CallFailure

State = Literal["refused", "busy", "draining"]


class NotBegun(ServiceError):
    """The call has not begun over there, so any other instance may be asked, whatever the module does.

    ``retry_after`` is in seconds, None where the service said nothing.
    """

    def __init__(self, message: str, state: State, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.state, self.retry_after = state, retry_after

    @property
    def failure(self) -> CallFailure:
        """What that means for making the call elsewhere."""
        return CallFailure.REFUSED if self.state == "refused" else CallFailure.BUSY

    def __reduce__(self) -> tuple[type[NotBegun], tuple[str, State, float | None]]:
        return NotBegun, (str(self), self.state, self.retry_after)


class Died(ServiceError):
    """The connection ended after the call was sent; ``answered``: whether a byte of an answer had come."""

    def __init__(self, message: str, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered

    @property
    def failure(self) -> CallFailure:
        """What that means for making the call elsewhere."""
        return CallFailure.CUT_OFF if self.answered else CallFailure.DIED

    def __reduce__(self) -> tuple[type[Died], tuple[str, bool]]:
        return Died, (str(self), self.answered)


class DeadlineExceeded(ServiceError, TimeoutError):
    """There was no answer within the time that the call had."""


def told(seconds: float) -> str:
    """A time limit as a person set it: what is left of a call is some microseconds less."""
    return f"{round(seconds, 2) or seconds:g} s"
