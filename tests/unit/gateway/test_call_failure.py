"""Which calls may be made at another instance after one has not answered them."""

from __future__ import annotations

import pytest

from modcore.gateway.call_failure import CallFailure
from modcore.module.remote import Died, NotBegun


@pytest.mark.parametrize("failure", [CallFailure.REFUSED, CallFailure.BUSY])
@pytest.mark.parametrize("idempotent", [True, False])
def test_call_that_has_not_begun_may_always_be_made_elsewhere(
    failure: CallFailure, idempotent: bool
) -> None:
    assert failure.may_be_repeated(idempotent=idempotent)


def test_call_that_may_have_been_made_is_repeated_only_if_it_is_idempotent() -> None:
    assert CallFailure.DIED.may_be_repeated(idempotent=True)
    assert not CallFailure.DIED.may_be_repeated(idempotent=False)


@pytest.mark.parametrize("idempotent", [True, False])
def test_call_whose_answer_has_begun_is_never_repeated(idempotent: bool) -> None:
    assert not CallFailure.CUT_OFF.may_be_repeated(idempotent=idempotent)


def test_errors_of_a_client_say_which_failure_they_are() -> None:
    assert NotBegun("", "refused").failure is CallFailure.REFUSED
    assert NotBegun("", "busy").failure is CallFailure.BUSY
    assert NotBegun("", "draining").failure is CallFailure.BUSY
    assert Died("", answered=False).failure is CallFailure.DIED
    assert Died("", answered=True).failure is CallFailure.CUT_OFF
