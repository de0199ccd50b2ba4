"""The login that the underlay driver is started with: environment, clouds.yaml, a question."""

import getpass
import importlib.util
import sys
from collections.abc import Mapping

from ovn_docker.daemon.underlay_components import Machine
from ovn_docker.errors import ConfigError
from ovn_docker.underlay.neutron import credentials
from ovn_docker.underlay.neutron.credentials import CLOUD, Credentials


def read_machine(environment: Mapping[str, str], bridge: str) -> Machine:
    """This machine's part in a cloud.

    Args:
        environment: as a sourced openrc file leaves it.
        bridge: that the machine's interface is on.

    Raises:
        ConfigError: something is missing or cannot be used, or the libraries are not installed.
    """
    if importlib.util.find_spec("keystoneauth1") is None:
        raise ConfigError(
            "keystoneauth1 is not installed: pip install --require-hashes -r requirements-underlay.lock"
        )
    vif = credentials.vif_id(environment)
    name = environment.get(CLOUD, "").strip()
    login = _from_cloud(name, environment) if name else credentials.from_environment(environment)
    return Machine(_complete(login), vif, bridge)


def _from_cloud(name: str, environment: Mapping[str, str]) -> Credentials:
    from ovn_docker.underlay.neutron import clouds  # noqa: PLC0415  (needs YAML, which an openrc file does not)

    return credentials.from_cloud(name, clouds.read_cloud(name, environment))


def _complete(login: Credentials) -> Credentials:
    """The login with a password, which is asked for on a terminal only."""
    if not login.lacks_password:
        return login
    if not sys.stdin.isatty():
        raise ConfigError(
            "no password is given and there is no terminal to ask for it: set OS_PASSWORD,"
            " or use an application credential"
        )
    return login.with_password(getpass.getpass("OpenStack password: "))
