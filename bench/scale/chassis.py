"""Real ovn-controllers, all on one ovs-vswitchd that has its dummy datapath: everything but packets.

Source: ovn-controller(8), -n and the external_ids whose keys end with the chassis's name; Open vSwitch's
documentation, "Testing", for --enable-dummy. Each chassis has a bridge of its own. It has a transport zone of
its own too, and so no tunnels: two ovn-controllers on one database choose the same name for a tunnel at the
same moment, and the loser writes nothing any more.
"""

import subprocess
import uuid
from pathlib import Path

from bench.drivers import resident_mb
from bench.ipam.servers import TIMEOUT, Server, stop
from bench.ovsdb import INSTALLED, PLUGGED, InterfaceWatch
from bench.scale.clock import Clock
from ovn_docker.errors import HostError
from ovn_docker.ovsdb.operations import insert, mutate, reference, select, to_map
from ovn_docker_lab.processes import Process, spawn, wait_until
from ovn_docker_lab.requirements import environment, find_program

_JOIN = 120.0
_INSTALL = 60.0
"""Seconds for all to stand in Southbound, and for one port's flows."""


class Chassis:
    """Chassis with the names of hosts.

    Attributes:
        names: of all.
    """

    def __init__(self, directory: Path, names: list[str], southbound: Server) -> None:
        """Start them.

        Args:
            directory: for their files; a new one.
            names: of the chassis.
            southbound: reached over its Unix socket, on which nobody is probed.
        """
        self.names = names
        self._directory = directory
        self._southbound = southbound
        self._database = Server(directory, "Open_vSwitch")
        places = ("OVS_RUNDIR", "OVN_RUNDIR", "OVS_SYSCONFDIR", "OVN_SYSCONFDIR")
        self._environment = environment(**dict.fromkeys(places, str(directory)))
        self._switch: Process | None = None
        self._controllers: list[Process] = []
        try:
            self._database.create()
            self._database.start()
            self._configure()
            self._start()
        except BaseException:
            self.stop()
            raise

    def _configure(self) -> None:
        """Write the settings, and a bridge for each chassis, in one ovs-vsctl(8)."""
        ids = {
            "hostname": "bench",
            "ovn-remote": f"unix:{self._southbound.socket}",
            "ovn-encap-type": "geneve",
        }
        words = ["--", "init"]
        for number, name in enumerate(self.names):
            ids[f"ovn-bridge-{name}"] = _bridge(number)
            ids[f"ovn-encap-ip-{name}"] = f"10.99.{number // 250}.{number % 250 + 1}"
            ids[f"ovn-transport-zones-{name}"] = name
            words += ["--", "add-br", _bridge(number), "--", "set", "Bridge", _bridge(number)]
            words += ["fail_mode=secure", "datapath_type=dummy", "other_config:disable-in-band=true"]
        words += ["--", "set", "Open_vSwitch", ".", *(f'external_ids:{key}="{ids[key]}"' for key in ids)]
        self._vsctl(*words[1:])

    def _vsctl(self, *words: str) -> None:
        program = find_program("ovs-vsctl") or "ovs-vsctl"
        command = [program, f"--db={self._database.remote}", "--no-wait", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if done.returncode != 0:
            raise HostError(f"ovs-vsctl failed: {done.stderr.strip()}")

    def _start(self) -> None:
        dummy = ["--enable-dummy=override", "--disable-system", "--disable-system-route"]
        self._switch = self._spawn("ovs-vswitchd", "ovs-vswitchd", *dummy)
        last = self._directory / f"{_bridge(len(self.names) - 1)}.mgmt"
        if not wait_until(last.exists, TIMEOUT):
            raise HostError(f"ovs-vswitchd does not start, see {self._directory / 'ovs-vswitchd.log'}")
        for name in self.names:
            self._controllers.append(self._spawn("ovn-controller", name, "-n", name))

    def _spawn(self, program: str, name: str, *words: str) -> Process:
        found = find_program(program) or program
        command = [found, "-vconsole:warn", f"--unixctl={self._directory / name}.ctl", *words]
        log = self._directory / f"{name}.log"
        return spawn([*command, self._database.remote], log, self._environment)

    def join(self, clock: Clock) -> None:
        """Wait until all stand in Southbound."""
        database = self._southbound.connect()
        try:
            query = [select("Chassis", [], ["name"])]
            joined = wait_until(
                lambda: len(database.transact(query)[0]["rows"]) == len(self.names), clock.left(_JOIN)
            )
        finally:
            database.close()
        if not joined:
            raise HostError(f"not all chassis are in Southbound, see {self._directory}")

    def watch(self) -> InterfaceWatch:
        """What sees when flows are installed."""
        return InterfaceWatch(self._database.socket)

    def bind(self, watch: InterfaceWatch, number: int, endpoint_id: str) -> float:
        """Plug an endpoint's port in on a chassis; milliseconds until its flows are installed."""
        port, interface = uuid.uuid4(), uuid.uuid4()
        name = f"p{interface.hex[:12]}"
        ids = to_map({"iface-id": endpoint_id})
        database = self._database.connect()
        try:
            database.transact(
                [
                    insert("Interface", interface, {"name": name, "type": "dummy", "external_ids": ids}),
                    insert("Port", port, {"name": name, "interfaces": reference(interface)}),
                    mutate(
                        "Bridge",
                        [("name", "==", _bridge(number))],
                        ("ports", "insert", reference(port)),
                    ),
                ]
            )
        finally:
            database.close()
        moments = watch.moments(endpoint_id, _INSTALL)
        return 1000 * (moments[INSTALLED] - moments[PLUGGED])

    def controllers_mb(self) -> list[float]:
        """Memory of each ovn-controller, in MB of 10^6 bytes."""
        return [resident_mb(controller.pid) for controller in self._controllers]

    def switch_mb(self) -> float:
        """Memory of ovs-vswitchd and its database, in MB of 10^6 bytes."""
        assert self._switch is not None
        return resident_mb(self._switch.pid) + resident_mb(self._database.pid)

    def stop(self) -> None:
        """End all, the controllers before what they talk to."""
        for controller in self._controllers:
            stop(controller)
        stop(self._switch)
        self._database.stop()


def _bridge(number: int) -> str:
    return f"br{number:04d}"
