"""Where a service on a node listens: on the node's own address where the cluster's services may, else on loopback."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace

from modcore.gateway.networks import LOOPBACK, NETWORKS, AllowedNetworks
from modcore.plugins import ServiceSpec


def on_reachable_address(spec: ServiceSpec, node: str) -> ServiceSpec:
    """`spec` for a node with the address `node`: it listens there if ``MODCORE_ALLOWED_NETWORKS`` has it."""
    if is_loopback(node) or not _allows(spec.environment, node):
        return spec
    return replace(spec, command=(*spec.command, "--host", node))


def is_loopback(host: str) -> bool:
    """Whether `host` is an address that only its own machine reaches."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _allows(environment: Mapping[str, str], node: str) -> bool:
    networks = AllowedNetworks(environment.get(NETWORKS) or LOOPBACK)
    return networks.allows(f"http://[{node}]" if ":" in node else f"http://{node}")
