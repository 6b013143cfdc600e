"""The options of ``modcore deploy``, and the plan that they make."""

from __future__ import annotations

import argparse
import re
import secrets
from dataclasses import replace

from modcore.cli.api_key import add_api_key_options, api_key
from modcore.cli.entry_module import read_arguments
from modcore.cli.joining import add_gateway_option, shared_gateway
from modcore.deploy.entry_point import EntryPoint
from modcore.deploy.plan import DeploymentPlan, new_ids
from modcore.errors import InvalidRequest, ServiceError
from modcore.gateway.instance import verify_service_name
from modcore.plugins.records import Resources

MAX_REPLICAS = 256
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def add_deploy_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "entry",
        metavar="ENTRY",
        help="app.py:module or package.part:module: a Module, a flow, a callable, or a class",
    )
    parser.add_argument("--name", help="the service's name (default: from ENTRY)")
    parser.add_argument(
        "--args",
        metavar="JSON",
        help="what a class or function at ENTRY is called with to make the module: an object or a list; "
        "anyone on this machine can read a command line, so no secrets here",
    )
    add_gateway_option(parser, "where services find each other")
    add_api_key_options(parser)
    parser.add_argument(
        "--replicas", metavar="N", type=int, default=1, help="instances (default: 1)"
    )
    parser.add_argument(
        "--launcher", metavar="ID", default="local", help="who places them (default: local)"
    )
    parser.add_argument("--capacity", metavar="N", type=int, help="calls an instance takes at once")
    parser.add_argument(
        "--idempotent",
        action="store_true",
        help="a call may be made twice, so one whose instance dies is made again elsewhere",
    )
    parser.add_argument(
        "--restarts",
        metavar="N",
        type=int,
        default=5,
        help="how often in a row an instance that dies is started again (default: 5)",
    )
    parser.add_argument(
        "--ready-timeout",
        metavar="S",
        type=float,
        default=300.0,
        help="seconds that an instance may take to become ready (default: 300)",
    )
    parser.add_argument(
        "--cpus",
        metavar="N",
        type=float,
        default=1.0,
        help="cores for each instance, for launchers that place by resources, such as ray (default: 1)",
    )
    parser.add_argument(
        "--gpus",
        metavar="N",
        type=float,
        default=0.0,
        help="GPUs for each instance, likewise (default: 0)",
    )
    parser.add_argument(
        "--memory", metavar="SIZE", help="memory for each instance, likewise, such as 512M or 4G"
    )


def plan_of(args: argparse.Namespace) -> DeploymentPlan:
    """The plan; raises InvalidRequest, which names the option, for what cannot be."""
    entry = EntryPoint.parse(args.entry)
    entry.verify()
    read_arguments(args.args)
    _verify_numbers(args)
    plan = DeploymentPlan(
        name=_name(args.name, entry),
        entry=str(entry),
        token="",
        arguments=args.args,
        launcher=args.launcher,
        replicas=args.replicas,
        capacity=args.capacity,
        is_idempotent=args.idempotent,
        restarts=args.restarts,
        ready_timeout=args.ready_timeout,
        resources=Resources(cpus=args.cpus, gpus=args.gpus, memory=_memory(args.memory)),
        ids=new_ids(args.replicas),
    )
    return _with_secrets(plan, args)


def _with_secrets(plan: DeploymentPlan, args: argparse.Namespace) -> DeploymentPlan:
    own, gateway = api_key(args), shared_gateway(args)
    if gateway is None:
        return replace(plan, token=own or secrets.token_urlsafe(32))
    if args.api_key or args.api_key_file:
        raise InvalidRequest(
            "services that meet in a gateway answer to the cluster's token; a key of their own is the front "
            "door's: modcore gateway --api-key-file FILE.",
            param="api_key",
        )
    from modcore.gateway.connect import connect
    from modcore.gateway.secret import cluster_key

    connect(gateway).close()  # it may be one that nobody brings
    key = cluster_key(gateway)
    return replace(plan, token=key.token, gateway=gateway, cluster_key=key.secret)


def _name(given: str | None, entry: EntryPoint) -> str:
    try:
        return verify_service_name(entry.service_name if given is None else given)
    except ServiceError as error:
        raise InvalidRequest(str(error), param="name") from error


def _verify_numbers(args: argparse.Namespace) -> None:
    bounds = {
        "replicas": (1, MAX_REPLICAS),
        "capacity": (1, 1_000_000),
        "restarts": (0, 1_000_000),
        "ready_timeout": (0.001, 1e6),
        "cpus": (0, 1e6),
        "gpus": (0, 1e6),
    }
    for option, (least, most) in bounds.items():
        value = getattr(args, option)
        if value is not None and not least <= value <= most:
            raise InvalidRequest(f"{value} is not between {least:g} and {most:g}.", param=option)


def _memory(text: str | None) -> int | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,12})(?:([KMGT])i?)?B?", text)
    if not match or not int(match[1]):
        raise InvalidRequest(f"{text!r} is no size; write it as 512M or 4G.", param="memory")
    return int(match[1]) * _UNITS[match[2] or ""]
