"""Where a key is looked for, and what a miss says."""

from __future__ import annotations

import sys

import pytest

from modcore.registry import Registry, RegistryMiss


class Net: ...


class Head: ...


@pytest.fixture
def tree() -> dict[str, Registry]:
    """top (Net) above det (Head, heads below it) and cls, which has nothing."""
    top = Registry("model", scope="top")
    det = Registry("model", parent=top, scope="det")
    heads = Registry("model", parent=det, scope="heads")
    cls = Registry("model", parent=top, scope="cls")
    top.register_module(module=Net)
    det.register_module(module=Head)
    return {"top": top, "det": det, "heads": heads, "cls": cls}


@pytest.mark.parametrize(
    ("start", "key", "found"),
    [
        ("top", "Net", Net),
        ("cls", "Net", Net),  # from the parent
        ("heads", "Net", Net),  # from the parent's parent
        ("heads", "Head", Head),
        ("top", "Head", None),  # a parent does not look below
        ("cls", "Head", None),  # nor a child beside it
        ("top", "det.Head", Head),
        ("cls", "det.Head", Head),
        ("det", "det.Head", Head),
        ("heads", "top.det.Head", Head),
        ("top", "heads.Head", Head),  # scopes are known wherever they are
        ("top", "det.heads.Head", Head),
        ("top", "cls.Net", Net),  # and the rest is looked for as from there
        ("cls", "cls.Net", Net),
        ("top", "cls.Head", None),
        ("top", "nosuch.Net", None),
        ("top", "", None),
        ("top", ".Net", None),
        ("top", "det.", None),
    ],
)
def test_get(tree: dict[str, Registry], start: str, key: str, found: type | None) -> None:
    for _ in range(2):  # the second answer comes from the cache
        assert tree[start].get(key) is found
    assert (key in tree[start]) is (found is not None)


def test_get_when_the_key_is_no_string_is_a_type_error(tree: dict[str, Registry]) -> None:
    for key in (None, 3, [], Net):
        with pytest.raises(TypeError, match="it has to be a string"):
            tree["top"].get(key)  # type: ignore[arg-type]
        assert key not in tree["top"]


def test_the_tree_is_known_from_every_node(tree: dict[str, Registry]) -> None:
    assert tree["heads"].root is tree["top"]
    assert dict(tree["top"].children) == {"det": tree["det"], "cls": tree["cls"]}
    assert tree["heads"].parent is tree["det"]
    assert tree["heads"].name == "model"
    assert Registry.split_scope_key("det.heads.Head") == ("det", "heads.Head")
    assert Registry.split_scope_key("Head") == (None, "Head")


def test_a_scope_that_several_have_is_the_one_nearest_the_root_else_needs_a_path() -> None:
    top = Registry("model", scope="top")
    a, b = (Registry("model", parent=top, scope=scope) for scope in "ab")
    below = {scope: Registry("m", parent=node, scope="c") for scope, node in (("a", a), ("b", b))}
    for node in below.values():
        node.register_module(module=Net)

    assert a.get("c.Net") is b.get("c.Net") is None
    assert a.get("b.c.Net") is b.get("a.c.Net") is Net
    with pytest.raises(RegistryMiss, match=r"no scope 'c': the scopes are a, a\.c, b, b\.c, top\."):
        top.build({"type": "c.Net"})

    near = Registry("m", parent=top, scope="c")
    near.register_module(module=Head)
    assert below["b"].get("c.Head") is Head


@pytest.mark.parametrize("key", ["os.system", "os:system", "os.path.join", "os"])
def test_a_config_when_it_asks_for_what_is_not_registered_gets_nothing_imported(key: str) -> None:
    registry = Registry("model", scope="top")

    assert registry.get(key) is None
    with pytest.raises(RegistryMiss):
        registry.build({"type": key, "command": "true"})


def test_a_key_when_it_looks_like_a_package_imports_neither_it_nor_its_registry() -> None:
    registry = Registry("model", scope="top")
    sys.modules.pop("this", None)

    assert registry.get("this.registry") is None
    with pytest.raises(RegistryMiss) as caught:
        registry.build({"type": "this.Zen"})

    assert "this" not in sys.modules
    assert str(caught.value) == (
        "'this.Zen' is not registered in top::model. Registered are: none. "
        "There is no scope 'this': the scopes are top. "
        "Nothing is imported because a key names it: register it, or give the object as type."
    )


@pytest.mark.parametrize(
    ("start", "key", "message"),
    [
        ("top", "Nett", "'Nett' is not registered in top::model. Did you mean 'Net'?"),
        (
            "cls",
            "head",
            "'head' is not registered in cls::model or top::model. Did you mean 'det.Head'?",
        ),
        (
            "top",
            "det.Haed",
            "'det.Haed' is not registered in det::model or top::model. Did you mean 'det.Head'?",
        ),
        (
            "top",
            "zzzz",
            "'zzzz' is not registered in top::model. Registered are: Net, det.Head.",
        ),
    ],
)
def test_a_miss_names_what_is_near_and_what_was_searched(
    tree: dict[str, Registry], start: str, key: str, message: str
) -> None:
    with pytest.raises(KeyError) as caught:
        tree[start].build({"type": key})

    assert isinstance(caught.value, RegistryMiss)
    assert str(caught.value) == message


def test_a_miss_says_what_the_hint_knows(tree: dict[str, Registry]) -> None:
    tree["top"].hint = lambda key: f"Try: pip install modcore-{key.lower()}."

    with pytest.raises(RegistryMiss, match=r"Try: pip install modcore-bloom\.$"):
        tree["det"].build({"type": "Bloom"})


def test_explain_lists_the_steps(tree: dict[str, Registry]) -> None:
    home = f"{Net.__module__}.Net (from {Net.__module__})"
    assert tree["top"].explain("heads.Net") == [
        "'Net' in heads::model: not registered",
        "'Net' in det::model: not registered",
        f"'Net' in top::model: {home}",
    ]
    assert tree["cls"].explain("Head") == [
        "'Head' in cls::model: not registered",
        "'Head' in top::model: not registered",
        "'Head' is not registered in cls::model or top::model. Did you mean 'det.Head'?",
    ]


def test_a_long_key_is_cut_in_the_message(tree: dict[str, Registry]) -> None:
    with pytest.raises(RegistryMiss) as caught:
        tree["det"].build({"type": "x" * 100_000})
    assert len(str(caught.value)) < 1000
