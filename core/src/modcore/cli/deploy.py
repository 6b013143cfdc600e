"""``modcore deploy``: a module of one's own as a service, in so many replicas."""

from __future__ import annotations

import argparse

from modcore.cli.deploy_options import add_deploy_options, plan_of
from modcore.plugins.commands import Command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_deploy_options(parser)
    parser.add_argument(
        "--detach",
        action="store_true",
        help="leave the service running in the background, and return once it is ready",
    )
    parser.add_argument(
        "--replace", action="store_true", help="end a service of this name first, if one runs"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each event")


def run(args: argparse.Namespace) -> int:
    """Deploy, and stay until all is ended, or with --detach until it is ready."""
    from modcore.cli.supervise import DRAIN_SECONDS, Report, supervise

    plan = plan_of(args)
    report = Report(plan.name, as_json=args.json)
    if args.replace:
        from modcore.deploy.stopping import stop_local

        stop_local(plan.name, DRAIN_SECONDS)
    if args.detach:
        from modcore.cli.detached import detach

        return detach(plan, report)
    return supervise(plan, report)


COMMAND = Command(
    "deploy", "Deploy a module, a flow or a callable as a service.", add_arguments, run
)
