"""Who may use the plugin: addresses of this host, and heads that no browser sends."""

from typing import Any

import pytest

from ovn_docker.libnetwork.server import Head, check_head, is_this_host

NAMES = frozenset({"node1"})


@pytest.mark.parametrize(
    ("peer", "local", "same"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.5", "127.0.0.1", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.2", "10.0.0.1", False),
        ("172.17.0.2", "172.17.0.1", False),  # a container and its bridge
        ("10.0.0.2", "127.0.0.1", False),  # a neighbour, where route_localnet is set (CVE-2020-8558)
        ("::1", "::1", True),
        ("fd00::1", "fd00::1", True),
        ("fd00::2", "fd00::1", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("fe80::2%eth0", "fe80::1%eth0", False),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.2", "::ffff:10.0.0.1", False),
        ("::127.0.0.1", "::1", False),  # no mapped address: nobody's loopback
    ],
)
def test_a_peer_is_this_host_on_the_loopback_or_at_the_address_it_called(
    peer: str, local: str, *, same: bool
) -> None:
    assert is_this_host(peer, local) is same


def head(**fields: Any) -> Head:  # noqa: ANN401
    usual: dict[str, Any] = {"has_body": True, "hosts": ("127.0.0.1:5000",)}
    return Head(**(usual | fields))


@pytest.mark.parametrize(
    "sent",
    [
        head(),  # dockerd over TCP
        head(hosts=()),  # HTTP/1.0
        head(hosts=("[::1]:5000",)),
        head(hosts=("0.0.0.0:5000",)),  # the guide's curl
        head(hosts=("localhost",)),
        head(hosts=("localhost.",)),
        head(hosts=("127.0.0.1.:5000",)),
        head(hosts=("[::ffff:127.0.0.1]:5000",)),
        head(hosts=("[fe80::1%25eth0]",)),
        head(hosts=("plugin.moby.localhost",)),
        head(hosts=("NODE1:5000",)),
        head(content_type="application/json; charset=utf-8"),
        head(content_type="application/vnd.docker.plugins.v1.2+json"),
        head(has_body=False, content_type="text/plain"),
        head(fetch_site="none"),  # typed into a browser
    ],
)
def test_what_dockerd_and_an_operator_send_is_served(sent: Head) -> None:
    assert check_head(sent, NAMES) is None


@pytest.mark.parametrize(
    ("sent", "status", "text"),
    [
        (head(origin="http://evil.example"), 403, "a web page may not"),
        (head(origin="null"), 403, "a web page may not"),
        (head(fetch_site="cross-site"), 403, "a web page may not"),
        (head(hosts=("evil.example:5000",)), 403, "Host 'evil.example:5000' is not a name of this host"),
        (head(hosts=("localhost.evil.example",)), 403, "not a name of this host"),
        (head(hosts=("127.0.0.1.evil.example",)), 403, "not a name of this host"),
        (head(hosts=("",)), 403, "not a name of this host"),
        (head(hosts=("[::1].evil.example",)), 403, "not a name of this host"),
        (head(hosts=("[::1]evil.example:5000",)), 403, "not a name of this host"),
        (head(hosts=("[evil.example]",)), 403, "not a name of this host"),
        (head(hosts=("localhost:evil.example",)), 403, "not a name of this host"),
        (head(hosts=("127.0.0.1:5000:evil.example",)), 403, "not a name of this host"),
        (head(hosts=("localhost@evil.example",)), 403, "not a name of this host"),
        (head(hosts=("0x7f000001",)), 403, "not a name of this host"),
        (head(hosts=("::1",)), 403, "not a name of this host"),
        (head(target="http://evil.example/Plugin.Activate"), 400, "not a path"),
        (head(target="evil.example:5000"), 400, "not a path"),
        (head(target="*"), 400, "not a path"),
        (head(hosts=("127.0.0.1", "evil.example")), 400, "more than one Host"),
        (head(content_type="text/plain"), 415, "Content-Type 'text/plain' is not JSON"),
        (head(content_type="application/x-www-form-urlencoded"), 415, "is not JSON"),
        (head(content_type="text/plain; application/json"), 415, "is not JSON"),
        (head(content_type=""), 415, "is not JSON"),
    ],
)
def test_what_a_page_could_make_a_browser_send_is_refused(sent: Head, status: int, text: str) -> None:
    refusal = check_head(sent, NAMES)
    assert refusal is not None
    assert (refusal.status, text in refusal.text) == (status, True)


@pytest.mark.parametrize("host", ["%2Frun%2Fdocker%2Fplugins%2Fopenvswitch.sock", "evil.example"])
def test_over_a_unix_socket_and_tls_any_host_will_do(host: str) -> None:
    assert check_head(head(hosts=(host,)), None) is None
    assert check_head(head(hosts=(host,), origin="http://evil.example"), None) is not None
