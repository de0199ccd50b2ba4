"""Lets systemd-networkd keep at the next boot that an interface's addresses are on a bridge.

Most images of clouds use it, those with netplan too: netplan writes its files (systemd.network(5)). What it
was told of the interface is told of the bridge in a file that sorts before, and the interface is left alone.
Open vSwitch itself keeps the bridge.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ovn_docker.errors import HostError

RUN, ETC = Path("/run/systemd/netif/links"), Path("/etc/systemd/network")
PREFIX = "05-ovn-docker-"
"""Of our files: the first file that matches a link holds, of all directories (systemd.network(5))."""

ALONE = "[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
"""Of an interface that is on a bridge."""

MADE = "# Made by 'ovn-docker uplink add'; 'ovn-docker uplink del' removes it."


def files(texts: Sequence[str], uplink: str, bridge: str, mtu: int) -> Mapping[str, str]:
    """The files that are to be, by name. Pure.

    Args:
        texts: of the file that holds for the interface, and of its drop-ins.
        uplink: the interface.
        bridge: the bridge.
        mtu: of the interface in bytes.
    """
    told = "\n".join(_without_match(each).strip() for each in texts)
    alone = f"[Link]\nMTUBytes={mtu}\nRequiredForOnline=no\n\n{ALONE}"
    return {
        _name(bridge): f"{MADE}\n[Match]\nName={bridge}\n\n{told}\n",
        _name(uplink): f"{MADE}\n[Match]\nName={uplink}\n\n{alone}",
    }


def _name(link: str) -> str:
    return f"{PREFIX}{link}.network"


def _without_match(text: str) -> str:
    """A file without its [Match] section."""
    return re.sub(r"^\[Match\][^\n]*\n(?:(?!\[)[^\n]*(?:\n|$))*", "", text, flags=re.MULTILINE)


class Networkd:
    """The files of systemd-networkd."""

    def __init__(self, run: Path = RUN, etc: Path = ETC) -> None:
        """Read what holds in `run`, and write to `etc`."""
        self._run = run
        self._etc = etc

    def keep(self, index: int, uplink: str, bridge: str, mtu: int) -> None:
        """Write the files, whatever they were.

        Args:
            index: of the interface, by which systemd-networkd knows it.
            uplink: its name.
            bridge: the bridge.
            mtu: of the interface in bytes.

        Raises:
            HostError: systemd-networkd was told nothing of the interface, or a file cannot be written.
        """
        if self.kept(bridge):
            return
        for name, text in files(self._texts(index, uplink), uplink, bridge, mtu).items():
            try:
                self._etc.mkdir(parents=True, exist_ok=True)
                (self._etc / name).write_text(text, encoding="utf-8")
            except OSError as error:
                self.forget(uplink, bridge)
                raise HostError(f"{self._etc / name} cannot be written: {error.strerror}") from error

    def kept(self, bridge: str) -> bool:
        """Whether there is a file of ours for a bridge."""
        return (self._etc / _name(bridge)).exists()

    def forget(self, uplink: str, bridge: str) -> None:
        """Remove the files; what is gone is success.

        Raises:
            HostError: one cannot be removed.
        """
        for file in (self._etc / _name(bridge), self._etc / _name(uplink)):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise HostError(f"{file} cannot be removed: {error.strerror}") from error

    def _texts(self, index: int, uplink: str) -> list[str]:
        """What systemd-networkd was told of a link (sd-network: NETWORK_FILE and its drop-ins)."""
        known: dict[str, str] = {}
        with contextlib.suppress(OSError):
            lines = (self._run / str(index)).read_text(encoding="utf-8").splitlines()
            known = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
        file = known.get("NETWORK_FILE", "")
        if not file:
            raise HostError(
                f"systemd-networkd does not manage {uplink}, so --persist cannot be used: keep the addresses"
                " on the bridge as your distribution does it"
            )
        names = [file, *known.get("NETWORK_FILE_DROPINS", "").split(":")]
        try:
            return [Path(each).read_text(encoding="utf-8") for each in names if each]
        except OSError as error:
            raise HostError(f"{error.filename} cannot be read: {error.strerror}") from error
