"""Random networks over all operators and formats: generated C has the reference's codes on every CPU there is here."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from benchmarks.batch import Case, run_batch
from benchmarks.choices import spell
from benchmarks.covering import KERNELS, kernels
from benchmarks.cpus import CPUS, HOST, HOST_SANITIZED, reason_not_to_run
from benchmarks.random_networks import Example, of_recipe, of_seed, random_network, space_of
from devices.emulators.machine import Machine
from export.arm_m import TARGET

SPACE = space_of(TARGET.capability)
#: Networks on CPUs with an instruction set of their own; `benchmarks/arm_parity.py` runs 200 on all. The first few use
#: every kernel; `python -m benchmarks.covering` chooses such seeds.
SEEDS = (269, 7, 40, 184, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16)
#: Networks on CPUs whose instruction set another one here has too.
FEWER = 8
ALIKE = ("qemu-aarch64-a53", "mps2-an500", "mps2-an505")


def need(machine: Machine) -> None:
    reason = reason_not_to_run(machine)
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("machine", [m for m in CPUS if m != HOST_SANITIZED], ids=lambda machine: machine.name)
def test_every_tensor_of_random_networks_equals_the_reference(machine: Machine) -> None:
    need(machine)
    seeds = SEEDS[:FEWER] if machine.name in ALIKE else SEEDS
    cases = [Case(f"n{seed}", f"seed {seed}", of_seed(SPACE, seed)) for seed in seeds]
    verdicts = run_batch(machine, cases)
    wrong = [
        f"{case.recipe} on {machine.name}: {verdict.wrong}; to repeat and shorten it: "
        f"python -m benchmarks.arm_parity --cpu {machine.name} --recipe {spell(case.example.recipe)}"
        for verdict, case in zip(verdicts, cases, strict=True)
        if verdict.wrong
    ]
    assert not wrong, "\n".join(wrong)
    assert all(verdict.codes > 20 for verdict in verdicts)
    assert len(verdicts) == len(seeds)


def test_the_networks_use_every_kernel() -> None:
    used = [kernels(of_seed(SPACE, seed).graph) for seed in SEEDS[:FEWER]]
    assert KERNELS - frozenset().union(*used) == frozenset(), "choose others: python -m benchmarks.covering"


@st.composite
def networks(draw: st.DrawFn) -> Example:
    example = random_network(lambda n: draw(st.integers(0, n - 1)), SPACE)
    assume(example is not None)
    assert example is not None
    return example


@settings(
    max_examples=int(os.environ.get("EDGEMILL_EXAMPLES", "8")),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(example=networks())
def test_random_networks_are_clean_under_sanitizers(example: Example) -> None:
    need(HOST_SANITIZED)
    verdict = run_batch(HOST_SANITIZED, [Case("net", "drawn", example)])[0]
    assert not verdict.wrong, f"recipe {spell(example.recipe)}: {verdict.wrong}"


def test_a_wrong_code_is_found_and_named() -> None:
    """The comparison can fail: one code of one tensor is expected to be another, of one network of three."""
    need(HOST)
    examples = [of_seed(SPACE, seed) for seed in range(3)]
    tensor = examples[1].graph.nodes[-1].output
    spoilt = examples[1].values[tensor].copy()
    spoilt.flat[3] += 1
    examples[1] = replace(examples[1], values={**examples[1].values, tensor: spoilt})
    verdicts = run_batch(HOST, [Case(f"n{i}", f"seed {i}", example) for i, example in enumerate(examples)])
    assert [bool(verdict.wrong) for verdict in verdicts] == [False, True, False]
    assert verdicts[1].wrong.startswith(f"{tensor} = ")
    assert "1 of " in verdicts[1].wrong


def test_one_network_that_does_not_compile_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    need(HOST)
    cases = [Case(f"n{seed}", f"seed {seed}", of_seed(SPACE, seed)) for seed in range(2)]
    write = TARGET.write

    def spoil(source, folder):  # type: ignore[no-untyped-def]
        facts = write(source, folder)
        if source.name == "n1":
            (folder / "n1.c").write_text('#error "spoilt"\n')
        return facts

    monkeypatch.setattr("export.arm_m.TARGET", replace(TARGET, write=spoil))
    verdicts = run_batch(HOST, cases)
    assert verdicts[0].wrong == ""
    assert "spoilt" in verdicts[1].wrong


def test_a_recipe_makes_the_same_network_again() -> None:
    for seed in range(10):
        first = of_seed(SPACE, seed)
        again = of_recipe(SPACE, first.recipe)
        assert again is not None
        assert again.graph.nodes == first.graph.nodes
        assert all((again.values[name] == codes).all() for name, codes in first.values.items())
