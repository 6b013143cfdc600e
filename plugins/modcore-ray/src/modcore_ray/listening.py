"""Where a service on a node listens: on the node's own address where the cluster's services may, else on loopback."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from modcore.errors import ServiceError
from modcore.gateway.networks import LOOPBACK, NETWORKS, AllowedNetworks
from modcore.plugins import ServiceSpec


def on_reachable_address(spec: ServiceSpec, node: str) -> ServiceSpec:
    """`spec` for a node with the address `node`: it listens there if ``MODCORE_ALLOWED_NETWORKS`` has it."""
    if is_loopback(node) or not _allows(spec.environment, node):
        return spec
    return replace(spec, command=(*spec.command, "--host", node))


def verify_reachable(name: str, url: str, node: str, here: str) -> None:
    """Raise ServiceError for a service on another node than `here` that listens on that node's loopback."""
    if node != here and is_loopback(urlsplit(url).hostname or ""):
        raise ServiceError(
            f"service {name} runs on the node {node}, where only that machine reaches it: set {NETWORKS} to "
            f"the network of Ray's nodes, such as {_network_of(node)}, here and for whoever calls it."
        )


def is_loopback(host: str) -> bool:
    """Whether `host` is an address that only its own machine reaches."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _network_of(node: str) -> str:
    address = ipaddress.ip_address(node)
    return str(ipaddress.ip_network(f"{node}/{24 if address.version == 4 else 64}", strict=False))


def _allows(environment: Mapping[str, str], node: str) -> bool:
    networks = AllowedNetworks(environment.get(NETWORKS) or LOOPBACK)
    return networks.allows(f"http://[{node}]" if ":" in node else f"http://{node}")
