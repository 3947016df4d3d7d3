"""Plans of sweeps: what words mean, and how cells are shared out."""

from __future__ import annotations

import pytest

from edge.errors import EdgeError
from edge.sweep_plan import grouped, options_scheme, parse_formats, plan, take, words


def names(text: str) -> list[str]:
    return [fmt.name for fmt in parse_formats(text)]


def test_words_for_formats():
    assert names("int4, E2M1,int4,uint8") == ["int4", "e2m1", "uint8"]
    assert names("4bit") == ["int4", "e1m2", "e2m1", "e3m0"]
    assert len(names("all")) == 33
    assert (
        sorted(names("all")) == sorted(names("integers,minifloats")) == sorted(names("3bit,4bit,5bit,6bit,7bit,8bit"))
    )


@pytest.mark.parametrize(
    ("text", "message"), [("int9x", "int9"), ("minifloat", "minifloats"), ("", "no format"), ("9bit", "4bit")]
)
def test_a_slip_is_named_with_what_is_near(text, message):
    with pytest.raises(EdgeError, match=message):
        parse_formats(text)


def test_every_pair_once_weights_together():
    specs = plan(
        parse_formats("int4,e2m1"), parse_formats("int8,e4m3"), ("plain", "gptq"), ("channel", "tensor"), "mse"
    )
    assert len(specs) == len({spec.name for spec in specs}) == 16
    assert specs[0].name == "w4a8-mse plain"
    assert str(specs[2].scheme) == "we2m1-aint8-mse"
    assert str(specs[4].scheme) == "w4a8-pt-mse"
    groups = [spec.group for spec in specs]
    assert groups == sorted(groups, key=groups.index)
    assert len(grouped(specs)) == 8


def test_rules_and_options_reach_every_scheme():
    (spec,) = plan(parse_formats("int4"), parse_formats("int8"), ("plain",), ("channel",), "sym-p99.9;fc=w8a8")
    assert str(spec.scheme) == "w4a8-sym-p99.9;fc=w8a8"
    assert str(options_scheme("")) == "w8a8"
    assert options_scheme(";fc=w4a4").rules[0][0] == "fc"


@pytest.mark.parametrize(
    ("weights", "granularity", "options", "message"),
    [
        ("uint8", "channel", "", "signed"),
        ("int4", "group", "", "granularity"),
        ("int4", "channel", "fast", "option"),
        ("int4", "tensor", "pt", "twice"),
    ],
)
def test_what_no_scheme_can_hold_is_refused(weights, granularity, options, message):
    with pytest.raises(EdgeError, match=message):
        plan(parse_formats(weights), parse_formats("int8"), ("plain",), (granularity,), options)


def test_workers_keep_their_weights_and_nobody_idles():
    specs = plan(parse_formats("int3,int4,int5"), parse_formats("integers"), ("plain",), ("channel",))
    groups, done, held = grouped(specs), [], [None, None]
    while True:
        for worker in (0, 1):
            busy = frozenset({held[1 - worker]} - {None})
            spec = take(groups, held[worker], busy)
            if spec is None:
                break
            held[worker] = spec.group
            done.append((worker, spec))
        if spec is None:
            break
    assert sorted(s.name for _, s in done) == sorted(s.name for s in specs)
    changes = sum(
        a.group != b.group
        for worker in (0, 1)
        for a, b in zip(*[[s for w, s in done if w == worker][i:] for i in (0, 1)], strict=False)
    )
    # Two groups at first, then the third is shared.
    assert changes == 2


def test_lists_of_words():
    assert words(" a, ,B+c ") == ("a", "b+c")
