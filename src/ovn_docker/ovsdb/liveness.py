"""Whether the peer of a connection still answers. Pure: it is told what comes, and when.

Only replies count: a peer may go on sending parts of a message, or notifications, and answer no request.
"""

PROBE_INTERVAL = 5.0
"""Seconds without a reply after which an echo is sent; as long again without a byte and the peer is gone."""

LONGEST_MESSAGE = 30.0
"""Seconds for the reply to the echo as long as bytes come: it stands behind a message that may be long."""


class Liveness:
    """One connection's peer; times are in seconds of any one clock."""

    def __init__(self, now: float) -> None:
        """Begin as if it had just replied."""
        self._heard = self._replied = now
        self._probed: float | None = None

    def heard(self, now: float) -> None:
        """Bytes came."""
        self._heard = now

    def replied(self, now: float) -> None:
        """A reply came, to whichever request."""
        self._replied, self._probed = now, None

    @property
    def due(self) -> float:
        """When `probe` is to be called at the latest."""
        if self._probed is None:
            return self._replied + PROBE_INTERVAL
        return min(max(self._heard, self._probed) + PROBE_INTERVAL, self._probed + LONGEST_MESSAGE)

    def probe(self, now: float) -> bool:
        """Whether an echo is to be sent; it is taken for sent.

        Raises:
            TimeoutError: the peer is to be given up.
        """
        if now < self.due:
            return False
        if self._probed is None:
            self._probed = now
            return True
        if now < max(self._heard, self._probed) + PROBE_INTERVAL:
            raise TimeoutError(f"the server has sent for {LONGEST_MESSAGE:g} s and answered nothing")
        raise TimeoutError("the server does not answer its probe")
