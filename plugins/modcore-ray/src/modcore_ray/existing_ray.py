"""A Ray that runs already: the one that ``RAY_ADDRESS`` names."""

from __future__ import annotations

import logging
import os

from modcore.errors import ServiceError
from modcore_ray.listening import is_loopback
from modcore_ray.local_ray import NAMESPACE

ADDRESS = "RAY_ADDRESS"
INSECURE = "MODCORE_INSECURE_RAY"


def named_address() -> str | None:
    """What ``RAY_ADDRESS`` says; None when a Ray is to be started."""
    address = os.environ.get(ADDRESS, "").strip()
    return None if address in ("", "local") else address


def connect_to(address: str | None) -> None:
    """Connect this process to the Ray at `address`.

    Raises ServiceError when it cannot be, or others could read what it is sent.
    """
    import ray

    if address is None or "://" in address:
        raise ServiceError(
            f"{ADDRESS} is {address!r}, an address of Ray Client; run this on a machine of the cluster, and "
            "name its head as host:6379."
        )
    try:
        ray.init(
            address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR
        )
    except ConnectionError as error:
        raise ServiceError(
            f"no Ray answers at {ADDRESS}={address} ({error}); start it with `ray start --head`, or unset "
            f"{ADDRESS} to have one started on this machine."
        ) from error
    _verify_guarded(str(ray.get_runtime_context().gcs_address))


def _verify_guarded(address: str) -> None:
    """A Ray that others reach, and that asks nobody for a token, gets no secrets from us."""
    host = address.rpartition(":")[0].strip("[]")
    if is_loopback(host) or _has_token() or os.environ.get(INSECURE) == "1":
        return
    raise ServiceError(
        f"the Ray at {address} can be reached from other machines, and asks for no token: whoever reaches "
        "it can run code there and read the secrets of services. Start it and this program with "
        f"RAY_AUTH_MODE=token, or set {INSECURE}=1 if its network is closed to others."
    )


def _has_token() -> bool:
    from ray._raylet import AuthenticationMode, get_authentication_mode

    return bool(get_authentication_mode() == AuthenticationMode.TOKEN)
