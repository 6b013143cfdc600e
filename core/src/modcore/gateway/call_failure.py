"""Why an instance has not answered a call, and whether the call may be made at another one then."""

from __future__ import annotations

import enum


class CallFailure(enum.Enum):
    """What became of a call that has come to nothing at an instance."""

    REFUSED = "refused"  # the instance took no connection
    BUSY = "busy"  # it said that it has no place, or is about to end, and has not begun the call
    DIED = "died"  # it went away before the first byte of an answer: it may have made the call
    CUT_OFF = "cut_off"  # it went away in the middle of its answer

    def may_be_repeated(self, *, idempotent: bool) -> bool:
        """Whether the call may be made elsewhere: nothing of it has begun, or making it twice does no harm.

        Never once an answer has begun, for its caller may have seen some of it.
        """
        if self is CallFailure.DIED:
            return idempotent
        return self is not CallFailure.CUT_OFF
