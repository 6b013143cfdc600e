"""Drawing a flow as a Mermaid flowchart.

Each kind of flow hangs itself on the open ends it is given and returns its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Nodes that wait for what comes next, each with the words for the edge that will leave it.
Ends = Sequence[tuple[str, str]]

# Mermaid's own way to write what it would take for HTML, Markdown or the end of a label.
_ESCAPES = str.maketrans(
    {**{c: f"#{ord(c)};" for c in '"#&<>`\\[]{}|'}, "\n": " ", "\r": " ", "\t": " "}
)


class Drawing:
    """The lines of one flowchart."""

    def __init__(self) -> None:
        self._nodes: list[str] = []
        self._edges: list[str] = []

    def node(self, text: str, left: str = "[", right: str = "]") -> str:
        """Draw a node between these brackets, which give its shape; its id."""
        name = f"n{len(self._nodes)}"
        self._nodes.append(f'    {name}{left}"{escaped(text)}"{right}')
        return name

    def edges(self, ends: Ends, target: str) -> None:
        """Draw an arrow from each of `ends` to the node `target`."""
        for source, words in ends:
            label = f'|"{escaped(words)}"|' if words else ""
            self._edges.append(f"    {source} -->{label} {target}")

    def connect(self, ends: Ends, text: str) -> None:
        """Draw the rounded node in which everything ends."""
        self.edges(ends, self.node(text, "([", "])"))

    def item(self, function: Any, text: str, ends: Ends) -> Ends:
        """Draw an item: a flow as what it consists of, anything else as one node."""
        from modcore.flow.calls import is_flow, unbound  # which draw with this

        function = unbound(function)
        if is_flow(function):
            drawn: Ends = function._draw(self, ends)
            return drawn
        node = self.node(text)
        self.edges(ends, node)
        return [(node, "")]

    def __str__(self) -> str:
        return "\n".join(["flowchart TD", *self._nodes, *self._edges])


def escaped(text: str) -> str:
    """`text` as it can stand between the quotes of a label."""
    return text.translate(_ESCAPES)
