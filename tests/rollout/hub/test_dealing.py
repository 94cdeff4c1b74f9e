"""Tasks go to whoever has the fewest, and finding out does not read them all."""

from __future__ import annotations

from munro.rollout.cluster.dealing import Dealer


class Counted(str):
    """A name that counts how often it is looked at."""

    looks = 0

    def __eq__(self, other):
        Counted.looks += 1
        return str.__eq__(self, other)

    def __hash__(self):
        Counted.looks += 1
        return str.__hash__(self)


def test_the_worker_with_the_fewest_is_next_and_the_first_of_equals():
    dealer = Dealer(["a", "b", "c"])
    assert [dealer.deal() for _ in range(4)] == ["a", "b", "c", "a"]
    dealer.back("b")
    assert [dealer.deal() for _ in range(3)] == ["b", "b", "c"]
    for name in ("c", "c"):
        dealer.back(name)
    assert dealer.deal() == "c"


def test_dealing_takes_no_more_work_where_more_tasks_are_out():
    num_workers = 20

    def work(num_out):
        dealer = Dealer([Counted(f"worker-{n}") for n in range(num_workers)])
        for _ in range(num_out):
            dealer.deal()
        Counted.looks = 0
        dealer.back(dealer.deal())
        return Counted.looks

    assert work(2000) == work(40) <= 3 * num_workers + 5
