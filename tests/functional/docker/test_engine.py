"""What is said of a Docker that is absent, is none, hangs, or stops in the middle of an answer."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ovn_docker.docker.engine import Engine
from ovn_docker.errors import HostError, NotFoundError, OvnDockerError, UnreachableError

pytestmark = pytest.mark.functional

PATIENCE = 0.5
PING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nApi-Version: 1.45\r\nContent-Length: 2\r\n\r\nOK"
NETWORKS = [{"Id": "n1", "Name": "one", "Driver": "openvswitch"}, {"Id": "n2", "Name": "two", "Driver": "x"}]

Answer = Callable[[str], bytes | None]
"""From a path to all that is answered; None to be silent."""


def reply(content: object, status: str = "200 OK", more: str = "") -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return (
        f"HTTP/1.1 {status}\r\nConnection: close\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )


def docker(path: str) -> bytes | None:
    """A Docker with two networks and no container."""
    if path == "/_ping":
        return PING
    pages: dict[str, object] = {"/v1.45/networks": NETWORKS, "/v1.45/containers/json": []}
    pages |= {f"/v1.45/networks/{network['Id']}": network for network in NETWORKS}
    return reply(pages[path]) if path in pages else reply({"message": "no such thing"}, "404 Not Found")


def but(path: str, answer: bytes | None) -> Answer:
    """The same, with another answer to one path."""
    return lambda page: answer if page == path else docker(page)


@contextlib.asynccontextmanager
async def serving(path: Path, answer: Answer, patience: float = PATIENCE) -> AsyncIterator[Engine]:
    """A server whose connections end with their first answer, and an engine that asks it."""
    silence = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            said = answer(head.split()[1].partition("?")[0])
            if said is None:
                await silence.wait()
            else:
                writer.write(said)
                await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    engine = Engine(f"unix://{path}", None, patience)
    try:
        yield engine
    finally:
        silence.set()
        await engine.close()
        server.close()
        await server.wait_closed()


@pytest.fixture
def path(short_path: Path) -> Path:
    return short_path / "docker.sock"


async def refusal(engine: Engine) -> OvnDockerError:
    """Why nothing can be read."""
    with pytest.raises(OvnDockerError) as caught:
        await engine.read()
    assert "\n" not in str(caught.value)
    return caught.value


async def test_a_docker_that_answers_is_read(path: Path) -> None:
    async with serving(path, docker) as engine:
        state = await engine.read()
        assert {network.name for network in state.networks.values()} == {"one", "two"}
        assert await engine.network_ids() == {"n1": "openvswitch", "n2": "x"}


NODE = {"Description": {"Hostname": "h1", "Engine": {"Plugins": [{"Type": "Network", "Name": "ovn:latest"}]}}}
PLUGIN = {
    "Name": "ovn:latest",
    "Enabled": True,
    "Config": {"Interface": {"Types": ["docker.networkdriver/1.0"]}},
}


def node_of_a_swarm(role: str, nodes: bytes | None) -> Answer:
    """A Docker that is one, and what it answers when it is asked for all."""
    special = {
        "/_ping": PING.replace(b"Content", f"Swarm: active/{role}\r\nContent".encode()),
        "/v1.45/plugins": reply([PLUGIN]),
        "/v1.45/nodes": nodes,
    }
    return lambda page: special[page] if page in special else docker(page)


async def test_a_manager_says_the_nodes_and_a_worker_is_not_asked(path: Path) -> None:
    for role, names in (("manager", ["h1"]), ("worker", [])):
        async with serving(path, node_of_a_swarm(role, reply([NODE]))) as engine:
            found = (await engine.read()).swarm
            assert found is not None
            assert found.plugins == {"ovn:latest": True}
            assert [node.name for node in found.nodes] == names
    async with serving(path, docker) as engine:
        assert (await engine.read()).swarm is None


@pytest.mark.parametrize("answer", [reply({"message": "The swarm does not have a leader"}, "500 Oops"), None])
async def test_a_swarm_without_a_leader_is_read_without_its_nodes(path: Path, answer: bytes | None) -> None:
    async with serving(path, node_of_a_swarm("manager", answer)) as engine:
        state = await engine.read()
        assert len(state.networks) == 2
        assert state.swarm is not None
        assert state.swarm.nodes == ()


async def test_what_only_a_manager_knows_of_is_elsewhere(path: Path) -> None:
    known = NETWORKS[0] | {"Scope": "swarm", "Containers": None}
    async with serving(path, but("/v1.45/networks/n1", reply(known))) as engine:
        state = await engine.read()
        assert (list(state.networks), list(state.elsewhere)) == (["n2"], ["n1"])


async def test_an_absent_socket_is_named_with_what_to_do(path: Path) -> None:
    engine = Engine(f"unix://{path}", None, PATIENCE)
    error = await refusal(engine)
    assert isinstance(error, UnreachableError)
    assert str(error).startswith(f"Docker cannot be reached at {path}: No such file or directory: ")
    assert "--docker-socket" in str(error)
    path.write_text("no socket")
    assert "Connection refused" in str(await refusal(engine))
    await engine.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (reply("hello"), "is not Docker: its answer has no Api-Version header"),
        (
            reply("hello", more="Api-Version: newest\r\n"),
            "is not Docker: its answer has no Api-Version header",
        ),
        (reply("hello", "500 Oops"), "is not Docker: its answer has no Api-Version header"),
        (b"220 mail.example.org ESMTP\r\n", "Docker cannot be reached at"),
        (b"", "Docker cannot be reached at"),
        (b"\x00\xff" * 100, "Docker cannot be reached at"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, "Docker cannot be reached at"),
        (reply("", "302 Found", "Location: http://docker/_ping\r\n"), "Docker cannot be reached at"),
        (None, "it does not answer"),
    ],
)
async def test_a_socket_that_is_not_docker_s_is_told(path: Path, answer: bytes | None, says: str) -> None:
    async with serving(path, lambda _: answer) as engine:
        assert says in str(await refusal(engine))


@pytest.mark.parametrize(
    "page", ["/v1.45/containers/json", "/v1.45/networks", "/v1.45/networks/n1", "/v1.45/networks/n2"]
)
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[{\r\n",
        b"HTTP/1.1 200",
        b"",
        reply(b"\xff"),
        reply({"message": "not now"}, "500 Internal Server Error"),
        reply({"message": "not now"}, "503 Service Unavailable"),
        reply({"Id": 7}),
        None,
    ],
)
async def test_an_answer_that_is_not_whole_makes_the_reading_none(
    path: Path, page: str, answer: bytes | None
) -> None:
    async with serving(path, but(page, answer)) as engine:
        assert isinstance(await refusal(engine), UnreachableError | HostError)


async def test_an_error_is_told_in_docker_s_words(path: Path) -> None:
    said = reply({"message": "it is\ntoo late"}, "500 Internal Server Error")
    async with serving(path, but("/v1.45/networks", said)) as engine:
        assert str(await refusal(engine)) == "Docker refused /networks: it is too late"


async def test_a_network_that_goes_while_it_is_read_is_left_out(path: Path) -> None:
    async with serving(
        path, but("/v1.45/networks/n1", reply({"message": "gone"}, "404 Not Found"))
    ) as engine:
        assert list((await engine.read()).networks) == ["n2"]
        with pytest.raises(NotFoundError):
            await engine.container("c1")


ENDED = {
    "Id": "c1",
    "Name": "/web",
    "State": {"Status": "exited", "Error": "NetworkDriver.Join: no flows"},
    "HostConfig": {"NetworkMode": "one", "RestartPolicy": {"Name": "always"}},
    "NetworkSettings": {"Networks": {"one": {"NetworkID": "n1"}}},
}


def with_ended(inspected: bytes | None, started: bytes | None = None) -> Answer:
    """The same, with a container that has ended, and what is said of it and of its start."""
    special = {
        "/v1.45/containers/json": reply([ENDED]),
        "/v1.45/containers/c1/json": inspected,
        "/v1.45/containers/c1/start": started,
    }
    return lambda page: special[page] if page in special else docker(page)


async def test_a_container_that_has_ended_is_read_and_started(path: Path) -> None:
    for answer in (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"):
        async with serving(path, with_ended(reply(ENDED), answer)) as engine:
            [found] = (await engine.read()).stopped
            assert (found.name, found.wanted, found.failed_by_plugin) == ("web", True, True)
            await engine.start(found.container_id)
    no = reply({"message": "NetworkDriver.Join: no flows"}, "500 Internal Server Error")
    async with serving(path, with_ended(reply(ENDED), no)) as engine:
        with pytest.raises(
            HostError, match=r"^Docker refused /containers/c1/start: NetworkDriver.Join: no fl"
        ):
            await engine.start("c1")


@pytest.mark.parametrize(
    "inspected",
    [None, reply({"message": "gone"}, "404 Not Found"), reply({"message": "no"}, "500 Oops"), reply([])],
)
async def test_a_container_of_which_docker_says_nothing_is_left_out(
    path: Path, inspected: bytes | None
) -> None:
    """dockerd holds back what it says of one that it is just starting."""
    async with serving(path, with_ended(inspected), patience=20) as engine:
        async with asyncio.timeout(10):
            state = await engine.read()
        assert (state.stopped, len(state.networks)) == ((), 2)


async def test_an_older_docker_is_asked_in_its_own_version_even_when_replaced(path: Path) -> None:
    requested: list[str] = []
    version = "1.41"

    def answer(page: str) -> bytes | None:
        requested.append(page)
        return PING.replace(b"1.45", version.encode()) if page == "/_ping" else reply([])

    async with serving(path, answer) as engine:
        await engine.network_ids()
    version = "1.60"
    assert isinstance(await refusal(engine), UnreachableError)
    async with serving(path, answer):
        await engine.network_ids()
        await engine.close()
    assert requested == ["/_ping", "/v1.41/networks", "/_ping", "/v1.45/networks"]


async def heard(engine: Engine) -> list[str]:
    """What comes of events until they end; the last word is the error's."""
    said: list[str] = []
    events = engine.events({"type": ["container"]})
    with contextlib.suppress(StopAsyncIteration):
        while True:
            try:
                event = await asyncio.wait_for(anext(events), 5)
            except OvnDockerError as error:
                return [*said, str(error)]
            said.append("listening" if event is None else event.container_id)
    return said


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


START = b'{"Type":"container","Action":"start","Actor":{"ID":"c1"}}\n'


async def test_events_come_until_docker_closes(path: Path) -> None:
    stream = chunks(START, START[:20], START[20:].replace(b"c1", b"c2") + START)
    async with serving(path, but("/v1.45/events", stream)) as engine:
        assert await heard(engine) == ["listening", "c1", "c2", "c1"]


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (chunks(START, b"nonsense\n"), "Docker's answer cannot be read"),
        (chunks(START, b"x" * (3 << 20)), "Docker cannot be reached at"),
    ],
)
async def test_events_that_end_in_the_middle_are_an_error(path: Path, stream: bytes, says: str) -> None:
    async with serving(path, but("/v1.45/events", stream)) as engine:
        listening, first, error = await heard(engine)
        assert (listening, first) == ("listening", "c1")
        assert says in error
        assert "\n" not in error


async def test_events_that_are_cut_anywhere_are_no_clean_end(path: Path) -> None:
    """What came whole before the cut may be lost with it: who begins to listen anew looks at everything."""
    whole = chunks(START, START)
    cut: list[bytes] = []
    async with serving(path, lambda page: cut[-1] if page == "/v1.45/events" else docker(page)) as engine:
        for end in range(len(whole)):
            cut.append(whole[:end])
            *events, error = await heard(engine)
            assert "Docker cannot be reached at" in error, (end, events)
        cut.append(whole)
        assert await heard(engine) == ["listening", "c1", "c1"]


async def test_events_that_are_refused_are_an_error(path: Path) -> None:
    said = reply({"message": "no"}, "400 Bad Request")
    async with serving(path, but("/v1.45/events", said)) as engine:
        assert await heard(engine) == ["Docker refused its events: no"]


async def test_names_are_reported_as_containers_and_networks_are_read(path: Path) -> None:
    inspected = {
        "Id": "c1",
        "Name": "/web",
        "Config": {},
        "NetworkSettings": {"Networks": {"one": {"NetworkID": "n1", "EndpointID": "e1"}}},
    }
    ends = {"c1": {"EndpointID": "e2"}, "gone": {"EndpointID": "e3"}, "ep-e4": {"EndpointID": "e4"}}
    pages = {
        "/v1.45/containers/c1/json": reply(inspected),
        "/v1.45/containers/json": reply([{"Id": "c1", "Names": ["/shop"]}]),
        "/v1.45/networks/n1": reply({**NETWORKS[0], "Containers": ends}),
    }
    named: list[tuple[str, str]] = []
    async with serving(path, lambda page: pages.get(page) or docker(page)) as engine:
        engine.named = lambda endpoint_id, name: named.append((endpoint_id, name))
        await engine.container("c1")
        await engine.read()
    assert named == [("e1", "web"), ("e2", "shop")]
