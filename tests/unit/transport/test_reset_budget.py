import pytest

from p2pnode.transport.reset_budget import ResetBudget


@pytest.mark.spec("TRANSPORT-38")
def test_at_most_100_resets_leave_at_once_and_100_a_second_after_that():
    budget = ResetBudget(5.0)
    assert sum(budget.take(5.0) for _ in range(1000)) == 100
    assert sum(budget.take(5.0 + n / 1000) for n in range(1, 1001)) == 100


def test_what_was_not_used_is_not_saved_up():
    budget = ResetBudget(5.0)
    assert sum(budget.take(1005.0) for _ in range(1000)) == 100
