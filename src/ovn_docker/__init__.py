"""Docker networking on OVN."""

__version__ = "0.1.0"
