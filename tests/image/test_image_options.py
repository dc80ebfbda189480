import pytest

from cvjax.image.options import check_interval, check_number, check_symmetric


def test_one_number_is_an_interval_of_its_own_or_around_zero():
    assert check_interval("x", 2) == (2.0, 2.0)
    assert check_symmetric("x", 2) == (-2.0, 2.0)
    assert check_symmetric("x", [-1, 3]) == (-1.0, 3.0)


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (float("nan"), {}, "x=nan must be a finite number"),
        (True, {}, "x=True must be a finite number"),
        (5, dict(low=0, high=1), r"x=5 must be in \[0, 1\]"),
        (-5, dict(low=0), "x=-5 must be at least 0"),
        (5, dict(high=1), "x=5 must be at most 1"),
    ],
)
def test_numbers_out_of_their_limits_are_named(value, limits, message):
    with pytest.raises(ValueError, match=message):
        check_number("x", value, **limits)


def test_intervals_must_rise_and_lie_within_their_limits():
    with pytest.raises(ValueError, match="must rise from low to high"):
        check_interval("x", (2, 1))
    with pytest.raises(ValueError, match="x=-1 must be at least 0"):
        check_interval("x", (-1, 1), low=0)
    with pytest.raises(ValueError, match="x=2 must be in"):
        check_symmetric("x", (0, 2), limit=1)
