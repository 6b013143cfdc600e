"""How long a call waits, and for what: a place where all are full, or somebody to come back."""

from __future__ import annotations

import time

import pytest

from modcore.gateway.balancer import Balancer, NoInstance
from modcore.gateway.instance import Instance
from modcore.module import attempts as attempts_module
from modcore.module.attempts import Attempts
from modcore.module.remote import DeadlineExceeded, NotBegun

ONE = (Instance(service="s", url="http://127.0.0.1:1", id="a"),)


class Service:
    """Instances that come and go."""

    def __init__(self) -> None:
        self.instances = ONE
        self.is_hopeless = False

    def call(self, seconds: float | None = None) -> Attempts:
        return Attempts(
            Balancer(lambda: self.instances, "s"),
            seconds,
            idempotent=False,
            has_served=True,
            is_hopeless=lambda: self.is_hopeless,
        )


def turn_away(call: Attempts, state: str) -> None:
    """`call` is made at an instance, which is `state`."""
    call.instance()
    with call:
        raise NotBegun(f"it is {state}", state)  # type: ignore[arg-type]


def test_call_waiting_for_a_place_fails_at_once_when_the_service_has_ended_for_good() -> None:
    service = Service()
    call = service.call()
    turn_away(call, "busy")
    service.instances, service.is_hopeless = (), True
    started = time.monotonic()
    with pytest.raises(NoInstance, match="No instance of s is registered"):
        call.instance()
    assert time.monotonic() - started < 1


def test_time_waited_for_a_place_is_not_taken_from_the_wait_for_somebody_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts_module, "AGAIN_SECONDS", 0.4)
    monkeypatch.setattr(attempts_module, "_LONGEST_PAUSE", 0.02)
    service = Service()
    call = service.call()
    started = time.monotonic()
    while time.monotonic() - started < 0.5:
        turn_away(call, "busy")
    turn_away(call, "refused")
    turn_away(call, "refused")  # tried again, as somebody may be back
    with pytest.raises(NotBegun, match="it is refused"):
        while True:
            turn_away(call, "refused")
    assert 0.75 < time.monotonic() - started < 10


def test_whoever_waits_for_a_place_waits_no_longer_than_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts_module, "_PAUSE", 20.0)
    monkeypatch.setattr(attempts_module, "_LONGEST_PAUSE", 20.0)
    call = Service().call(0.3)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        while True:
            turn_away(call, "busy")
    assert 0.3 <= time.monotonic() - started < 5
