"""One client of the driver, which sends requests of every wrong kind and checks each answer."""

import asyncio
import contextlib
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.functional.fuzz.author import Author
from tests.functional.fuzz.delivery import abused, cut, whole
from tests.functional.fuzz.ledger import Call, Ledger
from tests.functional.libnetwork.oddities import mutilated

ANSWER_WITHIN = 10.0
"""Seconds; the driver's own deadline."""

BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""UAX #9: they make a text read as another."""

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Reply = tuple[int, bytes]


@dataclass
class Journal:
    """Which requests there were, so that what is found can be traced to them."""

    path: Path
    seed: int
    count: int = 0

    def note(self, client: int, what: str) -> None:
        self.count += 1
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as out:
            out.write(f"client {client}: {what}\n")

    def about(self, text: str) -> str:
        """The last requests in which a text is, with the seed."""
        lines = [line for line in self.path.read_text("utf-8").splitlines() if text in line]
        return "\n".join([f"seed {self.seed}, {text}:", *lines[-8:]])


@dataclass
class FuzzClient:
    """One client.

    Attributes:
        number: of the client, from 1; its ids and subnets have it in them.
        connect: opens a connection to the driver.
        slowest: seconds of the slowest answer.
        statuses: how often there was which.
        accepted: how often each verb was.
    """

    number: int
    connect: Connect
    journal: Journal
    ledger: Ledger = field(default_factory=Ledger)
    slowest: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._numbers = random.Random(f"{self.journal.seed} {self.number}")  # noqa: S311 - repeatable, not secret
        self._author = Author(self._numbers, self.number, self.ledger)
        self._kept: Connection | None = None
        self._count = 0

    async def ask(self, requests: int) -> None:
        """Send so many requests, a few more where the last ones go together."""
        last = self._count + requests
        ways = (self._one, self._pipelined, self._abused, self._cut, self._unheard, self._mutilated)
        while self._count < last:
            [way] = self._numbers.choices(ways, (70, 6, 8, 5, 1, 6))
            await way()

    async def clean_up(self) -> None:
        """Remove all that there may be, as dockerd would."""
        while calls := self.ledger.removals():
            await self._send(calls)
        for ids in self.ledger.uncertain:
            ends = ("Leave", "DeleteEndpoint") if "EndpointID" in ids else ()
            verbs = (*ends, "DeleteNetwork", "FreeNetwork")
            await self._send([Call(f"NetworkDriver.{verb}", json.dumps(ids).encode()) for verb in verbs])

    async def close(self) -> None:
        if self._kept is not None:
            await _close(self._kept)
            self._kept = None

    async def _one(self) -> None:
        await self._send([self._author.next()])

    async def _pipelined(self) -> None:
        """Several in one write, each answered in its turn.

        No network is removed among them: by its turn it may have an endpoint, of which Docker would know.
        """
        calls = [self._author.next() for _ in range(self._numbers.randint(2, 8))]
        await self._send([call for call in calls if not call.verb.endswith("DeleteNetwork")])

    async def _send(self, calls: list[Call]) -> None:
        if self._kept is None:
            self._kept = await self.connect()
        for call in calls:
            self._note(str(call))
        reader, writer = self._kept
        writer.write(b"".join(map(whole, calls)))
        for call in calls:
            reply = await self._answer(reader, str(call))
            assert reply is not None, self._failed(str(call), "the connection was closed")
            self._enter(call, reply)

    async def _abused(self) -> None:
        """With a hostile head, on a connection of its own; certain is only that it is answered."""
        call = self._author.single_use()
        raw = abused(self._numbers, call)
        reply = await self._alone(raw)
        if reply is None or reply[0] < 400:
            self.ledger.unheard(call.understood())

    async def _cut(self) -> None:
        """Broken off in the middle, so that nothing may come of it."""
        await self._alone(cut(self._numbers, self._author.single_use()), self._break_off())

    async def _unheard(self) -> None:
        """Sent whole, and nobody waits for the answer."""
        call = self._author.single_use()
        self.ledger.unheard(call.understood())
        await self._alone(whole(call), self._break_off())

    async def _mutilated(self) -> None:
        await self._alone(mutilated(self._numbers), "half close")

    def _note(self, request: str) -> None:
        self._count += 1
        self.journal.note(self.number, request)

    def _break_off(self) -> str:
        return self._numbers.choice(("half close", "abort"))

    async def _alone(self, raw: bytes, end: str = "") -> Reply | None:
        """Send bytes on a connection of their own, which is closed at our end, or read."""
        self._note(f"{raw[:2000]!r} {end}")
        connection = await self.connect()
        reader, writer = connection
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(raw)
                if end == "half close":
                    writer.write_eof()
                elif end == "abort":
                    await writer.drain()
                    writer.transport.abort()
                    return None
                return await self._answer(reader, f"{raw[:2000]!r} {end}", bodiless=raw.startswith(b"HEAD "))
            return None
        finally:
            await _close(connection)

    async def _answer(
        self, reader: asyncio.StreamReader, request: str, *, bodiless: bool = False
    ) -> Reply | None:
        """Status and body; None when the connection is closed without one."""
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.timeout(ANSWER_WITHIN + 1):
                reply = await _read(reader, bodiless=bodiless)
        except TimeoutError:
            raise AssertionError(self._failed(request, "no answer")) from None
        self.slowest = max(self.slowest, clock() - started)
        if reply is not None:
            self._check(request, *reply)
        return reply

    def _check(self, request: str, status: int, body: bytes) -> None:
        """Every answer is the driver's, and one line."""
        self.statuses[status] += 1
        if status in {200, 417}:  # 417 is the web server's own, for an Expect on an unknown path
            return
        text = body.decode()
        well = status in {400, 403, 404, 405, 413, 415} and "failed inside" not in text
        if body:
            answer = json.loads(text)
            if status == 503 and "problems" in answer:  # /healthz, a while after the start: no OVN
                return
            error = answer["Err"]
            well = well and is_one_line(error) and "Traceback" not in error and len(error) < 25_000
        assert well, self._failed(request, f"{status} {text[:1000]}")

    def _enter(self, call: Call, reply: Reply) -> None:
        status, body = reply
        if status != 200:
            return
        self.accepted[call.verb] += 1
        asked = call.understood()
        if asked is None:
            calm = call.verb.endswith(("Activate", "GetCapabilities", "GetDefaultAddressSpaces"))
            assert calm, self._failed(str(call), "what is no message was accepted")
            return
        self.ledger.accepted(call.verb, asked, json.loads(body))

    def _failed(self, request: str, what: str) -> str:
        return f"seed {self.journal.seed}, client {self.number}: {what}\n{request}"


def is_one_line(text: str) -> bool:
    """Whether a text is free of characters that break a line, steer a terminal or change its direction."""
    kinds = {unicodedata.category(character) for character in text}
    return not kinds & {"Cc", "Cs", "Zl", "Zp"} and not set(text) & BIDI


async def _read(reader: asyncio.StreamReader, *, bodiless: bool) -> Reply | None:
    """One response that is not interim, or None at the connection's end."""
    try:
        while True:
            first, *headers = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            status = int(first.split()[1])
            if status != 100:
                break
        lengths = [line.partition(b":")[2] for line in headers if line.lower().startswith(b"content-length:")]
        return status, await reader.readexactly(int(lengths[0]) if lengths and not bodiless else 0)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def _close(connection: Connection) -> None:
    connection[1].transport.abort()
    with contextlib.suppress(ConnectionError):
        await connection[1].wait_closed()
