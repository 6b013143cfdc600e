"""Ending instances over HTTP: what is told of those that do not end."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from modcore.deploy.inventory import Row
from modcore.deploy.stopping import stop_remote


def outcome(port: int) -> str:
    row = Row(name="web", replica=None, id="0" * 16, state="ready", url=f"http://127.0.0.1:{port}")
    return stop_remote([row], "token", 1.0)[row.id]


def test_instance_whose_registration_outlives_it_is_dead_already() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert outcome(port) == "dead already"


def test_server_that_answers_but_takes_no_end_is_not_told_to_be_silent() -> None:
    class Model(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        told = outcome(server.server_port)
    assert told == "cannot be ended from here (status 404): end it where it was started"
