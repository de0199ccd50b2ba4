"""How an answer of the Engine API becomes a value, or an error of one line. Pure."""

from typing import Any

import msgspec

from ovn_docker.errors import HostError

UNREADABLE = (UnicodeDecodeError, RecursionError)
"""What msgspec raises besides its own error: bytes that are no UTF-8, arrays in arrays without end."""


def decode(body: bytes, shape: type[Any]) -> Any:  # noqa: ANN401  (of that shape)
    """An answer of Docker's as a value.

    Raises:
        HostError: it is not valid JSON, or has another shape.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, *UNREADABLE) as error:
        raise unreadable(error) from error


def unreadable(error: Exception) -> HostError:
    """The exception for an answer that cannot be understood."""
    return HostError(f"Docker's answer cannot be read: {error}")
