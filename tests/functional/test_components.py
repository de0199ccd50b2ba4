"""Which host the parts of a driver are of."""

import argparse

import pytest

from ovn_docker import settings as config
from ovn_docker.daemon.components import Host, assemble, running
from ovn_docker.docker.engine import Engine
from ovn_docker.host import open_vswitch
from ovn_docker.host.veth import Links
from ovn_docker.ovsdb.client import Client
from ovn_docker.settings import Settings

pytestmark = pytest.mark.functional


def settings() -> Settings:
    flags = argparse.ArgumentParser()
    config.add_inspection_arguments(flags)
    return config.read_inspection(
        flags.parse_args(["--ovsdb=unix:/nowhere/db", "--docker-socket=/nowhere/d"])
    )


async def test_a_driver_uses_the_host_that_it_is_handed() -> None:
    ovs = Client("Open vSwitch", "Open_vSwitch", open_vswitch.WATCHES)
    host = Host(ovs=ovs, links=Links(), engine=Engine("unix:///elsewhere", None))
    parts = assemble(settings(), dict, host)
    async with running(parts):
        assert (parts.ovs, parts.links, parts.engine) == (host.ovs, host.links, host.engine)
        assert "not known yet" in parts.ovs.outage()


async def test_a_driver_uses_this_host_where_it_is_handed_none() -> None:
    parts = assemble(settings(), dict)
    async with running(parts):
        assert [str(each) for each in parts.ovs.remotes] == ["unix:/nowhere/db"]
        assert parts.engine.path == "/nowhere/d"
