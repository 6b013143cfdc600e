"""``GET /_modcore/logs``: the last lines of the service's own log file."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs

from modcore.serve.service.http import Refused

LOG_FILE = "MODCORE_LOG_FILE"
MAX_LINES = 10_000
_MAX_BYTES = 4 * 1024 * 1024


def last_lines(query: bytes) -> bytes:
    """As many lines as `query` (``lines=100``) asks for; raises Refused."""
    wanted = parse_qs(query.decode("latin-1"), max_num_fields=10).get("lines", ["100"])[-1]
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 9) or int(wanted) > MAX_LINES:
        raise Refused(400, "BadRequest", f"lines has to be a number from 0 to {MAX_LINES}.")
    place = os.environ.get(LOG_FILE)
    try:
        if not place:
            raise FileNotFoundError
        with Path(place).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _MAX_BYTES))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        raise Refused(404, "NotFound", "This service has no log file.") from None
    return b"".join(lines[len(lines) - int(wanted) :] if int(wanted) < len(lines) else lines)
