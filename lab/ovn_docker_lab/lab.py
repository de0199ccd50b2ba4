"""A lab as a whole: make it, find it again, take it down."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import msgspec

from ovn_docker.errors import ConflictError, NotFoundError
from ovn_docker_lab.bringup import Report, bring_up
from ovn_docker_lab.image import write_image
from ovn_docker_lab.machine import Machine, machine_of
from ovn_docker_lab.plan import BASE, CENTRAL, DEFAULT_NAME, OUTSIDE, LabSettings, check_name, host_names
from ovn_docker_lab.requirements import (
    check_driver,
    check_image_source,
    check_packages,
    check_root,
    choose_datapath,
)
from ovn_docker_lab.teardown import take_down

_SETTINGS = "lab.json"


def _silent(_line: str) -> None:
    """Report nothing."""


class Lab:
    """Emulated hosts, their central and a machine outside, on one machine.

    Attributes:
        central: machine with the Northbound and Southbound databases and northd.
        outside: machine without Docker or OVN, the hosts' router, which answers over HTTP, UDP and DNS.
        hosts: the other machines, h1 first.
    """

    def __init__(self, name: str, settings: LabSettings, base: Path = BASE) -> None:
        self.name = name
        self.directory = base / name
        self.settings = settings
        self.central = machine_of(name, CENTRAL, settings, base)
        self.outside = machine_of(name, OUTSIDE, settings, base)
        self.hosts = tuple(machine_of(name, host, settings, base) for host in host_names(settings.hosts))

    @classmethod
    def up(
        cls,
        name: str = DEFAULT_NAME,
        hosts: int = 2,
        *,
        docker: bool = True,
        driver: bool | None = None,
        datapath: str | None = None,
        forwarding: bool = False,
        report: Report = _silent,
    ) -> "Lab":
        """Make a lab; when that fails, nothing of it is left.

        Args:
            name: 1 to 15 of a-z, 0-9 and '-'.
            hosts: how many.
            docker: each host has a dockerd, with the image busybox.
            driver: each host has the overlay driver; by default when it has Docker.
            datapath: "system" or "netdev"; by default the kernel's (system) where it is available.
            forwarding: the hosts' kernels forward packets before Docker starts, so that Docker leaves the
                policy of the chain FORWARD alone; by default it finds that off, as on a fresh machine, and
                sets DROP.
            report: takes one line of progress.

        Raises:
            ConfigError: not root, a package is missing, or the name or count is not valid.
            ConflictError: a lab of that name exists.
            HostError: a step failed; the end of the failed daemon's log is in the error's notes.
        """
        check_name(name)
        host_names(hosts)
        check_root()
        check_packages(docker=docker)
        with_driver = docker if driver is None else driver
        if with_driver:
            check_driver()
        settings = LabSettings(hosts, docker, with_driver, choose_datapath(datapath), forwarding)
        lab = cls(name, settings)
        lab._make_directory()
        try:
            lab._bring_up(report)
        except BaseException:
            report("taking the incomplete lab down")
            take_down(lab.directory)
            raise
        return lab

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(mode=0o711, parents=True)
        except FileExistsError:
            raise ConflictError(
                f"lab {self.name} exists already: use another --name, or take it down with "
                f"'ovn-docker-lab down --name {self.name}'"
            ) from None
        (self.directory / _SETTINGS).write_bytes(msgspec.json.encode(asdict(self.settings)))

    def _bring_up(self, report: Report) -> None:
        image = self.directory / "image.tar"
        if self.settings.docker:
            write_image(check_image_source(), image)
        bring_up(self.central, self.outside, self.hosts, image, report)

    @classmethod
    def find(cls, name: str = DEFAULT_NAME, base: Path = BASE) -> "Lab":
        """A lab that another process has made; NotFoundError where there is none, or an incomplete one."""
        check_name(name)
        try:
            settings = msgspec.json.decode((base / name / _SETTINGS).read_bytes(), type=LabSettings)
        except (OSError, msgspec.DecodeError):
            raise NotFoundError(
                f"there is no lab {name}: make it with 'ovn-docker-lab up --hosts 2 --name {name}'"
            ) from None
        return cls(name, settings, base)

    @staticmethod
    def names(base: Path = BASE) -> Iterable[str]:
        """Names of all labs on this machine, incomplete ones too, sorted."""
        return sorted(entry.name for entry in base.iterdir() if entry.is_dir()) if base.is_dir() else ()

    def machine(self, name: str) -> Machine:
        """Machine by name, "h1", "h2", ..., "central" or "outside", or NotFoundError."""
        return machine_of(self.name, name, self.settings, self.directory.parent)

    def down(self) -> None:
        """Take the lab down, even when parts are gone; HostError names what is still there after 30 s."""
        take_down(self.directory)


def down(name: str = DEFAULT_NAME, base: Path = BASE) -> bool:
    """Take a lab down by its name, whatever is left of it; returns whether anything was.

    Raises:
        ConfigError: not root, or the name is not valid.
        HostError: names what is still there after 30 s.
    """
    check_name(name)
    check_root()
    return take_down(base / name)
