"""Names of subnets parse back, and what is no name is refused with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.errors import QuantError
from quant.subnet import WIDTHS, Subnet, parse_subnet, uniform

widths = st.tuples(*(st.sampled_from(WIDTHS) for _ in range(3)))


@given(st.builds(Subnet, widths, widths, st.booleans(), st.booleans(), st.booleans()))
def test_a_name_parses_back(subnet):
    assert parse_subnet(str(subnet), 3) == subnet


def test_short_names():
    assert parse_subnet("4", 3) == parse_subnet("w4a4", 3) == parse_subnet(" W4.4.4A4 ", 3) == uniform(3, 4)
    assert str(uniform(3, 4)) == "w4a4"
    mixed = Subnet((4, 3, 2), (8, 8, 4), per_channel=False, symmetric_activations=False)
    assert str(mixed) == "w4.3.2a8.8.4-pt-asyma"
    assert parse_subnet("w4.3.2a8.8.4-asyma-pt", 3) == mixed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("w4", "names no subnet"),
        ("w4a4-sym", "names no subnet"),
        ("w4a4-pt-pt", "names no subnet"),
        ("9", "2 to 8 bits"),
        ("w1a4", "2 to 8 bits"),
        ("w4..4a4", "2 to 8 bits"),
        ("w4.4a4", "2 widths in '4.4' for 3"),
        ("", "names no subnet"),
    ],
)
def test_refusals(name, words):
    with pytest.raises(QuantError, match=words):
        parse_subnet(name, 3)
