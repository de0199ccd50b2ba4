"""Which of our flows are in the switch, and what has to change so that the right ones are. Pure."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ovn_docker.overlay.vtep.openflow import Flow, Key

Group = Hashable
"""What a few flows stand for together: an endpoint, a network, a VTEP."""


@dataclass(frozen=True, slots=True)
class Change:
    """What makes the switch right: deletions come first."""

    added: tuple[Flow, ...] = ()
    deleted: tuple[Flow, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.added or self.deleted)


class Book:
    """Flows by key, and by what they stand for.

    It looks only at groups that have changed, so that one more container costs nothing for the others.
    """

    def __init__(self, installed: Iterable[Flow] = ()) -> None:
        """Begin with what is in the switch; all of it goes with the first change that does not name it."""
        self._installed = {each.key: each for each in installed}
        self._owners: dict[Key, Group] = dict.fromkeys(self._installed)
        self._groups: dict[Group, tuple[Flow, ...]] = {None: tuple(self._installed.values())}

    def __contains__(self, key: object) -> bool:
        """Whether a flow of that key ought to be in the switch by now."""
        return key in self._installed

    def __len__(self) -> int:
        """How many flows ought to be in the switch by now."""
        return len(self._installed)

    @property
    def groups(self) -> Mapping[Group, tuple[Flow, ...]]:
        """What the flows that ought to be in the switch by now stand for."""
        return self._groups

    def change(self, wanted: Mapping[Any, tuple[Flow, ...]]) -> Change:
        """What has to be done for these groups and no others; it is taken for done.

        An entry that two groups claim is the one's that came later: an address whose container has gone and
        that another has by now. A group whose flows are the same object as before is not looked at.
        """
        old = [each for each in self._groups if wanted.get(each) is not self._groups[each]]
        new = [each for each in wanted if self._groups.get(each) is not wanted[each]]
        claimed = {flow.key: (each, flow) for each in new for flow in wanted[each]}
        gone = {flow.key for each in old for flow in self._groups[each] if self._owners.get(flow.key) == each}
        deleted = [self._installed[key] for key in gone - claimed.keys()]
        added = []
        for key, (_, flow) in claimed.items():
            before = self._installed.get(key)
            if before != flow:
                added.append(flow)
            if before is not None and before.priority != flow.priority:
                deleted.append(before)
        self._note(gone, claimed)
        self._groups = dict(wanted)
        return Change(tuple(added), tuple(deleted))

    def _note(self, gone: Iterable[Key], claimed: Mapping[Key, tuple[Group, Flow]]) -> None:
        for key in gone:
            del self._installed[key], self._owners[key]
        for key, (owner, flow) in claimed.items():
            self._installed[key], self._owners[key] = flow, owner
