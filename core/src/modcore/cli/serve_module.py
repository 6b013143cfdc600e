"""``modcore serve-module``: what a launcher starts for a ServerModule; not for people.

The module comes over a private pipe from the process that started this one, and nowhere else: that
is the only place where something is unpickled.
"""

from __future__ import annotations

import argparse
import os

from modcore.deploy.parent import read_payload
from modcore.errors import InvalidRequest
from modcore.plugins.commands import Command

TOKEN = "MODCORE_SERVICE_TOKEN"  # noqa: S105  the variable's name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(args: argparse.Namespace) -> int:
    """Take the module from the pipe and serve it until SIGTERM or the parent's end."""
    del args  # there are none
    import cloudpickle

    from modcore.serve import server
    from modcore.serve.module_app import create_module_app

    token = os.environ.pop(TOKEN, None)
    payload = read_payload()
    if payload is None or token is None:
        raise InvalidRequest("this command is for ServerModule.start(), which hands it a module.")
    module = cloudpickle.loads(payload)  # our own parent's bytes, over a pipe of our own
    module.for_each(lambda _: True, lambda each: each.setup())
    listener = server.open_listener("127.0.0.1", 0)
    app = create_module_app(module, token)
    server.run(
        app, listener, lambda: print(f"url: {server.url_of(listener)}", flush=True), lambda: None
    )
    return 0


COMMAND = Command("serve-module", "Serve a module from a launcher's pipe.", add_arguments, run)
