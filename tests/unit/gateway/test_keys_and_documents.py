"""The cluster's key, what it signs, and what of a store is believed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modcore.gateway.secret
from gateways import KEY, OTHER_KEY, instance
from modcore.gateway.base import Entry, GatewayError
from modcore.gateway.cluster_key import ClusterKey
from modcore.gateway.instance import BadDocument, read_entry
from modcore.gateway.networks import AllowedNetworks
from modcore.gateway.reading import EntryReader
from modcore.gateway.secret import cluster_key, use_cluster_key

SECRET = "of sixteen or more"


# Where the key comes from


def test_the_key_when_in_the_environment_is_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODCORE_CLUSTER_KEY", SECRET)
    assert cluster_key("redis://h").secret == SECRET
    assert cluster_key("memory://").secret == SECRET


def test_the_key_that_a_process_was_handed_is_the_one_it_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(modcore.gateway.secret, "_handed_over", {})
    monkeypatch.setenv("MODCORE_CLUSTER_KEY", SECRET)
    use_cluster_key("redis://h", KEY.secret)
    assert cluster_key("redis://h").secret == KEY.secret
    assert cluster_key("redis://other").secret == SECRET


@pytest.mark.parametrize("secret", ["", "short", "of sixteen or mor\udcff"])
def test_a_key_that_protects_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("MODCORE_CLUSTER_KEY", secret)
    with pytest.raises(GatewayError, match="The cluster key"):
        cluster_key("memory://")


def keyed(monkeypatch: pytest.MonkeyPatch, path: Path, mode: int) -> Path:
    path.write_text(f"{SECRET}\n")
    path.chmod(mode)
    monkeypatch.setenv("MODCORE_CLUSTER_KEY_FILE", str(path))
    return path


def test_the_key_when_in_a_file_is_its_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keyed(monkeypatch, tmp_path / "key", 0o600)
    assert cluster_key("redis://h").secret == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_file_that_others_can_open_is_refused_without_its_content(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int
) -> None:
    path = keyed(monkeypatch, tmp_path / "key", mode)
    with pytest.raises(GatewayError) as caught:
        cluster_key("redis://h")
    assert f"(mode {mode:o})" in str(caught.value) and f"chmod 600 {path}" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 20, b"x" * 5000])
def test_a_key_file_that_holds_no_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    path = keyed(monkeypatch, tmp_path / "key", 0o600)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(GatewayError, match="cluster"):
        cluster_key("redis://h")


def test_a_key_file_that_is_a_directory_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODCORE_CLUSTER_KEY_FILE", str(tmp_path))
    with pytest.raises(GatewayError, match="cannot be read from"):
        cluster_key("redis://h")


def test_sqlite_when_no_key_is_given_makes_one_and_keeps_it(state: Path) -> None:
    first = cluster_key("sqlite:///x.db")
    assert cluster_key("sqlite:////other.db").secret == first.secret
    assert (state / "cluster.key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_another_process_makes_meanwhile_is_the_one(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_is_quicker(_: int) -> str:
        (state / "cluster.key").write_text(SECRET)
        (state / "cluster.key").chmod(0o600)
        return "too late, this one is"

    monkeypatch.setattr(modcore.gateway.secret.secrets, "token_urlsafe", another_is_quicker)
    assert cluster_key("sqlite:///x.db").secret == SECRET
    assert [file.name for file in state.iterdir()] == ["cluster.key"]


def test_memory_when_no_key_is_given_has_one_of_the_process(state: Path) -> None:
    assert cluster_key("memory://").secret == cluster_key("memory://x").secret
    assert not state.exists()


def test_scheme_that_nobody_brings_is_refused_before_a_key_is_asked_for() -> None:
    with pytest.raises(GatewayError, match=r"gateway sqllite://; did you mean sqlite://\?"):
        cluster_key("sqllite:///services.db")


def test_other_gateways_without_a_key_are_refused_with_what_to_do() -> None:
    with pytest.raises(GatewayError) as caught:
        cluster_key("redis://u:hush@h:1/0")
    message = str(caught.value)
    assert "meet at redis://h:1/0 need a key in common" in message
    assert "MODCORE_CLUSTER_KEY" in message and "hush" not in message


def test_a_key_shows_nothing_of_itself() -> None:
    assert repr(KEY) == "ClusterKey(…)"
    assert KEY.secret not in KEY.token and len({KEY.token, OTHER_KEY.token, KEY.sign("")}) == 3


# Documents


def test_a_document_when_read_back_is_the_instance() -> None:
    full = instance(models=("a", "b"), capacity=3, draining=True, url="http://[::1]:80/base")
    assert read_entry(full.entry(KEY), KEY) == full


def signed(content: str, entry: Entry | None = None) -> Entry:
    """`content`, rightly signed, in the place of `instance()`."""
    document = json.dumps({"content": content, "signature": KEY.sign(content)})
    return replace(entry or instance().entry(KEY), document=document)


def changed(**values: Any) -> Entry:
    """The entry of an instance, rightly signed, with other `values` in it."""
    entry = instance().entry(KEY)
    content = json.loads(json.loads(entry.document)["content"])
    return signed(json.dumps({**content, **values}), entry)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (instance().entry(OTHER_KEY), "signature"),
        (replace(instance().entry(KEY), epoch="another"), "place"),
        (replace(instance().entry(KEY), service="another"), "place"),
        (replace(instance().entry(KEY), document="x" * 20_000), "size"),
        (replace(instance().entry(KEY), document="[" * 16_000), "shape"),
        (replace(instance().entry(KEY), document="null"), "shape"),
        (replace(instance().entry(KEY), document='{"content": 1, "signature": "x"}'), "shape"),
        (
            replace(
                instance().entry(KEY), document='{"content": "\\ud800", "signature": "\\udfff"}'
            ),
            "signature",
        ),
        (signed("[]"), "shape"),
        (signed("{}"), "shape"),
        (changed(v=2), "shape"),
        (changed(v="x" * 15_000), "shape"),
        (changed(capacity=True), "shape"),
        (changed(capacity=10**9), "shape"),
        (changed(started_at=math.nan), "shape"),
        (changed(models=["x", 1]), "shape"),
        (changed(url="file:///etc/passwd"), "shape"),
        (changed(url="http://127.0.0.1:0"), "shape"),
        (changed(url="http://127.0.0.1:99999"), "shape"),
        (changed(url="http://user@127.0.0.1:80"), "shape"),
        (changed(url="http://127.0.0.1\\@evil:80"), "shape"),
        (changed(url="http://127.0.0.1:80/?q"), "shape"),
        (changed(url="http://127.0.0.1:80/\r\nx: y"), "shape"),
        (changed(url="http://127.0.0.1:80\n"), "shape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_document_that_is_not_right_is_refused_with_a_bounded_sentence(
    entry: Entry, reason: str
) -> None:
    with pytest.raises(BadDocument) as caught:
        read_entry(entry, KEY)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 200


@given(document=st.text() | st.builds(json.dumps, st.recursive(st.text(), st.lists, max_leaves=5)))
def test_any_text_in_a_store_is_refused_and_nothing_else_happens(document: str) -> None:
    with pytest.raises(BadDocument):
        read_entry(Entry(service="echo", id="i1", epoch="e", document=document), KEY)


# Networks


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.8.9.10:1", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://[::ffff:127.0.0.1]:1", True),
        ("http://10.0.0.1:1", False),
        ("http://169.254.169.254/latest", False),
        ("http://0x7f.1:1", False),
        ("http://2130706433:1", False),
        ("http://127.1:1", False),
        ("http://localhost.evil:1", False),
        ("http://[::ffff:10.0.0.1]:1", False),
        ("http://0.0.0.0:1", False),
    ],
)
def test_loopback_and_nothing_else_is_allowed_unless_somebody_says_so(
    url: str, allowed: bool
) -> None:
    assert AllowedNetworks.from_environment().allows(url) is allowed


def test_networks_that_are_named_are_allowed_in_the_place_of_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODCORE_ALLOWED_NETWORKS", "10.0.0.0/8, 192.168.1.7 ,fd00::/8")
    networks = AllowedNetworks.from_environment()
    for host in ("10.255.0.1", "192.168.1.7", "[fd00::1]"):
        assert networks.allows(f"http://{host}:1")
    for host in ("127.0.0.1", "192.168.1.8", "[::1]", "11.0.0.1"):
        assert not networks.allows(f"http://{host}:1")


@pytest.mark.parametrize("text", ["10.0.0.1/8", "example.org", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MODCORE_ALLOWED_NETWORKS", text)
    with pytest.raises(GatewayError, match=f"MODCORE_ALLOWED_NETWORKS names '{text}'"):
        AllowedNetworks.from_environment()


# Reading what a store holds


def test_what_is_refused_is_counted_once_by_its_reason_and_the_rest_is_read() -> None:
    good = instance(number=1)
    store = [
        good.entry(KEY),
        instance(number=2).entry(OTHER_KEY),
        instance(number=3, url="http://10.0.0.1:80").entry(KEY),
        replace(instance(number=4).entry(KEY), document="{"),
    ]
    reader = EntryReader(KEY)
    first = reader.read(store)
    again = reader.read(store)

    assert [known.instance for known in first.values()] == [good]
    assert again["i1"].instance is first["i1"].instance
    assert reader.refusals == {"signature": 1, "network": 1, "shape": 1}


def test_fields_that_a_later_version_adds_are_left_out() -> None:
    assert read_entry(changed(colour="blue"), KEY).service == "echo"


def test_two_keys_of_one_secret_are_one() -> None:
    assert ClusterKey(KEY.secret).verify("x", KEY.sign("x"))
    assert not OTHER_KEY.verify("x", KEY.sign("x"))
