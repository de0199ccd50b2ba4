"""By which names Docker's resolver knows containers, as Docker tells it, and who is on docker_gwbridge."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_docker.docker.dns_names import LABEL, labels, read_askers, read_names
from ovn_docker.errors import HostError

BODIES = Path(__file__).with_name("bodies")
HOSTNAME = "d3b07384d113"


def container(*networks: dict[str, Any] | None, name: str = "/box", hostname: str = HOSTNAME) -> bytes:
    """ContainerInspect, with these networks."""
    on = {f"network-{number}": each for number, each in enumerate(networks)}
    body = {"Name": name, "Config": {"Hostname": hostname}, "NetworkSettings": {"Networks": on}}
    return json.dumps(body).encode()


def endpoint(endpoint_id: str = "e", **fields: list[str] | None) -> dict[str, Any]:
    return {"EndpointID": endpoint_id, **fields}


def names(**fields: Any) -> tuple[str, ...]:  # noqa: ANN401  (fields of an endpoint, or of `container`)
    """Those of a container on one network."""
    of_container = {key: fields.pop(key) for key in ("name", "hostname") if key in fields}
    [found] = read_names(container(endpoint(**fields), **of_container)).values()
    return found


# --- From Docker 25 on --------------------------------------------------------------------------------------


def test_docker_26_tells_the_names_on_each_network() -> None:
    found = read_names(BODIES.joinpath("container-alpha.json").read_bytes())
    assert found == {
        "931900e6ddb620577fffbbec9b09a4ab2bf6c8681df2f3d57dd17d8467f35325": ("alpha", "15561a125ac5"),
        "535fc55b4752e0f3476943b9c9cf3d46f2f9396a14c664f089a9ac4cbe646cf4": ("alpha", "15561a125ac5"),
    }


def test_each_network_has_aliases_of_its_own() -> None:
    body = container(endpoint("e1", DNSNames=["box", "db"]), endpoint("e2", DNSNames=["box", "cache"]))
    assert read_names(body) == {"e1": ("box", "db"), "e2": ("box", "cache")}


def test_the_name_of_the_container_comes_first_and_each_name_once() -> None:
    assert names(DNSNames=["db", HOSTNAME, "box", "db"]) == ("box", "db", HOSTNAME)


def test_what_docker_tells_counts_and_not_what_it_was_told() -> None:
    assert names(DNSNames=["box", "db"], Aliases=["former"], hostname="elsewhere") == ("box", "db")


def test_a_name_in_upper_case_is_one_with_that_in_lower_case() -> None:
    assert names(DNSNames=["Box", "box", "DB"], name="/Box") == ("box", "db")


def test_an_endpoint_that_was_not_joined_has_no_names() -> None:
    assert read_names(container(endpoint("", DNSNames=["box"]), None)) == {}
    assert read_names(BODIES.joinpath("stopped-db.json").read_bytes()) == {}


# --- Before -------------------------------------------------------------------------------------------------


def test_before_docker_25_the_names_are_aliases_and_the_hostname() -> None:
    assert names(Aliases=["db", HOSTNAME], hostname="front") == ("box", "db", HOSTNAME, "front")


@pytest.mark.parametrize("aliases", [None, []])
def test_before_docker_25_a_container_without_aliases_has_its_hostname(aliases: list[str] | None) -> None:
    assert names(Aliases=aliases) == ("box", HOSTNAME)
    assert names(Aliases=aliases, DNSNames=None) == ("box", HOSTNAME)


def test_a_container_that_shares_the_hosts_uts_namespace_has_no_hostname() -> None:
    assert names(hostname="") == ("box",)


# --- Names that are not labels ------------------------------------------------------------------------------


def test_a_name_of_several_labels_is_left_out() -> None:
    task = "web.1.tpwrnlplq1fsk6r6nqtxrdbqg"
    assert names(DNSNames=[task, "web", HOSTNAME], name=f"/{task}") == ("web", HOSTNAME)
    assert names(DNSNames=["box", "db.example.com", "db."]) == ("box",)


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "a\n", "\na", "café", "-a", "a-", "*", "a" * 64, "10.0.0.1"]
)
def test_what_is_no_label_is_left_out(name: str) -> None:
    assert labels([name, "box"]) == ("box",)


@pytest.mark.parametrize("name", ["a", "0", "a_b", "_a", "a--b", "a" * 63])
def test_what_docker_allows_in_a_single_label_stays(name: str) -> None:
    assert labels([name]) == (name,)


@given(st.lists(st.text()))
def test_all_that_is_kept_can_be_stored_and_asked_for(texts: list[str]) -> None:
    kept = labels(texts)
    assert len(set(kept)) == len(kept)
    for name in kept:
        assert LABEL.fullmatch(name)
        assert name == name.lower()
        assert name.isascii()


# --- Who is on docker_gwbridge ------------------------------------------------------------------------------


def bridge(*members: tuple[str, str, str]) -> bytes:
    """NetworkInspect of docker_gwbridge: name, IPv4 and IPv6 address of each member."""
    containers = {
        str(number): {"Name": name, "IPv4Address": ipv4, "IPv6Address": ipv6}
        for number, (name, ipv4, ipv6) in enumerate(members)
    }
    return json.dumps({"Name": "docker_gwbridge", "Containers": containers}).encode()


def test_askers_are_found_by_each_address_without_its_prefix_length() -> None:
    body = bridge(
        ("gateway_fc2ac21230fc", "172.18.0.2/16", "fd00:18::2/64"),
        ("gateway_0123456789ab", "172.18.0.3/16", ""),
    )
    assert read_askers(body) == {
        "172.18.0.2": "fc2ac21230fc",
        "fd00:18::2": "fc2ac21230fc",
        "172.18.0.3": "0123456789ab",
    }


def test_who_was_connected_to_the_bridge_by_hand_is_no_asker() -> None:
    assert read_askers(bridge(("box", "172.18.0.2/16", ""))) == {}


@pytest.mark.parametrize("body", [b'{"Containers": null}', b"{}"])
def test_a_bridge_without_containers_has_no_askers(body: bytes) -> None:
    assert read_askers(body) == {}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"Name": 1}', b'{"Containers": [1]}', b"\xff"])
def test_what_is_no_answer_of_docker_is_an_error(body: bytes) -> None:
    with pytest.raises(HostError, match="cannot be read"):
        read_names(body)
    if b"Name" not in body:
        with pytest.raises(HostError, match="cannot be read"):
            read_askers(body)
