"""What OVN calls this host, where a file says it."""

from pathlib import Path

import pytest

from ovn_docker.host.ovn_settings import chassis_override

pytestmark = pytest.mark.functional


@pytest.mark.parametrize(
    ("text", "name"), [("h2\n", "h2"), ("h2", "h2"), ("h2\r\nmore\n", "h2"), ("", ""), (None, "")]
)
def test_the_first_line_of_the_file_names_the_host(tmp_path: Path, text: str | None, name: str) -> None:
    if text is not None:
        tmp_path.joinpath("system-id-override").write_bytes(text.encode())
    assert chassis_override(str(tmp_path)) == name
