"""``GET /_modcore/logs``: the last lines of the service's own log file."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs

from modcore.deploy.environment import LOG_FILE
from modcore.deploy.log_files import last_lines
from modcore.serve.service.http import Refused

MAX_LINES = 10_000


def own_lines(query: bytes) -> bytes:
    """As many of the last lines as `query` (``lines=100``) asks for; raises Refused."""
    wanted = parse_qs(query.decode("latin-1"), max_num_fields=10).get("lines", ["100"])[-1]
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 9) or int(wanted) > MAX_LINES:
        raise Refused(400, "BadRequest", f"lines has to be a number from 0 to {MAX_LINES}.")
    place = Path(os.environ.get(LOG_FILE, ""))
    try:
        if not place.is_file():
            raise FileNotFoundError
        return "".join(f"{line}\n" for line in last_lines(place, int(wanted))).encode()
    except OSError:
        raise Refused(404, "NotFound", "This service has no log file.") from None
