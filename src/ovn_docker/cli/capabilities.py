"""Which of root's rights the process keeps (capabilities(7))."""

import ctypes
import os
from collections.abc import Iterable

from ovn_docker.errors import HostError

DAC_OVERRIDE, NET_BIND_SERVICE, NET_ADMIN = 1, 10, 12
"""linux/capability.h."""

_VERSION, _WORDS, _BITS = 0x20080522, 2, 32
_SET_NO_NEW_PRIVS = 38
"""linux/prctl.h."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    """32 capabilities of each set; two of these are all of them."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable"))


def keep_only(numbers: Iterable[int]) -> None:
    """Give up every other capability for good: no program that is executed gets one back.

    It is of the calling thread and of those that this one starts. What the process lacks is no error.

    Args:
        numbers: such as `NET_ADMIN`.

    Raises:
        HostError: the kernel refuses it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = sum(1 << number for number in set(numbers))
    header, words = _Header(_VERSION, 0), (_Word * _WORDS)()
    _check(libc.capget(ctypes.byref(header), words))
    for index, word in enumerate(words):
        word.permitted &= wanted >> _BITS * index
        word.effective, word.inheritable = word.permitted, 0
    _check(libc.capset(ctypes.byref(header), words))
    # With this, execve(2) gives root nothing either that it has not (prctl(2), PR_SET_NO_NEW_PRIVS).
    _check(libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        raise HostError(f"capabilities cannot be given up: {os.strerror(ctypes.get_errno())}")
