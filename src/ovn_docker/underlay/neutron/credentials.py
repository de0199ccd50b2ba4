"""The login to OpenStack, from an openrc file's environment or from clouds.yaml.

No secret is in the text of any value here, nor of any error. Source: keystoneauth "Identity plugins",
openstacksdk "Configuring OpenStack SDK applications".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from ovn_docker.errors import ConfigError

VIF, CLOUD = "OS_VIF_ID", "OS_CLOUD"

PASSWORD, APPLICATION_CREDENTIAL, TOKEN = "password", "v3applicationcredential", "token"
"""Names of keystoneauth's login plugins."""

INTERFACES = ("public", "internal", "admin")

_OLD_NAMES = {"tenant_id": "project_id", "tenant_name": "project_name"}
"""Keystone v2 said tenant where Keystone v3 says project."""

_NOT_LOGIN = frozenset(
    {
        *("auth_type", "region_name", "interface", "endpoint_type", "cacert", "cert", "key", "insecure"),
        *("vif_id", "cloud", "identity_api_version", "client_config_file", "client_secure_file"),
    }
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login.

    Attributes:
        auth_type: the name of keystoneauth's plugin.
        auth: the plugin's options; holds secrets.
        region: of Neutron in the catalogue, or None for the only one.
        verify: whether servers' certificates are checked, or the path of the CA bundle.
        certificate: the client's certificate and key, or None.
    """

    auth_type: str
    auth: Mapping[str, str] = field(repr=False)
    region: str | None = None
    interface: str = "public"
    verify: bool | str = True
    certificate: tuple[str, str] | None = None

    @property
    def lacks_password(self) -> bool:
        """Whether the user has to be asked for the password."""
        return self.auth_type.removeprefix("v3") == PASSWORD and not self.auth.get("password")

    def with_password(self, password: str) -> "Credentials":
        return replace(self, auth={**self.auth, "password": password})

    @property
    def where(self) -> str:
        """Keystone's address."""
        return self.auth.get("auth_url", "")


def from_environment(environment: Mapping[str, str]) -> Credentials:
    """The login that a sourced openrc file gives."""
    given = {
        name.removeprefix("OS_").lower(): value.strip()
        for name, value in environment.items()
        if name.startswith("OS_") and value.strip()
    }
    auth = {key: value for key, value in given.items() if key not in _NOT_LOGIN}
    if "auth_url" not in auth:
        raise ConfigError("OS_AUTH_URL is not set: source the openrc file of your project, or set OS_CLOUD")
    return _credentials(auth, given, f"the environment at {auth['auth_url']}")


def from_cloud(name: str, cloud: Mapping[str, Any]) -> Credentials:
    """The login that an entry of clouds.yaml gives."""
    auth = cloud.get("auth")
    if not isinstance(auth, Mapping) or "auth_url" not in auth:
        raise ConfigError(f"cloud '{name}' of clouds.yaml has no auth_url below 'auth'")
    texts = {str(key): str(value) for key, value in auth.items() if value is not None}
    settings = {str(key): str(value) for key, value in cloud.items() if not isinstance(value, Mapping)}
    if settings.get("verify", "true").lower() in {"false", "0", "no"}:
        settings["insecure"] = "true"
    settings["region_name"] = settings.get("region_name", "")
    return _credentials(texts, settings, f"cloud '{name}'")


def _credentials(auth: Mapping[str, str], settings: Mapping[str, str], source: str) -> Credentials:
    auth = {_OLD_NAMES.get(key, key): value for key, value in sorted(auth.items(), reverse=True)}
    auth["auth_url"] = current_url(auth["auth_url"])
    auth_type = settings.get("auth_type") or _guess(auth)
    if auth_type.removeprefix("v3") == PASSWORD:
        _check_user(auth, source)
        if not _names_a_domain(auth):
            auth |= {"default_domain_id": "default"}
    certificate = settings.get("cert")
    return Credentials(
        auth_type=auth_type,
        auth=auth,
        region=settings.get("region_name") or None,
        interface=_interface(settings.get("interface") or settings.get("endpoint_type") or "public"),
        verify=_verify(settings),
        certificate=(certificate, settings.get("key", certificate)) if certificate else None,
    )


def current_url(url: str) -> str:
    """The address of Keystone's v3 API; v2.0, which old files name, was removed in 2018 (Queens)."""
    return re.sub(r"/v2\.0/*$", "/v3", url).rstrip("/")


def _guess(auth: Mapping[str, str]) -> str:
    if "application_credential_id" in auth or "application_credential_name" in auth:
        return APPLICATION_CREDENTIAL
    return TOKEN if "token" in auth else PASSWORD


def _check_user(auth: Mapping[str, str], source: str) -> None:
    if "username" not in auth and "user_id" not in auth:
        raise ConfigError(f"{source} names no user: set OS_USERNAME, or OS_APPLICATION_CREDENTIAL_ID")
    if not {"project_id", "project_name", "trust_id"} & set(auth):
        raise ConfigError(f"{source} names no project: set OS_PROJECT_ID or OS_PROJECT_NAME")


def _names_a_domain(auth: Mapping[str, str]) -> bool:
    user = "user_id" in auth or any(key.startswith("user_domain_") for key in auth)
    project = "project_id" in auth or any(key.startswith("project_domain_") for key in auth)
    return (user and project) or any(key.startswith("default_domain_") for key in auth)


def _interface(text: str) -> str:
    name = text.removesuffix("URL")
    if name not in INTERFACES:
        raise ConfigError(f"OS_INTERFACE '{text}' is not one of {', '.join(INTERFACES)}")
    return name


def _verify(settings: Mapping[str, str]) -> bool | str:
    if settings.get("insecure", "").lower() in {"true", "1", "yes"}:
        return False
    return settings.get("cacert") or True


def vif_id(environment: Mapping[str, str]) -> str:
    """The id of the Neutron port whose interface carries the containers' traffic."""
    text = environment.get(VIF, "").strip()
    if not text:
        raise ConfigError(
            "OS_VIF_ID is not set: set it to the id of this machine's Neutron port,"
            " which 'openstack port list --server SERVER' shows"
        )
    try:
        return str(UUID(text))
    except ValueError:
        raise ConfigError(f"OS_VIF_ID '{text}' is not a valid id of a Neutron port") from None


# ------------------------------------------------------------------------------------------------------------
# Reads one cloud's entry of clouds.yaml and secure.yaml; the only importer of YAML. Source: openstacksdk
# "Configuring OpenStack SDK applications", "Config Files" and "Splitting Secrets".


CONFIG_FILE, SECURE_FILE = "OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"
SYSTEM_DIRECTORY = Path("/etc/openstack")


def read_cloud(name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The entry of a cloud, with its secrets."""
    named = environment.get(CONFIG_FILE)
    files = [Path(named)] if named else _candidates("clouds", environment)
    config = next((file for file in files if file.is_file()), None)
    if config is None:
        raise ConfigError(
            f"OS_CLOUD is '{name}', but there is no clouds.yaml: looked for {', '.join(map(str, files))}"
        )
    clouds = _clouds(config)
    if name not in clouds:
        raise ConfigError(f"{config} has no cloud '{name}': it has {', '.join(sorted(clouds)) or 'none'}")
    secure = environment.get(SECURE_FILE)
    secrets = (
        [Path(secure)] if secure else [config.with_name("secure.yaml"), *_candidates("secure", environment)]
    )
    secret = next((_clouds(file).get(name) for file in secrets if file.is_file()), None)
    return _merged(_mapping(clouds[name]), _mapping(secret))


def _candidates(stem: str, environment: Mapping[str, str]) -> Sequence[Path]:
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/root"), ".config"))
    directories = (Path.cwd(), home / "openstack", SYSTEM_DIRECTORY)
    return [directory / f"{stem}{suffix}" for directory in directories for suffix in (".yaml", ".yml")]


def _clouds(file: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415  (the overlay's driver runs without PyYAML)

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError):
        # The parser's own text would quote the file.
        raise ConfigError(f"{file} is not valid YAML") from None
    return _mapping(_mapping(content).get("clouds"))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping updated with the other, at every depth."""
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _merged(_mapping(merged.get(key)), value) if isinstance(value, dict) else value
    return merged
