"""OpenStack as its users see it, past the code under test; requests go out from the central's namespace."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from keystoneauth1 import session
from keystoneauth1.identity import v3

from ovn_docker_lab import Machine

KEYSTONE_PORT, NEUTRON_PORT = 5000, 9696
CLONE_NEWNET = 0x40000000

T = TypeVar("T")

USERS = (
    ("neutron", "neutron-secret", "service", ("admin", "service")),
    ("demo", "demo-secret", "demo", ("member",)),
    ("other", "other-secret", "other", ("member",)),
    ("agent", "agent-secret", "demo", ("member", "service")),
)
"""User, password, project and roles; the name of an ordinary tenant's project is its own."""


class Namespace:
    """A thread in the network namespace of a machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._thread: ThreadPoolExecutor | None = None

    def run(self, work: Callable[[], T]) -> T:
        """Do this there."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "namespace", self._enter)
        return self._thread.submit(work).result(120)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown()

    def _enter(self) -> None:
        pid = self._machine.run(["sh", "-c", "echo $PPID"]).stdout.strip()
        pid = self._machine.enter([])[1].partition("=")[2] or pid
        descriptor = os.open(Path("/proc", pid, "ns", "net"), os.O_RDONLY)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(descriptor, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(descriptor)


class RefusedError(AssertionError):
    """OpenStack answered with an error."""


class Project:
    """A project as one of its users sees it."""

    def __init__(self, namespace: Namespace, auth_url: str, project: str, user: str, password: str) -> None:
        self._namespace = namespace
        self._auth = auth = v3.Password(
            auth_url,
            username=user,
            password=password,
            project_name=project,
            user_domain_id="default",
            project_domain_id="default",
        )
        self._session = session.Session(auth=auth, timeout=60)
        self.user, self.password, self.name = user, password, project

    def call(self, service: str, method: str, path: str, body: object = None, **query: str) -> Any:  # noqa: ANN401
        """One request; what it answers."""

        def work() -> Any:  # noqa: ANN401
            return self._session.request(
                path,
                method,
                endpoint_filter={"service_type": service, "interface": "public"},
                params=query,
                json=body,
                raise_exc=False,
            )

        reply = self._namespace.run(work)
        if reply.status_code >= 400:
            raise RefusedError(f"{method} {path}: {reply.status_code} {reply.text}")
        return reply.json() if reply.content else {}

    def login(self) -> tuple[str, str, str]:
        """A token, the id of its user and the id of its project."""

        def work() -> tuple[str, str, str]:
            access = self._auth.get_access(self._session)
            return str(access.auth_token), str(access.user_id), str(access.project_id)

        return self._namespace.run(work)

    def list(self, kind: str, **query: str) -> list[dict[str, Any]]:
        """Neutron's resources of a kind, as ``ports``."""
        found: list[dict[str, Any]] = self.call("network", "GET", f"/v2.0/{kind}", **query)[_key(kind)]
        return found

    def get(self, kind: str, resource: str) -> dict[str, Any]:
        """One resource, by its id."""
        found: dict[str, Any] = self.call("network", "GET", f"/v2.0/{kind}/{resource}")[_key(kind)[:-1]]
        return found

    def create(self, kind: str, **attributes: object) -> dict[str, Any]:
        """Make one."""
        name = _key(kind)[:-1]
        made: dict[str, Any] = self.call("network", "POST", f"/v2.0/{kind}", {name: attributes})[name]
        return made

    def update(self, kind: str, resource: str, **attributes: object) -> None:
        """Change one."""
        self.call("network", "PUT", f"/v2.0/{kind}/{resource}", {_key(kind)[:-1]: attributes})

    def delete(self, kind: str, resource: str) -> None:
        """Remove one."""
        self.call("network", "DELETE", f"/v2.0/{kind}/{resource}")

    @contextlib.contextmanager
    def network(self, cidr: str, **subnet: object) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """A network with a subnet, for a while."""
        network = self.create("networks", name=f"net-{cidr.replace('/', '-')}")
        version = 6 if ":" in cidr else 4
        try:
            made = self.create(
                "subnets",
                network_id=network["id"],
                cidr=cidr,
                ip_version=version,
                name=f"sub-{cidr.replace('/', '-')}",
                **subnet,
            )
            yield network, made
        finally:
            for port in self.list("ports", network_id=network["id"]):
                with contextlib.suppress(RefusedError):
                    self.delete("ports", port["id"])
            self.delete("networks", network["id"])

    # --- What a cloud's operator does once ------------------------------------------------------------------

    def seed_identity(self, neutron_url: str) -> None:
        """Put Neutron into Keystone's catalogue, and make the projects and users of the tests."""

        def post(path: str, key: str, **attributes: object) -> str:
            made = self.call("identity", "POST", f"/{path}", {key: attributes})[key]
            return str(made["id"])

        service = post("services", "service", name="neutron", type="network")
        post(
            "endpoints",
            "endpoint",
            service_id=service,
            interface="public",
            region_id="RegionOne",
            url=neutron_url,
        )
        roles = {role["name"]: role["id"] for role in self.call("identity", "GET", "/roles")["roles"]}
        projects = {
            name: post("projects", "project", name=name, domain_id="default")
            for name in ("service", "demo", "other")
        }
        for name, password, project, granted in USERS:
            user = post("users", "user", name=name, password=password, domain_id="default")
            for role in granted:
                path = f"/projects/{projects[project]}/users/{user}/roles/{roles[role]}"
                self.call("identity", "PUT", path)

    def seed_network(self) -> None:
        """The rules of default security groups, which a migration would have made."""
        if self.list("default-security-group-rules"):
            return
        for family in ("IPv4", "IPv6"):
            for direction, group in (("ingress", "PARENT"), ("egress", None)):
                self.create(
                    "default-security-group-rules",
                    direction=direction,
                    ethertype=family,
                    remote_group_id=group,
                    used_in_default_sg=True,
                    used_in_non_default_sg=direction == "egress",
                )


def _key(kind: str) -> str:
    return kind.replace("-", "_")
