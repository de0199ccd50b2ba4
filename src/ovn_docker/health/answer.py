"""Whether a host's ovn-controller lives: asked of all hosts at once, so that silence can be judged."""

import asyncio
from enum import Enum

from ovn_docker.ovn import sync
from ovn_docker.ovsdb.client import Client

PATIENCE = 10.0
"""Seconds for any host to answer, and from then on as many for the one that is asked about."""

PAUSE = 0.2
"""Seconds between two looks."""


class Answer(Enum):
    """What the question has shown."""

    GIVEN = "the host answers"
    MISSING = "others answer, and it does not"
    NOBODY = "nobody answers, so nothing can be told"


async def ask(nb: Client, sb: Client, host: str, patience: float = PATIENCE) -> Answer:
    """Ask all hosts for a sign of life and wait for that of one.

    Each living host writes one row of Southbound for it, once.

    Args:
        nb: of Northbound, where the question is written.
        sb: of Southbound, where the answers stand.
        host: its ``system-id``.
        patience: as `PATIENCE`.

    Raises:
        DatabaseError: a database refused.
    """
    try:
        async with asyncio.timeout(3 * patience):
            return await _ask(nb, sb, host, patience)
    except TimeoutError:  # a database was lost meanwhile
        return Answer.NOBODY


async def _ask(nb: Client, sb: Client, host: str, patience: float) -> Answer:
    target = sync.read_target(await nb.transact(sync.sync_begin()))
    if target is None:
        return Answer.NOBODY
    clock = asyncio.get_running_loop().time
    deadline, others_live = clock() + patience, False
    while clock() < deadline:
        own, others = await sb.transact(sync.followers(target, host))
        if own["rows"]:
            return Answer.GIVEN
        if others["rows"] and not others_live:
            others_live, deadline = True, clock() + patience
        await asyncio.sleep(PAUSE)
    return Answer.MISSING if others_live else Answer.NOBODY
