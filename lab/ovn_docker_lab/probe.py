"""Ask a daemon whether it is up, over its Unix socket."""

import http.client
import socket
from pathlib import Path


def answers(daemon: str, path: Path) -> bool:
    """Tell whether a daemon accepts a connection and, if it is dockerd, serves requests.

    Args:
        daemon: its name in a lab.
        path: its Unix socket; need not exist.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
        except OSError:
            return False
        return daemon != "dockerd" or _is_pinged(connection)


def _is_pinged(connection: socket.socket) -> bool:
    # dockerd listens before it can serve (Docker Engine API, GET /_ping).
    try:
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
    except (OSError, http.client.HTTPException):
        return False
    with response:
        return response.status == http.client.OK
