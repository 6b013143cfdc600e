"""Compiling a suspicious grammar in a process of its own first, which can be stopped.

llguidance bounds its work, except where several expressions hold for one value: two patterns in an
``allOf`` multiply their automata, and so does a ``multipleOf``. That can take hours in a thread that nothing ends.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

MAX_STATES = 20_000  # of the lexer; some 2 kB each
MAX_SECONDS = 2.0

_EXPRESSION = re.compile(r'"(?:pattern|format|multipleOf)"\s*:')
_COMBINED = re.compile(r'"(?:allOf|anyOf|oneOf|\$ref|patternProperties|multipleOf)"\s*:')


def needs_trial(schema: str) -> bool:
    """Whether compiling the JSON text of `schema` may take more than the compiler's own bounds allow."""
    if '"multipleOf"' in schema:
        return True
    return len(_EXPRESSION.findall(schema)) > 1 and _COMBINED.search(schema) is not None


def try_grammar(grammar: str, name: str) -> None:
    """Compile `grammar`, that of the parameter `name`, in a child process.

    Raises InvalidRequest when that takes longer than MAX_SECONDS; whether it compiles is left to the caller.
    """
    import llguidance

    from modcore.errors import InvalidRequest

    packages = str(Path(llguidance.__file__).parents[1])
    try:
        subprocess.run(
            [sys.executable, "-S", "-P", __file__, packages],  # without `site`: twice as quick
            input=grammar.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=MAX_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InvalidRequest(
            f"{name} takes more than {MAX_SECONDS:g} seconds to compile: several patterns, or a large "
            "multipleOf, hold for the same value. Leave some of them out.",
            param=name,
        ) from None


def _main() -> None:
    """The child: nothing of modcore is imported, and it ends even if the parent has gone."""
    sys.path.append(sys.argv[1])
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

    try:
        import resource
    except ModuleNotFoundError:  # not a Unix
        pass
    else:
        seconds = int(MAX_SECONDS) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    limits = LLParserLimits(max_lexer_states=MAX_STATES, verbose_errors=False)
    LLMatcher(LLTokenizer("byte"), sys.stdin.read(), log_level=0, limits=limits)


if __name__ == "__main__":
    _main()
