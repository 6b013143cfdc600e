"""The errors a person can act on.

Each message is a sentence that names what was wrong, with which value, from which file, option or
package, and what to do. Programming errors stay the built-in exceptions they are.
"""


def named_kind(kind: type) -> str:
    """A class as a sentence names it: ``an int``, ``a str``."""
    name = kind.__qualname__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


class ModcoreError(Exception):
    """The root of modcore's own errors. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class InvalidRequest(ModcoreError, ValueError):
    """A value that a caller gave for an option is wrong.

    ``param`` is the option's Python name (``max_tokens``): the command line shows it as
    ``--max-tokens``, HTTP answers 400 with it as OpenAI's ``param``.
    """

    exit_code = 2

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class CheckpointError(ModcoreError):
    """A checkpoint directory, or a file or tensor in it, cannot be used as it is."""


class ModelNotServed(CheckpointError):
    """No installed plugin, or more than one, serves a checkpoint's architecture."""


class PluginError(ModcoreError):
    """A plugin is missing, blocked, incompatible, claimed twice or broken."""


class MissingExtra(ModcoreError):
    """A feature needs an optional dependency that is not installed."""


class ServiceError(ModcoreError):
    """A service could not be started, or did not answer."""


class StepFailed(ModcoreError):
    """A request ended because computing its next token failed; the cause is chained."""


class EngineBusy(ModcoreError):
    """Too many requests wait already."""


class EngineClosed(ModcoreError):
    """The engine takes no requests any more."""
