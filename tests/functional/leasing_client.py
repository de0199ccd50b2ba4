"""One of many clients of test_contention.py: ``leasing_client.py SOCKET POOL_ID SECONDS SEED``.

It leases and releases at random, now and then enters and leaves a pool, and writes down when it had what:
``+ TIME ADDRESS`` once an address was answered, ``- TIME ADDRESS`` before it is given back, ``! TEXT`` for a
refusal, ``?`` for a call whose reply never came. Times are of the machine's monotonic clock, so they compare
between processes.
"""

import json
import random
import socket
import sys
import time

PAUSE = 0.02
ENTERS = 0.03
"""How often a pool is entered and left, as by a network that is made and removed."""

MOST = 12
"""Addresses that one client holds at a time."""


class Driver:
    """A connection to the driver, made again when it is lost."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stream: socket.socket | None = None

    def call(self, verb: str, **body: str) -> dict[str, str] | None:
        """The reply, or None when none came; it is asked only once the driver accepts a connection."""
        while self._stream is None:
            self._connect()
        try:
            return self._call(verb, json.dumps(body).encode())
        except (OSError, ValueError):
            self._stream.close()
            self._stream = None
            return None

    def _connect(self) -> None:
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(20)
        try:
            stream.connect(self._path)
        except OSError:
            stream.close()
            time.sleep(PAUSE)
        else:
            self._stream = stream

    def _call(self, verb: str, body: bytes) -> dict[str, str]:
        assert self._stream is not None
        head = f"POST /IpamDriver.{verb} HTTP/1.1\r\nHost: plugin\r\nContent-Length: {len(body)}\r\n\r\n"
        self._stream.sendall(head.encode() + body)
        with self._stream.makefile("rb") as reply:
            _, status, *_ = reply.readline().decode().split()
            length = 0
            while (line := reply.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            content: dict[str, str] = json.loads(reply.read(length))
        return {"Status": status, **content}


def note(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def enter_and_leave(driver: Driver, pool: str) -> None:
    """What is entered and nobody is told of is left behind."""
    reply = driver.call("RequestPool", Pool=pool.split("|")[1])
    if reply is not None and reply["Status"] == "200":
        reply = driver.call("ReleasePool", PoolID=reply["PoolID"])
    if reply is None or reply["Status"] != "200":
        note("?")


def main(path: str, pool: str, seconds: float, seed: int) -> None:
    driver, chance, held = Driver(path), random.Random(seed), list[str]()  # noqa: S311
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if chance.random() < ENTERS:
            enter_and_leave(driver, pool)
        if len(held) < MOST and (not held or chance.random() < 0.55):
            reply = driver.call("RequestAddress", PoolID=pool, Address="")
            if reply is None:
                note("?")
            elif reply["Status"] == "200":
                held.append(reply["Address"].partition("/")[0])
                note("+", time.monotonic(), held[-1])
            else:
                note("!", reply["Err"])
                time.sleep(PAUSE)
        else:
            address = held.pop(chance.randrange(len(held)))
            note("-", time.monotonic(), address)
            reply = driver.call("ReleaseAddress", PoolID=pool, Address=address)
            if reply is None or reply["Status"] != "200":
                note("?")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
