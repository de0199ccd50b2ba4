"""Serve the application of Keystone or Neutron: ``serve_api.py {keystone|neutron} DIRECTORY ADDRESS PORT``.

Run by the Python that has them installed, which is not the one of the tests.
"""

import importlib
import os
import sys


def main() -> None:
    which, directory, address, port = sys.argv[1:5]
    sys.argv = [f"{which}-api"]  # both read it with oslo.config
    name = which.upper()
    os.environ[f"OS_{name}_CONFIG_DIR"] = directory
    file = f"{which}.conf"
    os.environ[f"OS_{name}_CONFIG_FILES"] = file if which == "neutron" else f"{directory}/{file}"
    os.environ["ASGI_WORKERS"] = "1"  # Neutron asks how many processes serve it
    application = importlib.import_module(f"{which}.wsgi.api").application
    server = importlib.import_module("cheroot.wsgi").Server((address, int(port)), application, numthreads=10)
    server.start()


if __name__ == "__main__":
    main()
