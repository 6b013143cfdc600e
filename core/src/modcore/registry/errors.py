"""What a registry says when a name leads nowhere, or to two places."""

from modcore.errors import ModcoreError


class RegistryMiss(ModcoreError, KeyError):
    """A name that nothing is registered under; the message is the whole explanation."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would show the sentence in quotes


class RegistryConflict(RegistryMiss):
    """A name that two things are registered under; the message names both."""


class BrokenEntry(RegistryMiss):
    """A name whose ``module:attr`` cannot be imported; the cause is chained."""
