"""Schemes: what prints parses back, every refusal says what and why, the last matching rule wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.errors import QuantError
from quant.formats import E4M3, FORMATS, INT8, find_format, integer
from quant.scheme import Formats, Scheme, parse_scheme

SIGNED = tuple(fmt for fmt in FORMATS if fmt.signed)
WORDS = st.text("abcXYZ019_./*?[]!-=: ", min_size=1, max_size=12)
ANY = st.builds(Formats, st.sampled_from(SIGNED), st.sampled_from(FORMATS))
BOTH_SIGNED = st.builds(Formats, st.sampled_from(SIGNED), st.sampled_from(SIGNED))
RANGES = st.one_of(
    st.tuples(st.none(), st.sampled_from((None, "mse", "kl"))),
    st.tuples(st.floats(50, 100, exclude_min=True), st.none()),
)


def schemes(formats: st.SearchStrategy[Formats], symmetric: bool) -> st.SearchStrategy[Scheme]:
    """Any scheme over some formats."""
    rules = st.lists(st.tuples(WORDS.filter(lambda word: word == word.lstrip()), formats), max_size=3).map(tuple)
    bits = st.tuples(st.none() | st.integers(4, 16), st.none() | st.integers(4, 8))
    return st.builds(
        lambda formats, per_channel, ranges, bits, rules: Scheme(
            formats, per_channel, symmetric, ranges[0], ranges[1], bits[0], bits[1], rules
        ),
        formats,
        st.booleans(),
        RANGES,
        bits,
        rules,
    )


@given(st.one_of(schemes(ANY, False), schemes(BOTH_SIGNED, True)))
def test_every_scheme_prints_a_name_that_parses_back(scheme):
    assert parse_scheme(str(scheme)) == scheme
    assert str(parse_scheme(str(scheme))) == str(scheme)


@pytest.mark.parametrize(
    ("text", "weight", "activation", "canonical"),
    [
        ("w8a8", "int8", "int8", "w8a8"),
        ("W4A8", "int4", "int8", "w4a8"),
        ("w2a16", "int2", "int16", "w2a16"),
        ("we4m3-ae4m3", "e4m3", "e4m3", "we4m3-ae4m3"),
        ("WE4M3FN-AE5M2OCP", "e4m3fn", "e5m2ocp", "we4m3fn-ae5m2ocp"),
        ("we2m1-aint8", "e2m1", "int8", "we2m1-aint8"),
        ("wint8-aint8", "int8", "int8", "w8a8"),
        ("wint8-auint8", "int8", "uint8", "wint8-auint8"),
        (" w8a8 ", "int8", "int8", "w8a8"),
    ],
)
def test_names_of_formats(text, weight, activation, canonical):
    scheme = parse_scheme(text)
    assert scheme == Scheme(Formats(find_format(weight), find_format(activation)))
    assert str(scheme) == canonical


def test_options():
    assert parse_scheme("w8a8-sym").symmetric
    assert not parse_scheme("w8a8-pt").per_channel
    assert parse_scheme("w8a8-p99.99").percentile == 99.99
    assert parse_scheme("w8a8-p99.99999").percentile == 99.99999
    assert str(parse_scheme("w8a8-p99.99999")) == "w8a8-p99.99999"
    assert str(parse_scheme("w8a8-p100")) == "w8a8-p100"
    every = parse_scheme("we4m3-ae4m3-P99.9-PT-sym")
    assert (every.symmetric, every.per_channel, every.percentile) == (True, False, 99.9)
    assert str(every) == "we4m3-ae4m3-sym-pt-p99.9"


def test_the_last_rule_that_matches_wins_and_case_of_node_names_counts():
    scheme = parse_scheme("w4a4;conv*=w8a8;conv1=we4m3-ae4m3;/Layer1/*=w2a2")
    assert scheme.at("fc") == Formats(integer(4), integer(4))
    assert scheme.at("conv2") == Formats(INT8, INT8)
    assert scheme.at("conv1") == Formats(E4M3, E4M3)
    assert scheme.at("/Layer1/x/Conv") == Formats(integer(2), integer(2))
    assert scheme.at("/layer1/x/Conv") == Formats(integer(4), integer(4))
    assert parse_scheme("w4a4;conv1=w2a2;conv?=w8a8").at("conv1") == Formats(INT8, INT8)
    assert parse_scheme("w4a4;a=b=w8a8").at("a=b") == Formats(INT8, INT8)
    assert parse_scheme("w4a4;[ab]=w8a8").at("b") == Formats(INT8, INT8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "scheme '': '' is not a pair of formats. Write w8a8 (integer bits) or we4m3-ae4m3 (format names)."),
        ("a8w8", "scheme 'a8w8': 'a8w8' is not a pair of formats"),
        ("w8", "scheme 'w8': 'w8' is not a pair of formats"),
        ("w8-ae4m3", "'w8-ae4m3' is not a pair of formats"),
        ("we4m3", "'we4m3' is not a pair of formats"),
        ("w8 a8", "'w8 a8' is not a pair of formats"),
        ("w1a8", "scheme 'w1a8': integers have 2 to 16 bits, not 1."),
        ("w8a17", "scheme 'w8a17': integers have 2 to 16 bits, not 17."),
        ("w" + "9" * 5000 + "a8", "is not a pair of formats"),
        ("w\uff18a\uff18", "is not a pair of formats"),
        ("we4m4-ae4m3", "unknown number format 'e4m4'. Did you mean '"),
        ("we4m3-ae9m9", "unknown number format 'e9m9'."),
        ("wuint8-aint8", "scheme 'wuint8-aint8': weights are negative too; use a signed format, not uint8."),
        ("w8a8;fc=wuint4-aint8", "weights are negative too; use a signed format, not uint4."),
        ("wint8-auint8-sym", "uint8 cannot be symmetric around 0; use a signed format or no -sym."),
        ("w8a8-sym;fc=wint8-auint8", "uint8 cannot be symmetric around 0"),
        (
            "w8a8-foo",
            "scheme 'w8a8-foo': unknown option 'foo'. Options: sym (symmetric activations), pt (weights per tensor), "
            "p99.99 (percentile above 50, at most 100), mse or kl (range estimators), i8 (bits of the input, 4 to 16), "
            "ends8 (bits of first and last layer, 4 to 8).",
        ),
        ("w8a8-", "unknown option ''"),
        ("w8a8-sym1", "unknown option 'sym1'"),
        ("w8a8-p", "unknown option 'p'"),
        ("w8a8-p50", "unknown option 'p50'"),
        ("w8a8-p100.1", "unknown option 'p100.1'"),
        ("w8a8-p99.", "unknown option 'p99.'"),
        ("w8a8-p1e2", "unknown option 'p1e2'"),
        ("w8a8-sym-SYM", "scheme 'w8a8-sym-SYM': option 'sym' is given twice"),
        ("w8a8-p99-p99.9", "option 'p99.9' is given twice, or contradicts another."),
        ("w8a8-mse-kl", "option 'kl' is given twice, or contradicts another."),
        ("w8a8-ends8-ends4", "option 'ends4' is given twice"),
        ("w8a8-ends3", "unknown option 'ends3'"),
        ("w8a8-ends16", "unknown option 'ends16'"),
        ("w8a8-i3", "unknown option 'i3'"),
        ("w8a8-i17", "unknown option 'i17'"),
        ("w8a8-pt-pt", "option 'pt' is given twice"),
        ("w8a8;", "scheme 'w8a8;': rule '' must read pattern=formats, for example conv0*=w8a8."),
        ("w8a8;conv", "rule 'conv' must read pattern=formats"),
        ("w8a8;=w4a4", "rule '=w4a4' must read pattern=formats"),
        ("w8a8;conv=w4a4-sym", "'w4a4-sym' is not a pair of formats"),
        ("w8a8;conv=", "'' is not a pair of formats"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(QuantError) as error:
        parse_scheme(text)
    assert message in str(error.value)


@given(st.text(max_size=30))
def test_any_other_text_is_refused_or_prints_back(text):
    try:
        scheme = parse_scheme(text)
    except QuantError:
        return
    assert parse_scheme(str(scheme)) == scheme


PIECES = ("w8", "a4", "e4m3", "-", ";", "=", "sym", "pt", "p99.9", "*", "int8", "uint8", "0", ".")


@given(st.lists(st.sampled_from(PIECES), max_size=10).map("".join))
def test_pieces_in_any_order_are_refused_or_print_back(text):
    try:
        scheme = parse_scheme(text)
    except QuantError:
        return
    assert parse_scheme(str(scheme)) == scheme
