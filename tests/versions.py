"""Which versions of others' programs are installed, for tests of what some of them cannot do."""

import re
import shutil
import subprocess

import pytest


def version(program: str) -> tuple[int, ...]:
    """What a program says of its version, (25, 3, 0) for example; () where it is not installed."""
    if shutil.which(program) is None:
        return ()
    output = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True, timeout=20
    ).stdout
    found = re.search(r"\d+(\.\d+)+", output)
    assert found, output
    return tuple(map(int, found[0].split(".")))


def needs_ovn(least: str, why: str) -> pytest.MarkDecorator:
    """Skip a test with an OVN older than this one, "24.09" for example."""
    numbers = tuple(map(int, least.split(".")))
    return pytest.mark.skipif(version("ovn-northd") < numbers, reason=f"needs OVN {least}: {why}")


beside_geneve = needs_ovn("24.09", "an older one has no vxlan_mode=false")
"""For VTEPs' ports of type vtep with any VNI, where hosts use Geneve between them."""
