"""How the servers that all hosts share are found to fare, on real ones."""

import time
from collections.abc import Callable

import pytest

from ovn_docker.health.reader import look_at_central
from ovn_docker.ovsdb.client import Client
from tests.functional.servers import OvsdbServer, running

pytestmark = pytest.mark.functional

MakeServer = Callable[[str], OvsdbServer]


async def look_at(server: OvsdbServer) -> tuple[bool, float | None, float]:
    client = Client("OVN Northbound", "OVN_Northbound", {})
    client.redirect((server.remote,))
    async with running(client):
        found = await look_at_central(client)
    return found.relay, found.behind, found.seconds


async def test_what_ovn_northd_owes_is_read_from_northbound(northbound: OvsdbServer) -> None:
    assert (await look_at(northbound))[:2] == (False, None)
    now = int(time.time() * 1000)
    row = {"nb_cfg": 2, "nb_cfg_timestamp": now - 60_000, "sb_cfg": 1, "sb_cfg_timestamp": now - 90_000}
    northbound.transact({"op": "insert", "table": "NB_Global", "row": row})
    relay, behind, seconds = await look_at(northbound)
    assert not relay
    assert behind is not None
    assert 59 < behind < 90
    assert 0 < seconds < 10


async def test_a_relay_is_told_from_the_server_behind_it(
    northbound: OvsdbServer, make_server: MakeServer
) -> None:
    relay = make_server("OVN_Northbound")
    relay.kill()
    relay.file = f"relay:OVN_Northbound:{northbound.remote}"  # type: ignore[assignment]
    relay.start()
    assert (await look_at(relay))[0]
