"""The tree of a flow has the spacings of the Module seed, and a drawing that Mermaid can read."""

from __future__ import annotations

import functools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modcore.flow import _0, bind, graph, ifs, loop, make_repr, parallel, pipeline, switch, warp


class Named:
    """Stands for a Module: it has a tree of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, value: object) -> object:
        return value

    def __repr__(self) -> str:
        return make_repr("Module", "MyModule", name=self.name)


def load(value: object) -> object:
    return value


def test_empty_pipeline_is_one_line() -> None:
    assert repr(pipeline()) == "<Flow type=Pipeline items=[]>"


def test_module_line_has_type_and_name() -> None:
    assert make_repr("Module", "MyModule", name="m1") == "<Module type=MyModule name=m1>"
    assert make_repr("Module", Named) == "<Module type=Named>"


def test_attributes_follow_in_their_order_and_may_repeat_a_key() -> None:
    attrs = {"return_trace": False, "sub-category": "Flow", "type": "Pipeline", "items": []}
    assert make_repr("Module", "Action", attrs=attrs) == (
        "<Module type=Action return_trace=False sub-category=Flow type=Pipeline items=[]>"
    )


def test_children_are_drawn_as_in_the_seed() -> None:
    m1, m2, m3 = Named("m1"), Named("m2"), Named("m3")
    assert repr(pipeline(m1, parallel(m2, m3))) == (
        "<Flow type=Pipeline items=[]>\n"
        "|- <Module type=MyModule name=m1>\n"
        "└- <Flow type=Parallel items=[]>\n"
        "    |- <Module type=MyModule name=m2>\n"
        "    └- <Module type=MyModule name=m3>"
    )


def test_line_goes_on_beside_the_children_of_all_but_the_last() -> None:
    assert repr(pipeline(a=parallel(load, Named("m")), b=load)) == (
        "<Flow type=Pipeline items=['a', 'b']>\n"
        "|- <Flow type=Parallel items=[]>\n"
        "|   |- <Function type=load>\n"
        "|   └- <Module type=MyModule name=m>\n"
        "└- <Function type=load>"
    )


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (load, "<Function type=load>"),
        (lambda x: x, "<Function type=<lambda>>"),
        (len, "<Function type=len>"),
        ("".join, "<Function type=join>"),
        (int, "<Function type=int>"),
        (functools.partial(load), "<Function type=load>"),
        (bind(load, _0), "<Function type=load>"),
        (bind(Named("m"), _0), "<Module type=MyModule name=m>"),
    ],
)
def test_function_is_shown_by_its_name(item: object, line: str) -> None:
    assert repr(pipeline(item)).splitlines()[1] == f"└- {line}"


@pytest.mark.parametrize(
    ("flow", "head"),
    [
        (switch({load: load, "default": len}), "<Flow type=Switch items=['load', 'default']>"),
        (ifs(load, load, load), "<Flow type=IFS items=[]>"),
        (loop(load, count=2), "<Flow type=Loop items=[] count=2>"),
        (warp(load), "<Flow type=Warp items=[]>"),
        (graph(a=load), "<Flow type=Graph items=['a']>"),
    ],
)
def test_every_kind_has_its_type_in_the_tree(flow: object, head: str) -> None:
    assert repr(flow).splitlines()[0] == head


def test_class_that_somebody_derives_shows_its_own_name() -> None:
    class Retrieval(pipeline):
        pass

    assert repr(Retrieval()) == "<Flow type=Retrieval items=[]>"


def test_for_each_walks_depth_first_conditions_and_bound_functions_included() -> None:
    m = [Named(str(number)) for number in range(6)]
    inner = parallel(m[1], bind(m[2], _0))
    flow = pipeline(m[0], inner, switch({m[3]: m[4]}), warp(m[5]))
    modules: list[Named] = []
    flow.for_each(lambda each: isinstance(each, Named), modules.append)
    assert modules == m
    everything: list[object] = []
    flow.for_each(lambda _: True, everything.append)
    assert everything.index(inner) < everything.index(m[1])


def test_mermaid_draws_choices_and_circles() -> None:
    flow = pipeline(load, parallel(a=load, b=load), ifs(callable, load, len), loop(load, count=3))
    assert flow.to_mermaid() == "\n".join(
        [
            "flowchart TD",
            '    n0(["input"])',
            '    n1["load"]',
            '    n2["a"]',
            '    n3["b"]',
            '    n4{"callable"}',
            '    n5["load"]',
            '    n6["len"]',
            '    n7{{"loop 3 times"}}',
            '    n8["load"]',
            '    n9(["output"])',
            "    n0 --> n1",
            "    n1 --> n2",
            "    n1 --> n3",
            "    n2 --> n4",
            "    n3 --> n4",
            '    n4 -->|"yes"| n5',
            '    n4 -->|"no"| n6',
            "    n5 --> n7",
            "    n6 --> n7",
            "    n7 --> n8",
            '    n8 -->|"again"| n7',
            '    n7 -->|"done"| n9',
        ]
    )


def test_mermaid_draws_a_graph_and_a_switch() -> None:
    g = graph(a=load, b=switch({len: load, "default": load}))
    g.add_edge("__start__", "a")
    g.add_edge("a", "b", formatter=str)
    g.add_edge(["a", "b"], "__end__")
    lines = g.to_mermaid().splitlines()
    assert '    n1 -->|"str"| n2' in lines
    assert '    n2 -->|"len"| n3' in lines
    assert lines[-3:] == ["    n1 --> n5", "    n3 --> n5", "    n4 --> n5"]


@given(st.text(max_size=30))
def test_mermaid_line_is_valid_whatever_a_name_contains(name: str) -> None:
    def item(value: object) -> object:
        return value

    item.__name__ = name or "x"
    shape = r'    n\d+(\["[^"<>\[\]`\n]*"\]|\(\["(input|output)"\]\))'
    for line in pipeline(item).to_mermaid().split("\n")[1:4]:
        assert re.fullmatch(shape, line), line
