"""``modcore serve-module``: what a launcher starts for a ServerModule; not for people.

The module comes over a private pipe from the process that started this one, and nowhere else: that
is the only place where something is unpickled.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from modcore.deploy.parent import read_payload
from modcore.errors import InvalidRequest, ServiceError
from modcore.plugins.commands import Command

if TYPE_CHECKING:
    from modcore.module import ModuleBase


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(args: argparse.Namespace) -> int:
    """Take the module from the pipe and serve it until SIGTERM or the parent's end."""
    del args  # there are none
    import cloudpickle

    from modcore.serve import server
    from modcore.serve.draining import run_service
    from modcore.serve.module_app import ModuleApp

    payload = read_payload()
    if payload is None:
        raise InvalidRequest("this command is for ServerModule.start(), which hands it a module.")
    token, _, pickled = payload.partition(b"\n")
    announce = _own_stdout()
    try:
        module = cloudpickle.loads(pickled)  # our own parent's bytes, over a pipe of our own
    except ImportError as error:
        raise ServiceError(
            f"the module's code cannot be imported in its process ({error}); put its file where Python "
            "finds it, or define it in the program that is started."
        ) from error
    try:
        _deploy(module)
    except Exception as error:
        raise ServiceError(
            f"the module could not be deployed in its process: {type(error).__name__}: {error}"
        ) from error
    listener = server.open_listener("127.0.0.1", 0)
    app = ModuleApp(module, token.decode())
    try:
        run_service(app, listener, lambda: announce(f"url: {server.url_of(listener)}"))
    finally:
        module.stop()
    return 0


def _deploy(module: ModuleBase) -> None:
    from modcore.module.submodules import deployed_here

    for _, each in deployed_here(module):
        if not each.deploys_elsewhere:
            each.setup()
    module.start()


def _own_stdout() -> Callable[[str], None]:
    """Keep stdout for what the launcher waits for; what the module prints goes to stderr."""
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return lambda line: print(line, file=own, flush=True)


COMMAND = Command("serve-module", "Serve a module from a launcher's pipe.", add_arguments, run)
