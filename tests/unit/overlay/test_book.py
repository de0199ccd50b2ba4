"""What has to change in the switch."""

from ovn_docker.overlay.vtep.lookup_flows import Book
from ovn_docker.overlay.vtep.openflow import Change, Flow

ONE = Flow(200, 200, "a", "x")
TWO = Flow(200, 200, "b", "x")
OTHER_ONE = Flow(200, 200, "a", "y")


def test_the_first_change_removes_what_nobody_wants_and_keeps_what_is_right() -> None:
    book = Book([ONE, TWO])
    assert book.change({"group": (ONE,)}) == Change((), (TWO,))
    assert ONE.key in book
    assert TWO.key not in book


def test_a_wrong_flow_is_replaced_without_being_deleted() -> None:
    assert Book([ONE]).change({"group": (OTHER_ONE,)}) == Change((OTHER_ONE,))


def test_a_flow_that_changes_its_priority_is_another_flow() -> None:
    low = Flow(200, 1, "a", "x")
    assert Book([low]).change({"group": (ONE,)}) == Change((ONE,), (low,))


def test_nothing_changes_twice() -> None:
    book = Book()
    groups = {"one": (ONE,), "two": (TWO,)}
    assert book.change(groups) == Change((ONE, TWO))
    assert not book.change(dict(groups))
    assert len(book) == 2


def test_a_group_that_goes_takes_its_flows_along() -> None:
    book = Book()
    both = {"one": (ONE,), "two": (TWO,)}
    book.change(both)
    assert book.change({"two": both["two"]}) == Change((), (ONE,))


def test_an_address_that_is_used_again_is_its_new_users_and_stays_so() -> None:
    book = Book()
    old, new = (ONE,), (OTHER_ONE,)
    book.change({"old": old})
    assert book.change({"old": old, "new": new}) == Change((OTHER_ONE,))
    assert not book.change({"new": new})
    assert OTHER_ONE.key in book


def test_an_address_that_moves_at_one_moment_is_replaced_and_not_deleted() -> None:
    book = Book()
    book.change({"old": (ONE,)})
    assert book.change({"new": (OTHER_ONE,)}) == Change((OTHER_ONE,))
