"""Reads clouds.yaml and secure.yaml: where they are looked for, and one cloud's entry. The only door to YAML.

Knows nothing of what an entry means; that is credentials.py's.

Source: openstacksdk "Configuring OpenStack SDK applications", "Config Files" and "Splitting Secrets".
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ovn_docker.errors import ConfigError

CONFIG_FILE, SECURE_FILE = "OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"
SYSTEM_DIRECTORY = Path("/etc/openstack")


def read_cloud(name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The entry of a cloud, with its secrets.

    Raises:
        ConfigError: there is no such entry, or a file cannot be read.
    """
    named = environment.get(CONFIG_FILE)
    files = [Path(named)] if named else _candidates("clouds", environment)
    config = next((each for each in files if each.is_file()), None)
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
    secret = next((_clouds(each).get(name) for each in secrets if each.is_file()), None)
    return _merged(_mapping(clouds[name]), _mapping(secret))


def _candidates(stem: str, environment: Mapping[str, str]) -> Sequence[Path]:
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/root"), ".config"))
    directories = (Path.cwd(), home / "openstack", SYSTEM_DIRECTORY)
    return [directory / f"{stem}{suffix}" for directory in directories for suffix in (".yaml", ".yml")]


def _clouds(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError):
        # The parser's own text would show a part of the file.
        raise ConfigError(f"{file} is not valid YAML") from None
    return _mapping(_mapping(content).get("clouds"))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping with the other laid over it, at every depth."""
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _merged(_mapping(merged.get(key)), value) if isinstance(value, dict) else value
    return merged
