"""The `ray` launcher: services as detached, named actors of Ray."""

from __future__ import annotations

import os
from dataclasses import replace

from modcore.deploy.handover import Handover
from modcore.errors import ServiceError
from modcore.gateway.networks import NETWORKS
from modcore.plugins import ServiceSpec
from modcore_ray.connection import connection
from modcore_ray.listening import verify_reachable
from modcore_ray.placement import create_actor, node_of_this_process, wait_for_place
from modcore_ray.service import RayService


class RayLauncher:
    """Places services on the Ray that ``RAY_ADDRESS`` names, or on one that it starts on this machine.

    `secret_payload` (a `Handover`) goes to the actor as an argument of its constructor. Nothing is pickled
    for it, so the service has to be one that can be imported where it runs.
    """

    def __init__(self, secret_payload: bytes | None = None) -> None:
        self._payload = secret_payload

    def launch(self, spec: ServiceSpec) -> RayService:
        """Place `spec` and return it when it is ready.

        Raises ServiceError when there is no place for it, or with what it said when it does not get going.
        """
        verify_importable(spec, self._payload)
        connection.acquire()
        try:
            actor = create_actor(placed(spec), self._payload)
        except BaseException:
            connection.release()
            raise
        service = RayService(spec, actor, connection)  # which releases
        connection.look_after(service)
        try:
            wait_for_place(actor, spec, is_final=connection.is_ours)
            service.wait_until_ready()
            verify_reachable(spec.name, service.url, service.node, node_of_this_process())
        except BaseException:
            service.stop(timeout=0.0)
            raise
        return service


def verify_importable(spec: ServiceSpec, payload: bytes | None) -> None:
    """Raise ServiceError for a service whose module is in `payload`, pickled."""
    try:
        module = Handover.from_bytes(payload).module if payload is not None else b""
    except ValueError as error:
        raise ServiceError(f"what service {spec.name} is to be handed is no handover.") from error
    if module:
        raise ServiceError(
            f"service {spec.name} cannot be placed with Ray as it is: its module would travel there pickled, "
            "and nothing pickled is sent over a network. Deploy it by name: modcore deploy app.py:module "
            "--launcher ray, with the file (or package) where the nodes find it."
        )


def placed(spec: ServiceSpec) -> ServiceSpec:
    """`spec` as it runs on a node: it says who placed it, and calls only where we may."""
    command = spec.command
    if command[:1] == ("serve-module",) and "--launcher" not in command:
        command = (*command, "--launcher", "ray")
    networks = os.environ.get(NETWORKS)
    ours = {NETWORKS: networks} if networks else {}
    return replace(spec, command=command, environment={**ours, **spec.environment})
