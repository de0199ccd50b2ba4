"""Bodies of Docker's plugin API: bytes to requests, responses and errors to bytes.

Owns the JSON and the shape of an error; knows no verb and no HTTP.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec

from ovn_docker import logs
from ovn_docker.errors import RequestError
from ovn_docker.libnetwork.messages import Message

RequestType = TypeVar("RequestType", bound=Message)


@cache
def _decoder(request_type: type[RequestType]) -> msgspec.json.Decoder[RequestType]:
    return msgspec.json.Decoder(request_type)


def decode(request_type: type[RequestType], body: bytes) -> RequestType:
    """The request that a body holds.

    Args:
        request_type: what the verb takes.
        body: JSON. An empty one is refused: when a connection breaks, dockerd sends the request again, but
            without its body, which it has used up (moby issue 35459).

    Raises:
        RequestError: the body is empty or no JSON, or a member is absent or of a wrong type; the text names
            it by its JSON path.
    """
    if not body.strip():
        raise RequestError(
            "the body is empty: after a broken connection dockerd repeats a request without it; try again"
        )
    try:
        request: RequestType = _decoder(request_type).decode(body)
    except msgspec.ValidationError as error:
        raise RequestError(f"the body cannot be used: {error}") from error
    except RecursionError as error:
        raise RequestError("the body cannot be used: the JSON is nested too deep") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid JSON: {error}") from error
    return request


def encode(response: Message | Mapping[str, Any] | None) -> bytes:
    """A response as a JSON object; ``{}`` for None, since dockerd cannot decode an empty body."""
    return b"{}" if response is None else msgspec.json.encode(response)


def encode_error(text: str) -> bytes:
    """An error as both services read it.

    A network driver's error stands in ``Err``, an IPAM driver's in ``Error`` (moby
    daemon/libnetwork/drivers/remote/api/api.go and ipams/remote/api/api.go). The text is made one line,
    and what a terminal would act on, or is no Unicode, is escaped: it may come from a header or a database.
    """
    line = logs.escape(" ".join(text.split()))
    return msgspec.json.encode({"Err": line, "Error": line})
