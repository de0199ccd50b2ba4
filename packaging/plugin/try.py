"""Import all that the plugin runs, with nothing but what its root file system has: python try.py ROOT."""

import importlib
import pkgutil
import sys

ROOT = sys.argv[1]
# Found out of its place by PYTHONHOME, Python lacks Debian's directory, and has that of this file.
sys.path[:] = [path for path in sys.path if path.startswith(ROOT)] + [f"{ROOT}/usr/lib/python3/dist-packages"]


def main() -> str:
    """What is wrong, or ""."""
    import ovn_docker  # noqa: PLC0415

    for each in pkgutil.walk_packages(ovn_docker.__path__, "ovn_docker."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
    importlib.import_module("pyroute2")  # host/veth.py does it later
    files = {getattr(module, "__file__", None) or ROOT for module in list(sys.modules.values())}
    files -= {__file__}
    foreign = sorted(file for file in files if not file.startswith(ROOT))
    return f"not of the plugin: {', '.join(foreign)}" if foreign else ""


sys.exit(main() or 0)
