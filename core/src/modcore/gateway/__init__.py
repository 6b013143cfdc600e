"""Services that find each other: a registry of instances, and which of them a call goes to.

Knows nothing of what a service does or how it is started. A gateway stores signed documents with a
time to live (`base`); the serving side keeps one alive there (`registration`), the calling side reads a
snapshot in memory and chooses from it (`directory`, `balancer`): no call waits for a store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modcore.gateway.connect import connect  # now: later, the name would be its module's
from modcore.lazy import lazy

if TYPE_CHECKING:
    from modcore.gateway.balancer import Balancer, Lease, NoInstance
    from modcore.gateway.base import Entry, Gateway, GatewayError, GatewayUnavailable
    from modcore.gateway.cluster_key import ClusterKey
    from modcore.gateway.directory import Directory, shared_directory
    from modcore.gateway.instance import Instance
    from modcore.gateway.registration import Registration
    from modcore.gateway.settings import configure, gateway_url

_HOMES = {
    "Balancer": "balancer",
    "ClusterKey": "cluster_key",
    "Directory": "directory",
    "Entry": "base",
    "Gateway": "base",
    "GatewayError": "base",
    "GatewayUnavailable": "base",
    "Instance": "instance",
    "Lease": "balancer",
    "NoInstance": "balancer",
    "Registration": "registration",
    "configure": "settings",
    "gateway_url": "settings",
    "shared_directory": "directory",
}

__all__ = [
    "Balancer",
    "ClusterKey",
    "Directory",
    "Entry",
    "Gateway",
    "GatewayError",
    "GatewayUnavailable",
    "Instance",
    "Lease",
    "NoInstance",
    "Registration",
    "configure",
    "connect",
    "gateway_url",
    "shared_directory",
]

__getattr__ = lazy(__name__, _HOMES)
