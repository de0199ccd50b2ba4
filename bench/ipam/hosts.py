"""Driver processes, each with a system-id and an Open_vSwitch database of its own, as on several hosts."""

import json
import secrets
from pathlib import Path
from typing import Any

from bench.ipam.servers import TIMEOUT, Server, stop
from bench.plugin import Plugin, dial_unix
from ovn_docker.errors import HostError
from ovn_docker.ovsdb.operations import to_map
from ovn_docker_lab.processes import Process, spawn, wait_until
from ovn_docker_lab.requirements import environment, find_driver

GATEWAY = {"RequestAddressType": "com.docker.network.gateway"}


class Host:
    """One driver.

    Attributes:
        name: its system-id.
        socket: where the driver listens.
    """

    def __init__(self, directory: Path, name: str, northbound: str) -> None:
        """Start the driver and its database, with `northbound` as its ``external_ids:ovn-nb``."""
        self.name = name
        self.socket = directory / name / "plugin"
        self._log = directory / name / "driver.log"
        self._process: Process | None = None
        self._database = Server(directory / name, "Open_vSwitch")
        try:
            self._database.create()
            self._database.start()
            self._configure(northbound)
            self._start(directory / name)
        except BaseException:
            self.stop()
            raise

    def _configure(self, northbound: str) -> None:
        ids = to_map({"system-id": self.name, "ovn-nb": northbound})
        database = self._database.connect()
        database.transact([{"op": "insert", "table": "Open_vSwitch", "row": {"external_ids": ids}}])
        database.close()

    def _start(self, directory: Path) -> None:
        options = [
            f"--unix-socket={self.socket}",
            f"--plugin-dir={directory}",
            f"--state-file={directory / 'state.json'}",
            f"--ovsdb={self._database.remote}",
            "--docker-driver-scope=local",
        ]
        self._process = spawn([find_driver() or "", *options], self._log, environment())
        if not wait_until(self._answers, TIMEOUT):
            raise HostError(f"the driver does not answer, see {self._log}")

    def _answers(self) -> bool:
        try:
            self.call("Plugin.Activate", {})
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End the driver and its database."""
        stop(self._process)
        self._database.stop()

    def network_create(self, subnet: str) -> str:
        """Do what dockerd does for ``docker network create``, and return the PoolID."""
        pool = self.call("IpamDriver.RequestPool", {"AddressSpace": "ovn-docker", "Pool": subnet})["PoolID"]
        gateway = {"PoolID": pool, "Address": "", "Options": GATEWAY}
        reserved = self.call("IpamDriver.RequestAddress", gateway)["Address"]
        data = {"AddressSpace": "ovn-docker", "Pool": subnet, "Gateway": reserved}
        request = {"NetworkID": secrets.token_hex(32), "Options": {}, "IPv4Data": [data], "IPv6Data": []}
        self.call("NetworkDriver.CreateNetwork", request)
        return str(pool)

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make one call over a connection of its own."""
        plugin = Plugin(dial_unix(self.socket))
        try:
            _, answer = plugin.exchange(path, body)
        finally:
            plugin.close()
        return dict(json.loads(answer))
