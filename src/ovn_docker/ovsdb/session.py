"""JSON-RPC 1.0 as OVSDB speaks it (RFC 7047 section 4): bytes in, messages out. No socket, no clock."""

import re
from typing import Any

import msgspec

from ovn_docker.errors import DatabaseError

Message = dict[str, Any]

MAXIMUM_MESSAGE = 256 * 1024 * 1024
"""Bytes; more is a peer that is not an OVSDB server."""

_OUTSIDE_STRING = re.compile(rb'["{}]')
_INSIDE_STRING = re.compile(rb'["\\]')


def encode(message: Message) -> bytes:
    """A message as it goes on the wire; nothing separates it from the next."""
    return msgspec.json.encode(message)


class Decoder:
    """Cuts the stream into messages.

    OVSDB puts nothing between two JSON objects, so the end of one is where its braces balance. Each byte is
    looked at once, however the stream is cut into reads.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._depth = 0
        self._in_string = False

    def feed(self, data: bytes) -> list[Message]:
        """Take what was read and return the messages that are complete now.

        Raises:
            DatabaseError: the peer does not speak JSON-RPC.
        """
        self._buffer += data
        messages = []
        while (end := self._end_of_message()) is not None:
            messages.append(self._take(end))
        if len(self._buffer) > MAXIMUM_MESSAGE:
            raise DatabaseError("the peer sent a message of more than 256 MiB and is not an OVSDB server")
        return messages

    def _end_of_message(self) -> int | None:
        while True:
            pattern = _INSIDE_STRING if self._in_string else _OUTSIDE_STRING
            match = pattern.search(self._buffer, self._position)
            if match is None:
                self._position = max(self._position, len(self._buffer))
                return None
            if not self._step(match[0], match.end()):
                return None
            if match[0] == b"}" and self._depth == 0 and not self._in_string:
                return match.end()

    def _step(self, token: bytes, end: int) -> bool:
        """Go past a token; False when the byte that a backslash escapes is still to come."""
        if token == b"\\":
            if end >= len(self._buffer):
                self._position = end - 1
                return False
            end += 1
        elif token == b'"':
            self._in_string = not self._in_string
        else:
            self._depth += 1 if token == b"{" else -1
            if self._depth < 0:
                raise DatabaseError("the peer does not speak OVSDB: a brace closes nothing")
        self._position = end
        return True

    def _take(self, end: int) -> Message:
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._position = 0
        try:
            message = msgspec.json.decode(raw)
        except (ValueError, RecursionError) as error:  # malformed, no UTF-8, or nested without end
            raise DatabaseError(f"the peer does not speak OVSDB: {error}") from error
        if not isinstance(message, dict):
            raise DatabaseError("the peer does not speak OVSDB: a message is no JSON object")
        return message
