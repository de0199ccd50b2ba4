"""A real Keystone and a real Neutron with ML2/OVN, on the central of a lab.

Neutron's database is PostgreSQL on a unix socket, Keystone's is SQLite, and there is no message queue. All of
it runs in the central's namespaces, so that it goes with the lab.
"""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ovn_docker_lab import Machine
from ovn_docker_lab.processes import Process, alive, send, spawn
from tests.polling import eventually
from tests.underlay.identity import KEYSTONE_PORT, NEUTRON_PORT, Namespace, Project

HERE = Path(__file__).parent
PYTHON = Path(os.environ.get("OVN_DOCKER_OPENSTACK", HERE.parents[1] / ".venv-openstack")) / "bin" / "python"
"""The Python that has Keystone and Neutron; scripts/test makes it."""

START_TIMEOUT = 120
PLUGINS = "ovn-router,trunk"

KEYSTONE_CONF = """\
[DEFAULT]
log_file = {here}/keystone.log
[database]
connection = sqlite:///{here}/keystone.sqlite?timeout=60
[token]
provider = fernet
expiration = {token_seconds}
[fernet_tokens]
key_repository = {here}/fernet
[credential]
key_repository = {here}/credential
[cache]
enabled = true
backend = oslo_cache.dict
[oslo_middleware]
enable_proxy_headers_parsing = true
"""

NEUTRON_CONF = """\
[DEFAULT]
core_plugin = ml2
service_plugins = {plugins}
auth_strategy = keystone
api_paste_config = {here}/api-paste.ini
state_path = {here}/state
transport_url = fake://
rpc_workers = 0
rpc_state_report_workers = 0
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
log_file = {here}/neutron.log
[database]
connection = {database}
[oslo_concurrency]
lock_path = {here}/state
[oslo_messaging_notifications]
driver = noop
[ml2]
mechanism_drivers = ovn
type_drivers = local,flat,vlan,geneve
tenant_network_types = geneve
extension_drivers = port_security
[ml2_type_geneve]
vni_ranges = 1:65536
max_header_size = 38
[ovn]
ovn_nb_connection = unix:/run/ovn/ovnnb_db.sock
ovn_sb_connection = unix:/run/ovn/ovnsb_db.sock
[keystone_authtoken]
www_authenticate_uri = {auth_url}
auth_url = {auth_url}
auth_type = password
username = neutron
password = neutron-secret
project_name = service
user_domain_id = default
project_domain_id = default
"""


class OpenStack:
    """Keystone and Neutron of a lab.

    Attributes:
        auth_url: of Keystone, as the machines of the lab reach it.
    """

    def __init__(self, central: Machine, token_seconds: int = 3600) -> None:
        self._central = central
        self._here = central.paths.lab_directory / "openstack"
        self._token_seconds = token_seconds
        self._processes: dict[str, Process] = {}
        self._namespace = Namespace(central)
        self.auth_url = f"http://{central.address}:{KEYSTONE_PORT}/v3"

    def start(self) -> None:
        """Install and start all of it; about half a minute."""
        self._here.mkdir(mode=0o755)
        (self._here / "state").mkdir()
        self._start_database()
        self._configure()
        self._run(str(PYTHON), "-P", str(HERE / "make_schema.py"), self._database)
        neutron_conf = f"--config-file={self._here}/neutron.conf"
        self._run(str(PYTHON.with_name("neutron-db-manage")), neutron_conf, "stamp", "heads")
        self._bootstrap_keystone()
        self._serve("keystone", KEYSTONE_PORT)
        self.admin().seed_identity(f"http://{self._central.address}:{NEUTRON_PORT}")
        self.start_neutron()
        self.operator().seed_network()

    @property
    def namespace(self) -> Namespace:
        """Where Keystone and Neutron are reached."""
        return self._namespace

    def renew_keys(self) -> None:
        """Make every token worthless that was ever given."""
        self._kill("keystone")
        shutil.rmtree(self._here / "fernet")
        (self._here / "fernet").mkdir(mode=0o700)
        manage = (str(PYTHON.with_name("keystone-manage")), f"--config-file={self._here}/keystone.conf")
        self._run(*manage, "fernet_setup", "--keystone-user=root", "--keystone-group=root")
        self._serve("keystone", KEYSTONE_PORT)

    def admin(self) -> Project:
        """Who made Keystone."""
        return self.project("admin", "admin", "admin-secret")

    def project(self, name: str, user: str, password: str) -> Project:
        """A user's view of a project."""
        return Project(self._namespace, self.auth_url, name, user, password)

    def operator(self) -> Project:
        """Who may do everything; plays nova."""
        return self.project("service", "neutron", "neutron-secret")

    def demo(self) -> Project:
        """An ordinary tenant."""
        return self.project("demo", "demo", "demo-secret")

    def agent(self) -> Project:
        """Another user of the same tenant, who may write binding:profile."""
        return self.project("demo", "agent", "agent-secret")

    def other(self) -> Project:
        """Another one."""
        return self.project("other", "other", "other-secret")

    def start_neutron(self, plugins: str = PLUGINS) -> None:
        """Start Neutron, with those service plugins, and wait until it answers."""
        self._configure(plugins)
        self._serve("neutron", NEUTRON_PORT)

    def kill_neutron(self) -> None:
        """End Neutron at once; it swallows SIGTERM."""
        self._kill("neutron")

    def freeze_neutron(self, *, frozen: bool) -> None:
        """Let Neutron take connections and answer nothing, or go on."""
        send(self._processes["neutron"], signal.SIGSTOP if frozen else signal.SIGCONT)

    def stop(self) -> None:
        """End all of it."""
        for name in list(self._processes):
            self._kill(name)
        with contextlib.suppress(subprocess.SubprocessError):
            self._postgres("pg_ctl", "-D", f"{self._here}/pg/data", "-m", "immediate", "stop")
        self._namespace.close()

    def _kill(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            send(process, signal.SIGKILL)
            eventually(lambda: not alive(process), 10, f"{name} has ended")

    def _serve(self, which: str, port: int) -> None:
        address = str(self._central.address)
        command = [str(PYTHON), "-P", str(HERE / "serve_api.py"), which, str(self._here), address, str(port)]
        log = self._here / f"{which}.out"
        self._processes[which] = process = spawn(self._central.enter(command), log, self._environment())

        def answers() -> bool:
            assert alive(process), f"{which} has ended: {log.read_text()[-2000:]}"
            return self._namespace.run(lambda: _answers(address, port))

        eventually(answers, START_TIMEOUT, f"{which} answers")

    def _environment(self) -> dict[str, str]:
        return self._central.environment() | {"PYTHONWARNINGS": "ignore", "LC_ALL": "C.UTF-8"}

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            self._central.enter(command),
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise subprocess.SubprocessError(f"{command[:3]}: {done.stderr[-2000:]}")
        return done.stdout

    # --- What is configured once ----------------------------------------------------------------------------

    @property
    def _database(self) -> str:
        return f"postgresql+psycopg2://postgres@/neutron?host={self._here}/pg"

    def _postgres(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root.
        user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
        self._run(*user, str(_postgres_directory() / program), *arguments)

    def _start_database(self) -> None:
        directory = self._here / "pg"
        directory.mkdir()
        shutil.chown(directory, "postgres", "postgres")
        data = str(directory / "data")
        self._postgres("initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(directory),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "dynamic_shared_memory_type": "mmap",
        }
        with (directory / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{key} = '{value}'\n" for key, value in settings.items())
        self._postgres("pg_ctl", "-D", data, "-l", f"{directory}/log", "-w", "start")
        self._postgres("createdb", "-h", str(directory), "-U", "postgres", "neutron")

    def _configure(self, plugins: str = PLUGINS) -> None:
        values = {"here": self._here, "auth_url": self.auth_url, "database": self._database}
        values["plugins"] = plugins
        values["token_seconds"] = self._token_seconds
        (self._here / "keystone.conf").write_text(KEYSTONE_CONF.format(**values))
        (self._here / "neutron.conf").write_text(NEUTRON_CONF.format(**values))
        shutil.copy(PYTHON.parents[1] / "etc" / "neutron" / "api-paste.ini", self._here)

    def _bootstrap_keystone(self) -> None:
        for keys in ("fernet", "credential"):
            (self._here / keys).mkdir(mode=0o700)
        manage = (str(PYTHON.with_name("keystone-manage")), f"--config-file={self._here}/keystone.conf")
        self._run(*manage, "db_sync")
        for keys in ("fernet_setup", "credential_setup"):
            self._run(*manage, keys, "--keystone-user=root", "--keystone-group=root")
        urls = [
            f"--bootstrap-{interface}-url={self.auth_url}" for interface in ("admin", "internal", "public")
        ]
        self._run(
            *manage,
            "bootstrap",
            "--bootstrap-password=admin-secret",
            *urls,
            "--bootstrap-region-id=RegionOne",
        )


def _postgres_directory() -> Path:
    found: Sequence[Path] = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert found, "PostgreSQL is not installed: run scripts/test underlay"
    return found[-1]


def _answers(address: str, port: int) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except (TimeoutError, OSError):
        return False
    finally:
        connection.close()
