"""Server-sent events on their way through the front door: whole ones, whatever pieces they come in."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from modcore.serve.front_door import events
from modcore.serve.front_door.events import WholeEvents


@given(st.lists(st.sampled_from(["a", "bc", "data: {}"]), max_size=8), st.data())
def test_events_in_any_pieces_come_out_whole_and_in_order(
    texts: list[str], data: st.DataObject
) -> None:
    sent = "".join(f"{text}\n\n" for text in texts).encode() + b"half"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=10)))
    places = [0, *cuts, len(sent)]
    through = WholeEvents()
    passed = b""
    for start, end in itertools.pairwise(places):
        passed += through.whole(sent[start:end])
        assert not passed or passed.endswith(b"\n\n")
    assert passed == sent.removesuffix(b"half")
    assert (through.rest, through.ending) == (b"half", b"")


def test_an_event_that_is_too_long_to_hold_passes_in_parts() -> None:
    through = WholeEvents()
    part = b"x" * (events.MAX_HELD + 1)
    assert through.whole(part) == part
    assert through.ending == b"\n\n"
    assert through.whole(b"y\n\nz") == b"y\n\n"
    assert (through.rest, through.ending) == (b"z", b"")
