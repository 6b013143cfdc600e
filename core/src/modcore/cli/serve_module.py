"""``modcore serve-module``: what a launcher starts for a module; not for people.

Its secrets come over a private pipe from the process that started this one, and so does a module that
has no entry point: that is the only place where something is unpickled.
"""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from modcore.cli.joining import verify_allowed
from modcore.deploy.environment import INSTANCE
from modcore.deploy.handover import Handover
from modcore.deploy.parent import read_payload
from modcore.deploy.place import Place, adopt
from modcore.errors import InvalidRequest, ServiceError
from modcore.gateway.instance import DEFAULT_CAPACITY, Instance
from modcore.plugins.commands import Command

if TYPE_CHECKING:
    from modcore.module import ModuleBase
    from modcore.serve.module_app import ModuleApp


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--entry", metavar="E", help="app.py:module or package.part:module")
    parser.add_argument(
        "--args", metavar="JSON", help="what a class or function there is called with"
    )
    parser.add_argument("--name", default="", help="the service's name")
    parser.add_argument(
        "--capacity", metavar="N", type=int, default=DEFAULT_CAPACITY, help="calls taken at once"
    )
    parser.add_argument("--idempotent", action="store_true", help="a call may be made twice")
    parser.add_argument(
        "--host", default="127.0.0.1", help="an address that MODCORE_ALLOWED_NETWORKS has"
    )
    parser.add_argument("--launcher", default="local", help="the launcher's id, which is shown")


def run(args: argparse.Namespace) -> int:
    """Serve the module until SIGTERM or the parent's end."""
    from modcore.serve import server
    from modcore.serve.draining import LINGER_SECONDS, run_service
    from modcore.serve.module_app import ModuleApp

    handover = _handover()
    if args.host != "127.0.0.1":
        verify_allowed(args.host)
    announce = _own_stdout()
    adopt(handover)  # before the module loads, which may call others
    module = _module(args, handover)
    try:
        _deploy(module)
    except Exception as error:
        raise ServiceError(
            f"the module could not be deployed in its process: {type(error).__name__}: {error}"
        ) from error
    listener = server.open_listener(args.host, 0)
    url, instance = server.url_of(listener), os.environ.pop(INSTANCE, "") or secrets.token_hex(8)
    app = ModuleApp(
        module,
        handover.token,
        name=args.name,
        instance=instance,
        capacity=args.capacity,
        tells_tracebacks=args.entry is None,  # it runs for a handle
    )
    place = Place(handover, _instance(args, url, instance, app))

    def on_ready() -> None:
        place.register(then=lambda: announce(f"url: {url}"))

    linger = LINGER_SECONDS if handover.gateway else 0.0
    try:
        run_service(app, listener, on_ready, place.drain, linger=linger)
    finally:
        place.leave()
        module.stop()
    place.raise_failure()
    return 0


def _instance(args: argparse.Namespace, url: str, id: str, app: ModuleApp) -> Instance:
    return Instance(
        service=args.name,
        url=url,
        capacity=args.capacity,
        module=app.module_name,
        models=app.models,
        launcher=args.launcher,
        idempotent=args.idempotent,
        id=id,
    )


def _handover() -> Handover:
    payload = read_payload()
    if payload is None:
        raise InvalidRequest(
            "this command is for launchers, such as that of ServerModule.start(), which hand it a token "
            "and a module; to serve an entry point: modcore deploy app.py:module"
        )
    try:
        handover = Handover.from_bytes(payload)
    except ValueError as error:
        raise ServiceError(f"the launcher has handed over what nobody can read: {error}.") from None
    if not handover.token:
        raise ServiceError(
            "the launcher has handed over no token, so anyone could call; it has to."
        )
    return handover


def _module(args: argparse.Namespace, handover: Handover) -> ModuleBase:
    if args.entry is None:
        return _unpickled(handover.module)
    from modcore.cli.entry_module import entry_module, read_arguments
    from modcore.deploy.entry_point import EntryPoint

    module = entry_module(EntryPoint.parse(args.entry), read_arguments(args.args))
    module.name = module.name or args.name or None
    return module


def _unpickled(content: bytes) -> ModuleBase:
    import cloudpickle

    try:
        module: ModuleBase = cloudpickle.loads(
            content
        )  # our own parent's bytes, over a pipe of our own
    except ImportError as error:
        raise ServiceError(
            f"the module's code cannot be imported in its process ({error}); put its file where Python "
            "finds it, or define it in the program that is started."
        ) from error
    return module


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


COMMAND = Command("serve-module", "Serve a module for a launcher.", add_arguments, run)
