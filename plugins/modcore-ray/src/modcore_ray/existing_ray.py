"""A Ray that runs already: the one that ``RAY_ADDRESS`` names."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator

from modcore.errors import ServiceError
from modcore_ray.listening import is_loopback
from modcore_ray.local_ray import NAMESPACE, on_loopback

ADDRESS = "RAY_ADDRESS"
INSECURE = "MODCORE_INSECURE_RAY"
_CONNECT_SECONDS = 5.0


def named_address() -> str | None:
    """What ``RAY_ADDRESS`` says; None when a Ray is to be started."""
    address = os.environ.get(ADDRESS, "").strip()
    return None if address in ("", "local") else address


def connect_to(address: str) -> None:
    """Connect this process to the Ray at `address`.

    Raises ServiceError when it cannot be, or others could read what it is sent.
    """
    import ray

    if "://" in address:
        raise ServiceError(
            f"{ADDRESS}={address} is an address of Ray Client; run this on a machine of the cluster, and "
            "name its head as host:6379."
        )
    try:
        with _as_it_listens(address):
            ray.init(
                address=address,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, TimeoutError) as error:
        raise ServiceError(
            f"no Ray answers at {ADDRESS}={address} ({error}); start it with `ray start --head`, or unset "
            f"{ADDRESS} to have one started on this machine."
        ) from error
    verify_guarded()


@contextlib.contextmanager
def _as_it_listens(address: str) -> Iterator[None]:
    """Ray takes loopback for this machine's other address, where one of loopback alone is not.

    Raises OSError at once when nobody listens: Ray would take minutes to say so.
    """
    import ray

    host, colon, port = address.rpartition(":")
    if not colon:  # "auto": Ray has its own way to find one
        yield
        return
    at = [host.strip("[]"), *([ray.util.get_node_ip_address()] if is_loopback(host) else [])]
    heard = [each for each in at if _listens(each, int(port))]
    if not heard:
        socket.create_connection((at[0], int(port)), _CONNECT_SECONDS).close()
    with on_loopback() if all(map(is_loopback, heard)) else contextlib.nullcontext():
        yield


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def verify_guarded() -> None:
    """Raise ServiceError if others reach the Ray that this process uses, and it asks nobody for a token."""
    import ray

    verify_address_guarded(str(ray.get_runtime_context().gcs_address))


def verify_address_guarded(address: str) -> None:
    """See `verify_guarded`; `address` is that of Ray's head."""
    host = address.rpartition(":")[0].strip("[]")
    if (
        is_loopback(host)
        or os.environ.get("RAY_AUTH_MODE") == "token"
        or os.environ.get(INSECURE) == "1"
    ):
        return
    raise ServiceError(
        f"the Ray at {address} can be reached from other machines, and asks for no token: whoever reaches "
        "it can run code there and read the secrets of services. Start it and this program with "
        f"RAY_AUTH_MODE=token, or set {INSECURE}=1 if its network is closed to others."
    )
