"""The only door to nft(8) and iptables(8): the rules of ruleset.py in this host's kernel.

Both programs are started when the driver starts, in a health pass, to restore what somebody removed, and once
for each container that publishes ports; no other request starts one.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import socket
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ovn_docker.errors import HostError
from ovn_docker.host import docker_bridges, iptables_chain, kernel_settings, ruleset
from ovn_docker.host.docker_bridges import BridgeWatch
from ovn_docker.host.guard import RulesetWatch
from ovn_docker.host.ruleset import TABLE, Published

LOG = logging.getLogger(__name__)

PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
"""A user's own lacks the directories of an administrator's programs."""

TIME_LIMIT = 5.0
"""Seconds for one run of a program; nft takes 10 ms."""

IPTABLES = ("iptables", "ip6tables")

NO_NFT = (
    "containers have no way out over this host: the program nft is missing: type 'apt-get install nftables'"
)
NO_FORWARDING = (
    "containers have no way out over this host, because it forwards nothing: start dockerd, which turns"
    " that on, or type 'sysctl -w net.ipv4.ip_forward=1'"
)
NO_IPV6_FORWARDING = (
    "containers have no way out over IPv6, because this host forwards none: type"
    " 'sysctl -w net.ipv6.conf.all.forwarding=1'"
)
NOT_LOADED = "containers have no way out over this host, for its rules are not loaded yet"
INSTALL = "'apt-get install iptables'"
REASONS = {
    "Operation not permitted": "not permitted: the driver needs CAP_NET_ADMIN",
    "Operation not supported": "this kernel lacks nf_tables, or a module of it",
    "Protocol not supported": "this kernel lacks nf_tables, or a module of it",
    "No such file or directory": "this kernel lacks nf_tables, or a module of it",
}
"""What the kernel's words mean here; every object that the commands name is made by them."""


class Firewall:
    """The rules of this network namespace for the way out, published ports and name queries."""

    def __init__(self, path: str = PATH, *, responder: bool = False) -> None:
        """Make one that has done nothing yet.

        Args:
            path: where the programs are found, as in $PATH.
            responder: whether the driver answers containers' queries for names, at `RESPONDER_PORT`.
        """
        self._responder = responder
        self._path = path
        self._lock = asyncio.Lock()
        self._published: frozenset[Published] | None = None
        self._problems: dict[str, str] = {"nft": NOT_LOADED}
        self._bridges: BridgeWatch | None = None
        self._in_set: frozenset[str] = frozenset()
        self._ruleset: RulesetWatch | None = None
        self._restoring: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the rules, keeping what is published, and watch over them from now on.

        It raises nothing: what fails is logged, and `problem` says it until a health pass finds it gone.
        """
        loop = asyncio.get_running_loop()
        try:
            self._bridges = BridgeWatch(self._bridges_changed)
            loop.add_reader(self._bridges, self._bridges.read)
            await self.restore()
            self._ruleset = RulesetWatch(self._removed, (TABLE, *iptables_chain.CHAINS))
            loop.add_reader(self._ruleset, self._ruleset.read)
        except HostError as error:
            LOG.warning("%s", error)

    async def close(self) -> None:
        """Stop watching, and finish what is under way; the rules stay, because containers run on."""
        loop = asyncio.get_running_loop()
        for watch in (self._bridges, self._ruleset):
            if watch is not None:
                loop.remove_reader(watch)
                watch.close()
        self._bridges = self._ruleset = None
        if self._restoring is not None:
            await self._restoring

    def problem(self) -> str:
        """Why containers have no way out over this host, and what to type; "" if they have."""
        broken = next(filter(None, map(self._problems.get, ("nft", "iptables", "inet", "ip"))), "")
        return broken or ("" if kernel_settings.forwards(socket.AF_INET) else NO_FORWARDING)

    def ipv6_problem(self) -> str:
        """Why they have none over IPv6, and what to type; "" if they have."""
        broken = self.problem() or self._problems.get("ip6tables") or self._problems.get("ip6")
        return broken or ("" if kernel_settings.forwards(socket.AF_INET6) else NO_IPV6_FORWARDING)

    async def missing(self) -> tuple[str, ...]:
        """What of the rules is not in the kernel, for people; `problem` is up to date afterwards.

        Nothing where nft is missing, or may not be used: nothing could be restored.
        """
        async with self._lock:
            try:
                lost = await self._missing_in_nft()
                for program in IPTABLES:
                    saved = await self._saved(program)
                    if saved and iptables_chain.repair(saved):
                        lost = (*lost, f"chain {iptables_chain.FORWARDING} of {program}")
                await self._look_at_others()
            except HostError as error:
                self._problems["nft"] = str(error)
                return ()
            self._problems["nft"] = NOT_LOADED if lost else ""
            self._serve_loopback(self._published or ())
            return lost

    async def restore(self) -> None:
        """Load the rules again, with all that is published; HostError if the kernel refuses."""
        async with self._lock:
            try:
                await self._load(await self._known())
            except HostError as error:
                self._problems["nft"] = str(error)
                raise
            self._problems["nft"] = ""
            for program in IPTABLES:
                await self._restore_iptables(program)
            await self._look_at_others()

    async def publish(self, added: Collection[Published], removed: Collection[Published]) -> None:
        """Publish and withdraw ports in one transaction, in which a port may change its container.

        What is published already, or not, is no error. HostError if the kernel refuses; nothing is changed.
        """
        async with self._lock:
            known = await self._known()
            taken = {(port.map, port.key) for port in added}
            gone = {port for port in known if port in set(removed) or (port.map, port.key) in taken}
            if not gone and not added:
                return
            wanted = (known - gone) | frozenset(added)
            self._serve_loopback(added)
            self._published = None  # until it is known how this ends: the caller's time may be up
            try:
                await self._run("nft", "-f", "-", text=ruleset.change(wanted - (known - gone), gone))
                self._published = wanted
            except HostError:  # the table is not what we know of it: somebody else has been there
                await self._load(wanted)

    async def published(self) -> frozenset[Published]:
        """What the kernel publishes for us; HostError if it does not say."""
        async with self._lock:
            document = await self._document()
            found = ruleset.published_in(document) if document else frozenset()
            # What only the kernel knows can be withdrawn, and what only we know is restored.
            self._published = (self._published or frozenset()) | found
            return found

    async def remove(self) -> None:
        """Remove all rules, the guard's too; for uninstalling. HostError if the kernel refuses."""
        async with self._lock:
            await self._run("nft", "-f", "-", text=ruleset.unload())
            self._published = frozenset()
            for program in IPTABLES:
                if removal := iptables_chain.removal(await self._saved(program)):
                    await self._run(f"{program}-restore", "--noflush", "--wait", "2", text=removal)

    # --- nft ------------------------------------------------------------------------------------------------

    async def _known(self) -> frozenset[Published]:
        """What is published: what we know of it, or, in a new process, what the table has."""
        if self._published is None:
            document = await self._document()
            self._published = ruleset.published_in(document) if document else frozenset()
        return self._published

    async def _load(self, published: frozenset[Published]) -> None:
        bridges = self._bridges.names if self._bridges else frozenset(docker_bridges.present().values())
        await self._run("nft", "-f", "-", text=ruleset.load(published, bridges, responder=self._responder))
        self._published, self._in_set = published, bridges
        self._bridges_changed()
        self._serve_loopback(published)

    async def _document(self) -> str:
        """The table as JSON, or "" if it does not exist."""
        chains = await self._run("nft", "-j", "list", "chains")
        if not ruleset.exists_in(chains):
            return ""
        return await self._run("nft", "-j", "list", "table", "inet", TABLE)

    async def _missing_in_nft(self) -> tuple[str, ...]:
        document = await self._document()
        if not document:
            return (f"nft's table inet {TABLE}",)
        lost = ruleset.missing_in(document)
        unpublished = (self._published or frozenset()) - ruleset.published_in(document)
        return (*lost, *(f"published port {port.key}" for port in sorted(unpublished, key=str)))

    async def _look_at_others(self) -> None:
        """See whether somebody else's table drops what containers send."""
        problems = dict.fromkeys(("inet", "ip", "ip6"), "")
        chains = await self._run("nft", "-j", "list", "chains")
        for chain in ruleset.dropping_in(chains, iptables=bool(self._program("iptables-save"))):
            with contextlib.suppress(HostError):  # it is gone by now
                listing = await self._run("nft", "list", "table", chain.family, chain.table)
                if not chain.mentions_us(listing):
                    problems[chain.family] = chain.problem()
        self._problems |= problems

    # --- iptables -------------------------------------------------------------------------------------------

    async def _saved(self, program: str) -> str:
        """What iptables has in its table filter, or "" if it cannot be used, which is then a problem."""
        self._problems[program] = ""
        if not self._program(f"{program}-save"):
            return ""
        try:
            return await self._run(f"{program}-save", "-t", "filter")
        except HostError as error:
            self._problems[program] = f"{error}: see whether '{program} --version' says nf_tables"
            return ""

    async def _restore_iptables(self, program: str) -> None:
        repair = iptables_chain.repair(await self._saved(program))
        if self._problems[program] or not repair or not self._program(f"{program}-restore"):
            return
        try:
            await self._run(f"{program}-restore", "--noflush", "--wait", "2", text=repair)
        except HostError as error:
            self._problems[program] = str(error)

    # --- What others do -------------------------------------------------------------------------------------

    def _bridges_changed(self) -> None:
        """Docker has made or removed a bridge; takes 50 µs."""
        if self._bridges is None:
            return
        names = self._bridges.names
        try:
            docker_bridges.tell_netfilter(names - self._in_set, self._in_set - names)
            self._in_set = names
        except OSError as error:
            LOG.debug("nft's set of Docker's bridges is not there: %s", error)

    def _removed(self) -> None:
        if self._restoring is None or self._restoring.done():
            self._restoring = asyncio.get_running_loop().create_task(self._restore_lost())

    async def _restore_lost(self) -> None:
        try:
            lost = await self.missing()
            if lost:
                LOG.warning("rules were removed by another program, and are restored: %s", ", ".join(lost))
                await self.restore()
        except HostError as error:
            LOG.warning("the rules that another program removed are not restored: %s", error)

    def _serve_loopback(self, ports: Iterable[Published]) -> None:
        """Let the host's own programs reach ports at 127.0.0.1."""
        for address in {port.ip for port in ports if port.loopback}:
            link = kernel_settings.link_to(address)
            if not link.startswith(ruleset.OPEN.removesuffix("*")):
                continue
            try:
                kernel_settings.route_localnet(link)
            except HostError as error:
                LOG.warning("%s", error)

    # --- Programs -------------------------------------------------------------------------------------------

    def _program(self, name: str) -> str | None:
        """Where a program is; of iptables' the variant on nft will do, as the plugin has it."""
        names = (name, name.replace("tables-", "tables-nft-"))
        return next(filter(None, (shutil.which(each, path=self._path) for each in names)), None)

    async def _run(self, name: str, *arguments: str, text: str = "") -> str:
        """Run a program on a text and return what it prints; HostError with its first words if it fails."""
        program = self._program(name)
        if program is None:
            raise HostError(NO_NFT if name == "nft" else f"the program {name} is missing: type {INSTALL}")
        return await _output(program, arguments, text)


async def _output(program: str, arguments: Sequence[str], text: str) -> str:
    name, pipe = Path(program).name, asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            program, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env={"PATH": PATH, "LC_ALL": "C"}
        )
    except OSError as error:
        raise HostError(f"{name} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(TIME_LIMIT):
            output, errors = await process.communicate(text.encode())
    except TimeoutError:
        raise HostError(f"{name} did not end within {TIME_LIMIT:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise HostError(f"{name} failed: {_reason(errors.decode(errors='replace'))}")
    return output.decode(errors="replace")


def _reason(errors: str) -> str:
    """The first line that a program says, without the place in our own text."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    first = next((line for line in lines if "rror" in line or ":" in line), "it did not say why")
    said = first.split("Error: ")[-1].removeprefix("Could not process rule: ")
    return REASONS.get(said, said)
