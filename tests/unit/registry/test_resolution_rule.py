"""The rule of resolution, on trees that nobody thought of."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modcore.registry import Registry

SCOPES = st.sampled_from("abc")
#: Names, some of which read as a scope and a name.
NAMES = st.sampled_from(["x", "y", "a.x", "b.y", "a.b.x"])


@st.composite
def trees(draw: st.DrawFn) -> list[Registry]:
    """The registries of a random tree in which random names are registered."""
    nodes = [Registry("r", scope=draw(SCOPES))]
    for parent, scope in draw(st.lists(st.tuples(st.integers(0, 9), SCOPES), max_size=7)):
        above = nodes[parent % len(nodes)]
        if scope not in above.children:
            nodes.append(Registry("r", parent=above, scope=scope))
    for number, name in draw(st.lists(st.tuples(st.integers(0, 9), NAMES), max_size=10)):
        nodes[number % len(nodes)].register_module(name, force=True, module=make(number, name))
    return nodes


def make(number: int, name: str) -> Any:
    return lambda: (number, name)


@given(trees(), st.lists(SCOPES, min_size=1, max_size=3), NAMES)
def test_a_scoped_key_has_the_same_answer_from_every_node(
    nodes: list[Registry], scopes: list[str], name: str
) -> None:
    target = nodes[0].node_of(".".join(scopes))
    if target is None or not any(name in above.claims for above in target.line()):
        return
    key = ".".join([*scopes, name])
    assert len({node.get(key) for node in nodes} - {None}) == 1
    assert all(key in node for node in nodes)


@given(trees(), NAMES)
def test_what_a_node_finds_is_found_from_everywhere_by_the_address_of_that_node(
    nodes: list[Registry], name: str
) -> None:
    for node in nodes:
        assert all(other.node_of(node.address) is node for other in nodes)
        if "." not in name and (found := node.get(name)) is not None:
            assert all(other.get(f"{node.address}.{name}") is found for other in nodes)


@given(trees(), NAMES)
def test_a_name_without_a_dot_is_the_nearest_one_upwards(nodes: list[Registry], name: str) -> None:
    if "." in name:
        return
    for node in nodes:
        upwards = [each.module_dict[name] for each in node.line() if name in each.module_dict]
        assert node.get(name) is (upwards[0] if upwards else None)


@given(trees(), st.text(alphabet="abxy.", max_size=6))
def test_get_in_build_and_explain_agree(nodes: list[Registry], key: str) -> None:
    for node in nodes:
        found = node.get(key)
        assert (key in node) == (found is not None)
        assert node.explain(key)[-1].endswith(")") == (found is not None)
        if found is not None:
            assert node.build({"type": key}) == found()


CHANGES = st.lists(
    st.tuples(st.integers(0, 9), NAMES, st.sampled_from(["register", "force", "drop", "child"]))
)


@given(trees(), CHANGES, st.booleans())
def test_overlay_restores_everything(
    nodes: list[Registry], changes: list[tuple[int, str, str]], fails: bool
) -> None:
    before = picture(nodes)
    try:
        with nodes[0].overlay():
            for number, name, change in changes:
                apply(change, nodes[number % len(nodes)], name)
            assert changes or picture(nodes) == before
            assert not fails
    except AssertionError:
        assert fails
    assert picture(nodes) == before


def apply(change: str, node: Registry, name: str) -> None:
    if change == "drop" and name in node.claims:
        node.unregister(name)
    elif change == "child" and "new" not in node.children:
        Registry("r", parent=node, scope="new").register_module(name, module=make(0, name))
    elif change in ("register", "force"):
        node.register_module(name, force=change == "force", module=make(0, name))


def picture(nodes: list[Registry]) -> list[Any]:
    """All that can be seen of the tree, and what each node makes of some keys."""
    keys = ["x", "y", "a.x", "a.b.x", "new.x"]
    return [
        (dict(node.claims), dict(node.children), [node.explain(key) for key in keys])
        for node in nodes
    ]
