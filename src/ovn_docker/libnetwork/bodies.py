"""Bodies of requests: how long one may be, how long it may take, and how many large ones arrive at a time.

Knows no verb. What is in a body is codec.py's.
"""

import asyncio

from aiohttp import web

from ovn_docker.errors import RequestError

BODY_LIMIT = 1 << 20
"""Bytes."""

SMALL = 64 << 10
"""Bytes; dockerd's are far below."""

LARGE_AT_A_TIME = 16
"""Bodies that are larger, or do not say how large they are; the others wait, so that memory has a bound."""


class BodyTooLargeError(RequestError):
    """The body is longer than any request of Docker's."""


class Bodies:
    """Reads the bodies of one application."""

    def __init__(self) -> None:
        self._large = asyncio.Semaphore(LARGE_AT_A_TIME)

    async def read(self, request: web.Request, give_up_at: float) -> bytes:
        """A request's body.

        Args:
            request: whose.
            give_up_at: when it must have arrived, by the event loop's clock.

        Raises:
            RequestError: it is too long, or does not arrive whole and in time.
        """
        length = request.content_length
        try:
            async with asyncio.timeout_at(give_up_at):
                if length is not None and length <= SMALL:
                    return await request.read()
                async with self._large:
                    return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise BodyTooLargeError(f"the body is longer than {BODY_LIMIT} bytes") from error
        except (TimeoutError, OSError, web.PayloadAccessError, web.RequestPayloadError) as error:
            # The body's stream keeps the error, whose frames hold what had arrived: a cycle, which would stay
            # in memory until a garbage collection that megabytes do not hasten.
            raise RequestError("the body did not arrive whole and in time") from error.with_traceback(None)
