"""What a child of ours inherits: our plugins and what can be imported here, and none of our secrets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from modcore.plugins.verdicts import ALLOW, list_plugins

#: What a child does not inherit: keys, and a URL that may hold a password. They go over a private pipe.
PRIVATE = frozenset({"MODCORE_API_KEY", "MODCORE_CLUSTER_KEY", "MODCORE_GATEWAY"})

#: Where a child's output is kept, so that it can tell whoever asks over HTTP.
LOG_FILE = "MODCORE_LOG_FILE"

#: The id of an instance in a gateway: the same one after a restart.
INSTANCE = "MODCORE_INSTANCE"

#: What belongs to one process, and is no business of what it starts.
_OWN = frozenset({LOG_FILE, INSTANCE})


def child_environment(added: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of ours, with `added`."""
    inherited = {
        key: value for key, value in os.environ.items() if key not in PRIVATE and key not in _OWN
    }
    return {**inherited, **_ours(), **added}


def _ours() -> dict[str, str]:
    plugins = {entry.dist for entry in list_plugins() if entry.status in ("ok", "duplicate")}
    return {
        ALLOW: ",".join(sorted(plugins)),
        # What can be imported here can be imported there.
        "PYTHONPATH": os.pathsep.join(place or str(Path.cwd()) for place in sys.path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }
