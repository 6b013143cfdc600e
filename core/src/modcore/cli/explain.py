"""``modcore explain``: which plugin serves a checkpoint, and why."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from modcore.checkpoint import read_config
from modcore.cli.text import printable
from modcore.plugins.commands import Command
from modcore.plugins.manager import plugin_manager
from modcore.plugins.matching import Explanation, explain
from modcore.plugins.variants import GROUP_OF, variant_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a directory with config.json")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Explain; the exit code is 0 when one model is chosen, else 1."""
    explanation = explain(read_config(args.checkpoint), plugin_manager())
    if args.json:
        print(json.dumps(explanation.to_json(), indent=2))
    else:
        show(explanation)
    return 0 if explanation.chosen else 1


def show(explanation: Explanation) -> None:
    """Print the explanation for people."""
    for line in _lines(explanation):
        print(printable(line))


def _lines(explanation: Explanation) -> Iterator[str]:
    yield f"architectures: {', '.join(explanation.architectures) or '(none)'}"
    yield f"model_type: {explanation.model_type or '(none)'}"
    for match in explanation.matches:
        label = "match" if match == explanation.chosen else "candidate"
        yield f"{label}: {match.id} from {match.dist} {match.version} ({match.reason})"
    yield from _variant_lines(explanation)
    for line in explanation.rejected:
        yield f"no match: {line}"
    if explanation.hint:
        yield f"hint: {explanation.hint}"


def _variant_lines(explanation: Explanation) -> Iterator[str]:
    """One line for each variant of each package: the option that asks for it, and its parts."""
    for option, group in GROUP_OF.items():
        parts: dict[tuple[str, str], list[str]] = {}
        for entry in explanation.variants:
            if entry.group == group:
                parts.setdefault((variant_name(entry), entry.provenance), []).append(entry.id)
        for (name, provenance), ids in sorted(parts.items()):
            yield f"variant: --{option} {name} from {provenance} ({', '.join(sorted(ids))})"


COMMAND = Command("explain", "Say which plugin serves a checkpoint, and why.", add_arguments, run)
