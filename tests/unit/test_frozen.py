"""The base of frozen values: what a field's one line stands for."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest

from spawner.spec import Frozen

if TYPE_CHECKING:
    from dataclasses import KW_ONLY


class Ticket(Frozen):
    seat: int
    _: KW_ONLY
    names: tuple[str, ...] = ()
    price: float = 0.0

    def _check(self) -> None:
        if self.seat < 1:
            raise ValueError(f"there is no seat {self.seat}")


def test_fields_are_given_in_order_or_by_name_and_have_defaults() -> None:
    ticket = Ticket(3, price=2.5)
    assert (ticket.seat, ticket.names, ticket.price) == (3, (), 2.5)
    assert ticket == Ticket(seat=3, price=2.5, names=())


@pytest.mark.parametrize("given", [{}, {"price": 1.0}, {"seat": 1, "row": 2}])
def test_a_field_that_is_missing_or_unknown_is_an_error(given: dict[str, float]) -> None:
    with pytest.raises(TypeError, match="a Ticket accepts seat, names, price"):
        Ticket(**given)  # type: ignore[arg-type]


def test_it_checks_itself() -> None:
    with pytest.raises(ValueError, match="there is no seat 0"):
        Ticket(0)


def test_nothing_can_be_set_or_deleted() -> None:
    ticket = Ticket(1)
    for name in ("seat", "names", "row"):
        with pytest.raises(AttributeError, match="frozen"):
            setattr(ticket, name, 2)
        with pytest.raises(AttributeError, match="frozen"):
            delattr(ticket, name)
    assert ticket == Ticket(1)


def test_it_compares_and_is_hashed_by_its_fields() -> None:
    class Other(Frozen):
        seat: int

    assert Ticket(1, names=("a",)) == Ticket(1, names=("a",)) != Ticket(1)
    assert len({Ticket(1), Ticket(1), Ticket(2)}) == 2
    assert Ticket(1) != Other(1)


def test_it_shows_all_its_fields() -> None:
    assert repr(Ticket(1)) == "Ticket(seat=1, names=(), price=0.0)"


def test_it_is_copied_and_pickled() -> None:
    ticket = Ticket(1, names=("a",))
    for again in (copy.copy(ticket), copy.deepcopy(ticket), pickle.loads(pickle.dumps(ticket))):
        assert again == ticket
        assert again is not ticket
