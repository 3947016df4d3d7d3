"""Finetuning on digits: accuracy comes back, every interruption is harmless, and what cannot work is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("brevitas", reason="Brevitas is not installed")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

from edge import finetune as module  # noqa: E402
from edge.calibration import calibration_inputs  # noqa: E402
from edge.cli import main  # noqa: E402
from edge.data import load  # noqa: E402
from edge.errors import EdgeError  # noqa: E402
from edge.evaluate import float_labels, quantised_labels  # noqa: E402
from edge.finetune import Finetuning, finetune  # noqa: E402
from edge.train import Schedule  # noqa: E402
from quant.errors import QuantError  # noqa: E402
from quant.graph import Graph  # noqa: E402
from quant.graph_file import load as load_graph  # noqa: E402
from quant.graph_file import to_bytes  # noqa: E402
from quant.ptq import quantise  # noqa: E402
from quant.scheme import parse_scheme  # noqa: E402
from tests.tiny import float_graph, listing, write_onnx  # noqa: E402

QUICK = Schedule(epochs=3, batch=32, rate=0.03, seed=1)
DIGITS = load("digits")
FLOAT = float_graph()


def quantised(scheme: str) -> Graph:
    """The tiny classifier after plain post-training quantisation."""
    return quantise(FLOAT, parse_scheme(scheme), calibration_inputs(FLOAT, DIGITS, 64, 0))


def accuracy(graph: Graph) -> float:
    """Share of test digits right, by the integer reference."""
    return float((quantised_labels(graph, DIGITS.preprocess.apply(DIGITS.x_test)) == DIGITS.y_test).mean())


@pytest.mark.parametrize("scheme", ["w2a4", "we2m0-ae3m2", "w3a3-sym"])
@pytest.mark.parametrize("loss", ["distil", "labels", "both"])
def test_accuracy_lost_to_few_bits_comes_back(scheme, loss):
    start = quantised(scheme)
    made = finetune(FLOAT, start, DIGITS, QUICK, Finetuning(loss=loss, learn_scales=loss != "distil"), show=False)
    x = DIGITS.preprocess.apply(DIGITS.x_test)
    floating = float((float_labels(FLOAT, x) == DIGITS.y_test).mean())
    before, after = accuracy(start), accuracy(made.graph)
    assert made.best > 0
    assert made.losses[made.best] == min(made.losses) < 0.8 * made.losses[0]
    assert len(made.losses) == 4
    assert after - before > (floating - before) / 3
    assert len(np.unique(quantised_labels(made.graph, x))) == 10


def test_stochastic_gradient_descent_trains_too():
    how = Finetuning(optimiser="sgd", loss="labels")
    made = finetune(FLOAT, quantised("w3a4"), DIGITS, replace(QUICK, rate=3.0), how, show=False)
    assert made.best > 0


def test_the_result_is_never_worse_on_the_images_held_out():
    start = quantised("w8a8")
    made = finetune(FLOAT, start, DIGITS, replace(QUICK, epochs=1, rate=50.0), show=False)
    assert made.best == 0
    assert made.losses[1] > made.losses[0]
    assert to_bytes(made.graph) == to_bytes(start)


def test_distillation_does_not_look_at_labels():
    shuffled = replace(DIGITS, y_train=np.zeros_like(DIGITS.y_train))
    made = [finetune(FLOAT, quantised("w3a4"), data, QUICK, show=False).graph for data in (DIGITS, shuffled)]
    assert to_bytes(made[0]) == to_bytes(made[1])


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("stop", [1, 2])
def test_an_interrupted_training_ends_with_the_same_graph(tmp_path, monkeypatch, optimiser, stop):
    start, how = quantised("w3a4"), Finetuning(optimiser=optimiser, learn_scales=True)
    whole = finetune(FLOAT, start, DIGITS, QUICK, how, show=False)
    state = tmp_path / "state.npz"
    save, calls = module.save_progress, []

    def save_and_stop(*arguments):
        save(*arguments)
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_progress", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        finetune(FLOAT, start, DIGITS, QUICK, how, state, show=False)
    assert list(listing(tmp_path)) == ["state.npz"]
    again = finetune(FLOAT, start, DIGITS, QUICK, how, state, show=False)
    assert len(calls) == QUICK.epochs
    assert to_bytes(again.graph) == to_bytes(whole.graph)
    assert again.losses == whole.losses
    finished = finetune(FLOAT, start, DIGITS, QUICK, how, state, show=False)
    assert len(calls) == QUICK.epochs
    assert to_bytes(finished.graph) == to_bytes(whole.graph)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    start, state = quantised("w3a4"), tmp_path / "state.npz"
    once = replace(QUICK, epochs=1)
    finetune(FLOAT, start, DIGITS, once, checkpoint=state, show=False)
    before = state.read_bytes()
    for schedule, graph in ((replace(once, seed=2), start), (once, quantised("w3a5"))):
        with pytest.raises(EdgeError, match="not the state of this training"):
            finetune(FLOAT, graph, DIGITS, schedule, checkpoint=state, show=False)
    assert state.read_bytes() == before
    with np.load(state, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for missing in ("best", next(name for name in arrays if name.startswith("module/"))):
        np.savez(state, **{name: array for name, array in arrays.items() if name != missing})
        with pytest.raises(EdgeError, match="is damaged"):
            finetune(FLOAT, start, DIGITS, once, checkpoint=state, show=False)
    state.write_bytes(before[:200])
    with pytest.raises(EdgeError, match=r"not a readable \.npz"):
        finetune(FLOAT, start, DIGITS, once, checkpoint=state, show=False)


def test_what_cannot_be_trained_is_refused():
    start = quantised("w4a4")
    few = replace(DIGITS, x_train=DIGITS.x_train[:19], y_train=DIGITS.y_train[:19])
    with pytest.raises(EdgeError, match="19 training images; finetuning needs 20"):
        finetune(FLOAT, start, few, QUICK, show=False)
    with pytest.raises(EdgeError, match="no loss 'distill'; known are distil, labels, both"):
        finetune(FLOAT, start, DIGITS, QUICK, Finetuning(loss="distill"), show=False)
    with pytest.raises(EdgeError, match="above 0"):
        finetune(FLOAT, start, DIGITS, replace(QUICK, rate=0.0), show=False)
    with pytest.raises(EdgeError, match=r"the loss is (nan|inf) in epoch 1; lower the learning rate"):
        finetune(FLOAT, start, DIGITS, replace(QUICK, rate=1e30), Finetuning(learn_scales=True), show=False)
    with pytest.raises(QuantError, match="float graph"):
        finetune(FLOAT, FLOAT, DIGITS, QUICK, show=False)


# The command


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with the float network as ONNX, and the person standing in it."""
    monkeypatch.chdir(tmp_path)
    write_onnx(tmp_path / "mine.onnx")
    return tmp_path


def command(*words: object, data: str = "digits") -> list[str]:
    """Words of a finetune command that takes seconds."""
    output = () if "-o" in words else ("-o", "out.graph")
    return [str(w) for w in ("finetune", "mine.onnx", "--data", data, "--epochs", 2, *output, *words)]


def refused(desk: Path, *words: object, code: int = 1, data: str = "digits") -> str:
    """Run a command that must be refused in one line and change nothing."""
    before = listing(desk)
    result = CliRunner().invoke(main, command(*words, data=data))
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, listing(desk)) == (code, before), result.stderr
    assert "Traceback" not in result.output
    return result.stderr.splitlines()[-1].removeprefix("Error: ")


def test_the_command_writes_a_better_graph_and_goes_on_from_its_checkpoint(desk):
    words = command("--scheme", "w3a4", "--checkpoint", "state.npz", "--count", 64)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("out.graph: best of 2 epochs is epoch 2; held-out loss ")
    assert sorted(listing(desk)) == ["mine.onnx", "out.graph", "state.npz"]
    made = load_graph(desk / "out.graph")
    assert accuracy(made) > accuracy(quantised("w3a4"))
    again = CliRunner().invoke(main, [*words, "--force"])
    assert again.stdout == result.stdout
    assert to_bytes(load_graph(desk / "out.graph")) == to_bytes(made)


def test_the_command_starts_from_a_graph_and_writes_onnx(desk):
    words = ("quantize", "mine.onnx", "--scheme", "w4a8", "--calib", "digits", "--count", "64", "-o", "start.graph")
    assert CliRunner().invoke(main, words).exit_code == 0
    result = CliRunner().invoke(main, command("--start", "start.graph", "-o", "out.onnx", "--learn-scales"))
    assert result.exit_code == 0, result.stderr
    shown = CliRunner().invoke(main, ["eval", "out.onnx", "--data", "digits"])
    assert "of 539 test images right (integer reference)" in shown.stdout


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        ((), "give either --scheme, or --start", 2),
        (("--scheme", "w4a4", "--start", "mine.graph"), "give either --scheme, or --start", 2),
        (("--scheme", "w4"), "scheme 'w4'", 1),
        (("--scheme", "w4a4", "--rate", 0), "0.0 is not in the range x>0", 2),
        (("--scheme", "w4a4", "--epochs", 0), "0 is not in the range x>=1", 2),
        (("--scheme", "w4a4", "--loss", "distill"), "'distill' is not one of", 2),
        (("--scheme", "w4a4", "-o", "out.txt"), "write .onnx (QDQ, integers of at most 8 bits) or .graph", 1),
        (("--scheme", "we2m1-ae4m3", "-o", "out.onnx"), "e4m3", 1),
        (("--scheme", "w4a4", "-o", "none/out.graph"), "there is no folder none for out.graph", 1),
        (("--scheme", "w4a4", "--checkpoint", "state"), "the checkpoint is an .npz file", 1),
        (("--scheme", "w4a4", "--checkpoint", "none/s.npz"), "there is no folder none for s.npz", 1),
        (("--scheme", "w4a4", "-o", "mine.onnx"), "mine.onnx exists already", 1),
        (("--start", "mine.onnx"), "is a float graph; --start takes a quantised one", 1),
        (("--start", "none.graph"), "there is no file 'none.graph'", 1),
    ],
)
def test_a_command_that_cannot_work(desk, words, says, code):
    assert says in refused(desk, *words, code=code)


def test_data_that_do_not_suffice(desk):
    np.savez(desk / "few.npz", x=np.zeros((12, 1, 8, 8), np.uint8), y=np.arange(12) % 10)
    assert "12 training images; finetuning needs 20" in refused(desk, "--scheme", "w4a4", data="few.npz")
    np.savez(desk / "wide.npz", x=np.zeros((40, 1, 9, 9), np.uint8), y=np.arange(40) % 10)
    assert "images [1, 9, 9]; the model takes [1, 8, 8]" in refused(desk, "--scheme", "w4a4", data="wide.npz")
