"""Login and requests over real HTTP."""

import contextlib
import logging
import time
from collections.abc import AsyncIterator

import pytest

from ovn_docker.errors import NeutronError, UnreachableError
from ovn_docker.underlay.neutron.credentials import from_environment
from ovn_docker.underlay.neutron.neutron_client import Neutron
from tests.functional.underlay.openstack import SmallOpenStack

pytestmark = pytest.mark.functional

SECRET = "hush-hush"  # noqa: S105


@pytest.fixture
async def openstack() -> AsyncIterator[SmallOpenStack]:
    async with SmallOpenStack().serve() as small:
        yield small


@contextlib.asynccontextmanager
async def client(openstack: SmallOpenStack, seconds: float = 8, **more: str) -> AsyncIterator[Neutron]:
    environment = {
        "OS_AUTH_URL": f"{openstack.url}/v2.0",
        "OS_TENANT_NAME": "p",
        "OS_USERNAME": "u",
        "OS_PASSWORD": SECRET,
        **more,
    }
    neutron = Neutron(from_environment(environment), seconds)
    try:
        yield neutron
    finally:
        await neutron.close()


async def test_one_login_serves_all_requests(openstack: SmallOpenStack) -> None:
    async with client(openstack) as neutron:
        assert await neutron.get("networks", {"name": "x", "fields": ["id", "name"]}) == {"networks": []}
        await neutron.post("ports", {"port": {}})
        assert neutron.answers()
    assert len(openstack.logins) == 1
    assert [request[:2] for request in openstack.requests] == [
        ("GET", "v2.0/networks"),
        ("POST", "v2.0/ports"),
    ]


async def test_the_project_is_known_from_the_login(openstack: SmallOpenStack) -> None:
    async with client(openstack) as neutron:
        assert await neutron.project() == "p"
        await neutron.get("networks")
    assert len(openstack.logins) == 1


async def test_a_token_that_has_expired_is_renewed(openstack: SmallOpenStack) -> None:
    async with client(openstack) as neutron:
        await neutron.get("networks")
        openstack.tokens.clear()
        await neutron.get("networks")
    assert len(openstack.logins) == 2


async def test_a_refusal_is_reported_in_neutrons_words(openstack: SmallOpenStack) -> None:
    error = {"type": "OverQuota", "message": "Quota exceeded\nfor ports.", "detail": ""}
    openstack.answer = lambda *_: (409, {"NeutronError": error})
    async with client(openstack) as neutron:
        with pytest.raises(NeutronError, match=r"^Neutron refused: Quota exceeded for ports\.$") as caught:
            await neutron.post("ports", {})
        assert (caught.value.status, caught.value.kind) == (409, "OverQuota")
        assert neutron.answers()


async def test_deleting_what_is_gone_succeeds(openstack: SmallOpenStack) -> None:
    openstack.answer = lambda *_: (404, {"NeutronError": {"type": "PortNotFound", "message": "gone"}})
    async with client(openstack) as neutron:
        await neutron.delete("ports/x")


async def test_a_neutron_that_is_broken_or_slow_is_an_outage_until_it_answers(
    openstack: SmallOpenStack,
) -> None:
    back: list[str] = []
    async with client(openstack, seconds=0.5) as neutron:
        neutron.when_connected(lambda: back.append("back"))
        openstack.answer = lambda *_: (500, None)
        with pytest.raises(UnreachableError, match="it answered GET networks with 500"):
            await neutron.get("networks")
        assert neutron.outage()
        openstack.answer = lambda *_: (200, {})
        openstack.hang = 3
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=r"OpenStack did not answer within 0\.5 s"):
            await neutron.get("networks")
        assert time.monotonic() - began < 2
        openstack.hang = 0
        await neutron.get("networks")
        assert (neutron.outage(), back) == ("", ["back"])


async def test_a_page_of_a_proxy_in_neutrons_place_is_an_outage(openstack: SmallOpenStack) -> None:
    openstack.answer = lambda *_: (200, "<html>for maintenance</html>")
    async with client(openstack) as neutron:
        with pytest.raises(UnreachableError, match="it answered GET ports with 200 and no JSON"):
            await neutron.get("ports")
        assert not neutron.answers()
        await neutron.delete("ports/x")


@pytest.mark.parametrize(
    ("status", "text"), [(401, "refused the login"), (503, "answered the login with 503")]
)
async def test_a_login_that_fails_says_why(openstack: SmallOpenStack, status: int, text: str) -> None:
    openstack.keystone_status = status
    async with client(openstack) as neutron:
        with pytest.raises((NeutronError, UnreachableError), match=text):
            await neutron.get("networks")


async def test_an_unreachable_keystone_is_named_by_its_address(openstack: SmallOpenStack) -> None:
    async with client(openstack, OS_AUTH_URL="http://127.0.0.1:1/v3") as neutron:
        with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:1"):
            await neutron.get("networks")


async def test_a_region_without_neutron_is_named(openstack: SmallOpenStack) -> None:
    async with client(openstack, OS_REGION_NAME="moon") as neutron:
        with pytest.raises(NeutronError, match="no public address of Neutron in region moon"):
            await neutron.get("networks")


async def test_no_log_holds_a_secret(openstack: SmallOpenStack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with client(openstack) as neutron:
        await neutron.get("networks")
        openstack.tokens.clear()
        await neutron.get("networks")
    assert SECRET not in caplog.text
    assert "token-" not in caplog.text
