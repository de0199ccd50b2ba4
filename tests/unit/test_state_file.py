"""The state file: whole at every moment, whatever stops the process."""

import contextlib
import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_docker.errors import HostError
from ovn_docker.state_file import StateFile
from tests.polling import eventually

WRITER = """
import itertools, sys
from pathlib import Path
from ovn_docker.state_file import StateFile
file = StateFile(Path(sys.argv[1]))
for number in itertools.count():
    file.update(lambda _: {"networks": {str(each): "x" * 100 for each in range(50)}, "number": number})
    if number == 0:
        print("ready", flush=True)
"""


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "made" / "state.json"
    assert StateFile(path).load() == {}
    content = {"networks": {"a": {"pools": ["10.0.0.0/24"], "mtu": None}}}
    StateFile(path).update(lambda _: content)
    assert StateFile(path).load() == content
    assert json.loads(path.read_text())["version"] == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


def test_the_mode_does_not_depend_on_the_umask_or_on_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"version": 1}')
    path.chmod(0o644)
    before = os.umask(0)
    try:
        StateFile(path).update(lambda _: {})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"version": 2}', b'{"networks": {}}'),
        *(b"\x80\x03}q\x00.", b"\xff\xfe"),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_file_that_cannot_be_used_is_put_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The last but one is a pickle's beginning."""
    path = tmp_path / "state.json"
    path.write_bytes(content)
    assert StateFile(path).load() == {}
    aside = tmp_path / "state.json.unusable"
    assert aside.read_bytes() == content
    assert not path.exists()
    [record] = caplog.records
    assert f"state file {path} cannot be used and is kept as {aside}" in record.getMessage()
    StateFile(path).update(lambda _: {"networks": {}})
    assert StateFile(path).load() == {"networks": {}}


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """Refuse this process any further descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_that_cannot_be_read_just_now_is_one_clear_error_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    StateFile(path).update(lambda _: {"networks": {"a": 1}})
    with no_more_files(), pytest.raises(HostError) as caught:
        StateFile(path).load()
    assert str(caught.value) == (
        f"the state file {path} cannot be read: {os.strerror(errno.EMFILE)}: it stays as it is; try again"
    )
    assert StateFile(path).load() == {"networks": {"a": 1}}
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    moments = random.Random(1)  # noqa: S311  (moments, not secrets)
    numbers = []
    for _ in range(25):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            until = time.monotonic() + moments.uniform(0, 0.02)
            eventually(lambda until=until: time.monotonic() >= until, 1, "the moment of the kill")  # type: ignore[misc]
            writer.send_signal(signal.SIGKILL)
        content = StateFile(path).load()
        assert len(content["networks"]) == 50
        numbers.append(content["number"])
    assert max(numbers) > 0
    StateFile(path).update(lambda _: {})
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_full_disk_is_one_clear_error_and_the_old_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    StateFile(path).update(lambda _: {"networks": {"a": 1}})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
        with pytest.raises(HostError) as caught:
            StateFile(path).update(lambda _: {"networks": "x" * 10_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert str(caught.value) == f"the state file {path} cannot be written: {os.strerror(errno.EFBIG)}"
    assert StateFile(path).load() == {"networks": {"a": 1}}
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_file_whose_directory_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "state.json"
    with pytest.raises(HostError, match=f"the state file {path} cannot be written: "):
        StateFile(path).update(lambda _: {})
