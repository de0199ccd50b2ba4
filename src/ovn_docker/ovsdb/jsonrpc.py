"""JSON-RPC 1.0 as OVSDB speaks it (RFC 7047 section 4): bytes in, messages out. No socket, no clock."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ovn_docker.errors import DatabaseError, UnstorableError

Message = dict[str, Any]

MAXIMUM_MESSAGE = 256 * 1024 * 1024
"""Bytes; more is a peer that is not an OVSDB server."""

_NO_BRACE = re.compile(rb'(?:[^"{}]++|"[^"\\]*+"){0,1000}')
"""Matches up to the next brace outside a string literal; stops before one with a backslash or without end.

The group is not possessive, because Python 3.11.0 to 3.11.4 lose text then (CPython gh-106052). So the
matcher remembers each repetition, and the limit keeps that small.
"""
_TEXT = re.compile(rb'(?:[^"\\]++|\\.){0,1000}', re.DOTALL)
"""Matches the rest of a string literal, to its end or the buffer's, with a limit for the same reason."""


UNSTORABLE = "a text cannot be stored in OVSDB: it holds a null character or half a surrogate pair"
NULL = b"\\u0000"
"""A null character in JSON."""


def encode(message: Message) -> bytes:
    """A message as it goes on the wire; messages follow each other without a separator."""
    return msgspec.json.encode(message)


def encode_request(message: Message) -> bytes:
    """A message for a server; UnstorableError if a text holds what its JSON parser refuses (ovs lib/json.c).

    The server would close the connection, and do so again at each repeat.
    """
    try:
        data = encode(message)
    except UnicodeEncodeError:
        raise UnstorableError(UNSTORABLE) from None
    if NULL in data and _holds_null(message):
        raise UnstorableError(UNSTORABLE)
    return data


def _holds_null(value: object) -> bool:
    """Whether a text has a null character; in JSON it may also be an escaped backslash before "u0000"."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_holds_null(text) for pair in value.items() for text in pair)
    return isinstance(value, list | tuple | set | frozenset) and any(map(_holds_null, value))


class Decoder:
    """Splits the stream into messages.

    Nothing separates two JSON objects, so the end of one is where its braces balance. However the stream is
    cut into reads, each byte is examined once, or twice at the beginning of a string.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._depth = 0
        self._in_string = False

    def feed(self, data: bytes) -> list[Message]:
        """Take what was read and return the messages that are now complete."""
        self._buffer += data
        messages = []
        while (end := self._end_of_message()) is not None:
            messages.append(self._take(end))
        if len(self._buffer) > MAXIMUM_MESSAGE:
            raise DatabaseError("the peer sent a message of more than 256 MiB and is not an OVSDB server")
        return messages

    def _end_of_message(self) -> int | None:
        while True:
            if self._in_string and not self._leave_string():
                return None
            plain = _NO_BRACE.match(self._buffer, self._position)
            self._position = plain.end() if plain is not None else self._position
            token = bytes(self._buffer[self._position : self._position + 1])
            if not token:
                return None
            self._position += 1
            if token not in b"{}":
                self._in_string = token == b'"'
                continue
            self._depth += 1 if token == b"{" else -1
            if self._depth < 0:
                raise DatabaseError("the peer does not speak OVSDB: a brace closes nothing")
            if self._depth == 0:
                return self._position

    def _leave_string(self) -> bool:
        """Move past the end of the current string; False if that has not arrived."""
        before = -1
        while before < self._position < len(self._buffer):
            before = self._position
            text = _TEXT.match(self._buffer, before)
            self._position = text.end() if text is not None else before
            if self._buffer[self._position : self._position + 1] == b'"':
                self._position, self._in_string = self._position + 1, False
                return True
        return False

    def _take(self, end: int) -> Message:
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._position = 0
        try:
            message = msgspec.json.decode(raw)
        except (
            msgspec.DecodeError,
            ValueError,
            RecursionError,
        ) as error:  # or not UTF-8, or nested too deep
            raise DatabaseError(f"the peer does not speak OVSDB: {error}") from error
        if not isinstance(message, dict):
            raise DatabaseError("the peer does not speak OVSDB: a message is not a JSON object")
        return message
