"""A Northbound, its drivers and the clients: what one part of the run is measured on."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from bench.fill import fill
from bench.ipam import servers
from bench.ipam.clients import Client, client
from bench.ipam.hosts import Host
from bench.ipam.page import CLUSTER
from bench.ipam.plan import DRIVERS
from bench.ipam.pool import FilledPool
from bench.ovsdb import Database


class IpamTestbed:
    """Servers and drivers, up for as long as this context lasts.

    Attributes:
        northbound: a connection to the Northbound database.
        hosts: the drivers.
    """

    def __init__(self, directory: Path, mode: str, ports: int, switches: int) -> None:
        """Start all.

        Args:
            directory: for their files; a new one.
            mode: STANDALONE or CLUSTER.
            ports: of others, to be put into Northbound.
            switches: that these are spread over.
        """
        with ExitStack() as undo:
            started = servers.cluster(directory) if mode == CLUSTER else servers.standalone(directory)
            undo.callback(started.stop)
            self._servers = started
            if ports:
                with closing(self.connect()) as database:
                    fill(database, ports, switches)
            self.hosts: list[Host] = []
            for number in range(DRIVERS):
                host = Host(directory, f"host-{number}", started.remote)
                self.hosts.append(host)
                undo.callback(host.stop)
            self._undo = undo.pop_all()

    def connect(self) -> Database:
        """A connection to Northbound, wherever its leader is now."""
        return self._servers.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def network_create(self, subnet: str, *, scattered: bool) -> "Network":
        """Make the same network on every host."""
        pool_ids = [host.network_create(subnet) for host in self.hosts]
        return Network(self.hosts, pool_ids, FilledPool(pool_ids[0], scattered=scattered))


class Driver(Protocol):
    """What a client has to know of a driver."""

    @property
    def name(self) -> str:
        """Of its host."""

    @property
    def socket(self) -> Path:
        """Where it listens."""


class Network:
    """One network that all hosts share."""

    def __init__(self, hosts: Sequence[Driver], pool_ids: list[str], pool: FilledPool) -> None:
        self.pool = pool
        self._hosts = hosts
        self._pool_ids = pool_ids

    def clients(self, count: int) -> Iterator[Client]:
        """So many clients, spread evenly over the drivers; each connects when its turn comes.

        A driver closes a connection on which nothing was asked for 10 s.
        """
        for number in range(count):
            host = self._hosts[number % DRIVERS]
            yield client(host.name, host.socket, self._pool_ids[number % DRIVERS])
