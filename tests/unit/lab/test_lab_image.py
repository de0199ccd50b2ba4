"""The image that hosts of a lab import."""

import tarfile
from pathlib import Path

import pytest

from ovn_docker.errors import HostError
from ovn_docker_lab.image import write_image


@pytest.fixture
def busybox(tmp_path: Path) -> Path:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nprintf 'busybox\\nsh\\nls\\n'\n")
    program.chmod(0o755)
    return program


def test_every_applet_is_a_link_to_busybox_and_busybox_is_the_program(busybox: Path, tmp_path: Path) -> None:
    tar = tmp_path / "image.tar"
    write_image(busybox, tar)
    with tarfile.open(tar) as archive:
        assert archive.getmember("bin/ls").linkname == "busybox"
        assert archive.getmember("bin/busybox").isfile()
        content = archive.extractfile("bin/busybox")
        assert content is not None
        assert content.read() == busybox.read_bytes()


def test_a_program_that_does_not_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="applets"):
        write_image(tmp_path / "none", tmp_path / "image.tar")
