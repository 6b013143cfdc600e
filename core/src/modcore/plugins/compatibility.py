"""Does a plugin's ``Requires-Dist`` fit the installed core? Decided without importing either.

PEP 440 is packaging's business. Its import costs more than a whole Python start, though, and the
bounds that plugins write are plain releases (``>=0.1,<0.2``), which compare as tuples of numbers.
"""

from __future__ import annotations

import operator
import re

from modcore._version import VERSION
from modcore.plugins.discovery import InstalledDist

CORE = "modcore"

_PLAIN_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)\s*([0-9]+(?:\.[0-9]+)*)")
_COMPARE = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def incompatibility(dist: InstalledDist) -> str | None:
    """Why the plugin's ``Requires-Dist`` does not fit this core, or None when it does."""
    for text in dist.core_requirements:
        if _names_core(text) and not satisfied(text, VERSION):
            wanted = text.partition(";")[0].strip()
            return (
                f"{dist.name} {dist.version} needs {wanted}, but modcore {VERSION} is installed; "
                f"try: pip install --upgrade modcore {dist.name}"
            )
    return None


def _names_core(requirement: str) -> bool:
    rest = requirement[len(CORE) :]  # "modcore" opens the line: see discovery
    return not rest or not (rest[0].isalnum() or rest[0] in "-_.")


def satisfied(requirement: str, version: str) -> bool:
    """Whether `version` of the core meets a ``Requires-Dist`` line that names it.

    A line whose marker does not hold here, or that names a URL, asks for no version.
    """
    specifiers = requirement[len(CORE) :].rpartition("]")[2].strip(" ()")
    if not specifiers:
        return True
    plain = _plainly_satisfied(specifiers, version)
    return _satisfied_by_pep440(requirement, version) if plain is None else plain


def _plainly_satisfied(specifiers: str, version: str) -> bool | None:
    """The answer where only plain releases are compared, None where there is more to it."""
    installed = _PLAIN_CLAUSE.fullmatch(f"=={version}")
    matches = [_PLAIN_CLAUSE.fullmatch(clause.strip()) for clause in specifiers.split(",")]
    clauses = [match.groups() for match in matches if match]
    if installed is None or len(clauses) < len(matches):
        return None
    return all(_COMPARE[sign](_release(installed[2]), _release(bound)) for sign, bound in clauses)


def _release(text: str) -> list[int]:
    numbers = [int(number) for number in text.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:  # 1.0 is 1
        numbers.pop()
    return numbers


def _satisfied_by_pep440(requirement: str, version: str) -> bool:
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(requirement)
        if parsed.marker is not None and not parsed.marker.evaluate({"extra": ""}):
            return True
    except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName):
        return False
    return parsed.specifier.contains(version, prereleases=True)
