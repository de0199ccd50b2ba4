"""Whether the peer of a connection still answers. Pure: it is told what comes, and when.

Only replies count: a peer may go on sending parts of a message, or notifications, and answer no request.
"""

import math

PROBE_INTERVAL = 5.0
"""Seconds without a reply after which an echo is sent; as long again without a byte and the peer is gone."""

LONGEST_MESSAGE = 30.0
"""Seconds, at least, for the reply to the echo as long as bytes come: it stands behind a message that may be
long."""


class Liveness:
    """One connection's peer; times are in seconds of any one clock."""

    def __init__(self, now: float, interval: float | None = None) -> None:
        """Begin as if it had just replied.

        Args:
            now: the time.
            interval: in place of `PROBE_INTERVAL`; 0 for a peer that is never probed.
        """
        self._interval = PROBE_INTERVAL if interval is None else interval
        self._longest = max(LONGEST_MESSAGE, self._interval)
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
        """When `probe` is to be called at the latest; infinity for never."""
        if not self._interval:
            return math.inf
        if self._probed is None:
            return self._replied + self._interval
        return min(max(self._heard, self._probed) + self._interval, self._probed + self._longest)

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
        if now < max(self._heard, self._probed) + self._interval:
            raise TimeoutError(f"the server has sent for {self._longest:g} s and answered nothing")
        raise TimeoutError("the server does not answer its probe")
