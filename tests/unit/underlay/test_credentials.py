"""What openrc files and clouds.yaml mean."""

from typing import Any

import pytest

from ovn_docker.errors import ConfigError
from ovn_docker.underlay.neutron.credentials import Credentials, from_cloud, from_environment, vif_id

GUIDE = {
    "OS_AUTH_URL": "http://10.33.75.122:5000/v2.0",
    "OS_TENANT_ID": "fab106b215d943c3bad519492278443d",
    "OS_TENANT_NAME": "demo",
    "OS_USERNAME": "demo",
    "OS_VIF_ID": "e798c371-85f4-4f2d-ad65-d09dd1d3c1c9",
}
SECRET = "hush-hush"  # noqa: S105
APPLICATION = {
    "OS_AUTH_URL": "https://cloud:5000/v3",
    "OS_APPLICATION_CREDENTIAL_ID": "a",
    "OS_APPLICATION_CREDENTIAL_SECRET": SECRET,
}
CLOUD = {"auth": {"auth_url": "https://cloud/identity", "username": "u", "project_name": "p"}}


def test_the_guides_openrc_is_read_as_todays() -> None:
    read = from_environment(GUIDE)
    assert read.auth_type == "password"
    assert dict(read.auth) == {
        "auth_url": "http://10.33.75.122:5000/v3",
        "project_id": "fab106b215d943c3bad519492278443d",
        "project_name": "demo",
        "username": "demo",
        "default_domain_id": "default",
    }
    assert read.lacks_password
    assert not read.with_password(SECRET).lacks_password


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_only_the_version_that_is_gone_is_taken_off_an_address(slashes: str) -> None:
    def url(text: str) -> str:
        return from_environment({**GUIDE, "OS_AUTH_URL": text + slashes}).where

    assert url("http://k:5000/v2.0") == "http://k:5000/v3"
    assert url("http://k:5000") == "http://k:5000"
    assert url("https://k/identity/v3") == "https://k/identity/v3"


def test_domains_that_are_named_are_kept() -> None:
    named = {"OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_ID": "default"}
    auth = from_environment({**GUIDE, **named, "OS_PASSWORD": SECRET}).auth
    assert auth["user_domain_name"] == "Default"
    assert "default_domain_id" not in auth


def test_a_new_name_outweighs_the_old_one() -> None:
    assert from_environment({**GUIDE, "OS_PROJECT_NAME": "new"}).auth["project_name"] == "new"


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({}, "v3applicationcredential"),
        ({"OS_AUTH_TYPE": "v3oidcpassword"}, "v3oidcpassword"),
    ],
)
def test_the_kind_of_login_follows_from_what_is_given(more: dict[str, str], kind: str) -> None:
    read = from_environment({**APPLICATION, **more})
    assert read.auth_type == kind
    assert not read.lacks_password


def test_a_token_is_a_login() -> None:
    read = from_environment({"OS_AUTH_URL": "https://k", "OS_TOKEN": SECRET, "OS_PROJECT_ID": "p"})
    assert (read.auth_type, read.auth["token"]) == ("token", SECRET)


def test_region_interface_and_tls_are_no_part_of_the_login() -> None:
    read = from_environment(
        {
            **APPLICATION,
            "OS_REGION_NAME": "north",
            "OS_INTERFACE": "internalURL",
            "OS_CACERT": "/ca.pem",
            "OS_CERT": "/me.pem",
        }
    )
    assert (read.region, read.interface, read.verify) == ("north", "internal", "/ca.pem")
    assert read.certificate == ("/me.pem", "/me.pem")
    assert set(read.auth) == {"auth_url", "application_credential_id", "application_credential_secret"}
    assert from_environment({**APPLICATION, "OS_INSECURE": "true"}).verify is False


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({}, "OS_AUTH_URL is not set"),
        ({"OS_AUTH_URL": "http://k"}, "the environment at http://k names no user"),
        ({"OS_AUTH_URL": "http://k", "OS_USERNAME": "u"}, "the environment at http://k names no project"),
        ({**APPLICATION, "OS_INTERFACE": "private"}, "OS_INTERFACE 'private' is not one of public"),
    ],
)
def test_what_is_missing_is_named(environment: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        from_environment(environment)


def test_a_cloud_of_clouds_yaml_is_read() -> None:
    cloud: dict[str, Any] = {**CLOUD, "region_name": "north", "verify": False, "interface": "admin"}
    read = from_cloud("mine", cloud)
    assert (read.region, read.verify, read.interface) == ("north", False, "admin")
    assert read.auth["username"] == "u"
    with pytest.raises(ConfigError, match=r"cloud 'mine' of .* has no auth_url"):
        from_cloud("mine", {})


def test_no_secret_is_in_the_text_of_a_login() -> None:
    read: Credentials = from_environment(APPLICATION)
    assert SECRET not in repr(read) + str(read)


@pytest.mark.parametrize("text", ["", "eth0", "e798c371"])
def test_the_machines_port_must_be_an_id(text: str) -> None:
    with pytest.raises(ConfigError, match="OS_VIF_ID"):
        vif_id({"OS_VIF_ID": text})
    assert vif_id(GUIDE) == GUIDE["OS_VIF_ID"]
