"""Calling a module service at one URL.

`RemoteModule(url, token, timeout)` is one instance of a service, for any number of threads and event loops:

- ``call(args, kwargs, timeout=None)`` and ``await acall(...)``: the result;
- ``stream(args, kwargs, timeout=None)``: an iterator of the pieces, `astream` an async one; the request goes out with the
  first ``next``, and closing it ends the call over there at once;
- ``ready(timeout)``: whether ``GET /readyz`` says 200; ``close()`` gives back idle connections.

`timeout` is a call's deadline in seconds, all of its pieces included; the service is told how much is left. What a
call raises says what became of it:

- `NotBegun`: the call has not begun there, so that it may be made elsewhere whatever it does. ``state`` is ``refused`` (no
  connection), ``busy`` or ``draining``; ``retry_after`` is in seconds, None where nothing was said.
- `Died`: the connection ended after the call was sent. ``answered`` says whether a byte of an answer had come: without
  one, a call of an idempotent module may be made elsewhere.
- `DeadlineExceeded`, a ServiceError and a TimeoutError: there was no answer in time. The service gives the call up too.
- `ServiceError` itself: the answer is none of a module service, or says that the token or the message is wrong.
- anything else is the module's own error, rebuilt by type, with the remote traceback as a note; TypeError too
  for arguments that do not fit `forward`, CannotTravel for a value that has no form on the wire (nothing was sent then).

Knows nothing of gateways; the service's side is `modcore.serve.module_app`.
"""

from modcore.module.remote.client import RemoteModule
from modcore.module.remote.failures import DeadlineExceeded, Died, NotBegun
from modcore.wire.errors import RemoteError

__all__ = ["DeadlineExceeded", "Died", "NotBegun", "RemoteError", "RemoteModule"]
