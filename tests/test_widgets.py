"""What the widgets hold and refuse, without a browser."""

import base64
import io
import re
import sys
from unittest.mock import Mock

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from torch import nn

from normlib.axes import normalize
from normlib.layers import (
    BatchNorm,
    BatchRenorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MeanOnlyBatchNorm,
    RMSNorm,
    SwitchableNorm,
)
from normlib.private import private_copy
from normlib.widgets import AxesExplorer, Flipbook, Predict, progress
from normlib.widgets._base import Packer, unpack
from tools.notebooks import ROOT, load

X = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(0))


def unpacked(explorer, where):
    return unpack(explorer.data, where)


def footprint_of(explorer, cell, question="sees", method=0, setting=0):
    """The cells of a footprint, decoded as the browser does, and its sentence."""
    rows = explorer.spec["methods"][method]["variants"][setting][question]
    kind = unpacked(explorer, rows["which"])[cell]
    runs, offsets = unpacked(explorer, rows["runs"]), unpacked(explorer, rows["offsets"])
    inside = np.zeros(int(np.prod(explorer.spec["shape"])), bool)
    for k in range(offsets[kind], offsets[kind + 1], 2):
        inside[runs[k] : runs[k + 1]] = True
    return inside.reshape(explorer.spec["shape"]), rows["text"][kind]


def learned(layer):
    """A layer with random parameters."""
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return layer


@pytest.mark.parametrize(
    ("fn", "index", "says"),
    [
        (BatchNorm(4), np.s_[:, 2], "uses 30 values: channel 2, every example, every position."),
        (LayerNorm((4, 2, 5)), np.s_[1], "40 values: every channel, example 1, every position."),
        (InstanceNorm(4), np.s_[1, 2], "uses 10 values: channel 2, example 1, every position."),
        (GroupNorm(2, 4), np.s_[1, 2:], "20 values: channels 2 to 3, example 1, every position."),
        (lambda x: normalize(x, "W"), np.s_[1, 2, 0], "channel 2, example 1, row 0, every column."),
        (lambda x: x - x[:1], np.s_[[0, 1], 2, 0, 3], "examples 0 to 1, row 0, column 3."),
        (lambda x: x - x[::2].mean(), None, "do not form a block"),
    ],
)
def test_explorer_holds_the_measured_footprint_and_says_it(fn, index, says):
    cell = np.ravel_multi_index((1, 2, 0, 3), X.shape)
    inside, text = footprint_of(AxesExplorer(fn, X), cell)
    if index is not None:
        expected = np.zeros(X.shape, bool)
        expected[index] = True
        np.testing.assert_array_equal(inside, expected)
    assert says in text


def test_reaches_is_the_transpose_of_sees():
    explorer = AxesExplorer(lambda x: x - x[:1], X)
    inside, text = footprint_of(explorer, 7, "reaches")
    assert inside.sum() == 2  # the first example moves every other one; its own output is 0
    assert text.startswith("This input moves 2 outputs")
    assert footprint_of(explorer, 60, "reaches")[0].sum() == 1


@pytest.mark.parametrize(
    "fn", [BatchNorm(4), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), lambda x: normalize(x, "CHW")]
)
def test_outputs_equal_torch_and_travel_with_two_tests(fn):
    explorer = AxesExplorer(fn, X)
    variant = explorer.spec["methods"][0]["variants"][0]
    y = unpacked(explorer, variant["y"]).reshape(X.shape)
    np.testing.assert_allclose(y, fn(X).detach(), atol=1e-5)
    assert len(variant["tests"]) == len(explorer.spec["tests"]) == 2
    for x, y in zip(explorer.spec["tests"], variant["tests"], strict=True):
        changed = torch.tensor(unpacked(explorer, x)).view(X.shape)
        assert not torch.equal(changed, X.double())
        wanted = fn(changed.float()).detach()
        np.testing.assert_allclose(unpacked(explorer, y).reshape(X.shape), wanted, atol=1e-5)


def test_eval_mode_shows_the_stored_statistics():
    layer = BatchNorm(4)
    layer(X)
    variant = (explorer := AxesExplorer(layer.eval(), X)).spec["methods"][0]["variants"][0]
    assert variant["formula"] == "standardise"
    mean, var = (unpacked(explorer, kept) for kept in variant["memory"])
    np.testing.assert_allclose(mean, layer.running_mean)
    np.testing.assert_allclose(var, layer.running_var)


def test_looking_with_the_explorer_changes_nothing():
    layer, rng = BatchNorm(4), torch.get_rng_state()
    AxesExplorer([layer, lambda x: layer(nn.functional.dropout(x))], X)
    assert torch.equal(torch.get_rng_state(), rng)
    assert layer.num_batches_tracked == 0
    assert layer.running_mean.abs().max() == 0
    assert layer.training


def test_methods_come_in_many_forms():
    def names(methods):
        return [m["name"] for m in AxesExplorer(methods, X).spec["methods"]]

    assert names(BatchNorm(4)) == ["BatchNorm"]
    assert names([BatchNorm(4), BatchNorm(4), torch.relu]) == ["BatchNorm", "BatchNorm'", "relu"]
    assert names({"mine": lambda x: x}) == ["mine"]
    family = AxesExplorer({"GN": {1: GroupNorm(1, 4), 4: GroupNorm(4, 4)}}, X)
    assert family.spec["methods"][0]["settings"] == [1, 4]


def test_other_layouts():
    tokens = AxesExplorer(LayerNorm(6), torch.randn(2, 3, 6))
    assert (
        footprint_of(tokens, 8)[1]
        == "This output uses 6 values: token 1, example 0, every feature."
    )
    sequence = AxesExplorer(InstanceNorm(3), torch.randn(2, 3, 6), layout="NCL")
    assert "channel 1, example 0, every position" in footprint_of(sequence, 8)[1]
    features = AxesExplorer(BatchNorm(5), torch.randn(4, 5))
    assert "feature 3, every example" in footprint_of(features, 3)[1]


def test_the_payload_of_the_default_tensor_is_small():
    methods = [BatchNorm(6), BatchNorm(6).eval(), LayerNorm((6, 4, 4)), InstanceNorm(6)]
    explorer = AxesExplorer(methods, torch.randn(4, 6, 4, 4))
    assert len(explorer.data) + len(str(explorer.spec)) + len(explorer._css) < 300_000


@pytest.mark.parametrize(
    ("methods", "x", "error", "says"),
    [
        (BatchNorm(4), torch.randn(8, 4, 16, 16), ValueError, r"8,192 cells .* x\[:4, :8\]"),
        (BatchNorm(4), X.long(), TypeError, r"x\.float\(\)"),
        (BatchNorm(4), X * float("nan"), ValueError, "120 values that are NaN"),
        (BatchNorm(4), X[0, 0, 0], ValueError, "axes"),
        (BatchNorm(4), X[:0], ValueError, "nothing to show"),
        (BatchNorm(5), X, ValueError, "BatchNorm fails .* 5 channels"),
        ({}, X, TypeError, "dict of name to function"),
        ({"a": 3}, X, TypeError, "'a' is int"),
        ({"a": {}}, X, ValueError, "no settings"),
        (lambda x: x.mean(0), X, ValueError, "keep the shape"),
        (lambda x: x.detach(), X, ValueError, "no gradient"),
    ],
)
def test_explorer_says_what_is_wrong(methods, x, error, says):
    with pytest.raises(error, match=says):
        AxesExplorer(methods, x)


def test_explorer_refuses_cells_that_do_not_exist():
    explorer = AxesExplorer(BatchNorm(4), X)
    with pytest.raises(traitlets.TraitError, match="0 to 119"):
        explorer.cell = 120
    for trait in ("method", "setting"):
        with pytest.raises(traitlets.TraitError, match="0 to 0"):
            setattr(explorer, trait, 1)


def draw(height, color="blue"):
    """A bar."""
    fig, ax = plt.subplots(figsize=(2, 2))
    ax.bar([0], [height], color=color)
    return fig


def test_flipbook_draws_every_setting_once_and_leaves_no_figure():
    book = Flipbook(draw, height=[1, 2, 3], color=["red", "blue"])
    assert len(book.spec["frames"]) == 6
    assert [f["alt"] for f in book.spec["frames"]][1] == "A bar. height = 1, color = blue"
    assert [c["slider"] for c in book.spec["choices"]] == [True, False]
    for entry in book.spec["frames"]:
        _, offset, length = entry["image"]
        assert book.data[offset : offset + 4] == b"RIFF"
        assert book.data[offset + 8 : offset + 12] == b"WEBP"
        assert length > 100
    assert plt.get_fignums() == []


def test_flipbook_takes_alt_text_from_a_function():
    book = Flipbook(draw, alt=lambda height: f"a bar of {height}", height=[1, 2])
    assert [f["alt"] for f in book.spec["frames"]] == ["a bar of 1", "a bar of 2"]


def test_flipbook_shows_names_as_words():
    book = Flipbook(lambda batch_size: draw(batch_size), alt="A bar.", batch_size=[1])
    assert book.spec["choices"][0]["name"] == "batch size"
    assert book.spec["frames"][0]["alt"] == "A bar. batch size = 1"


def noise(seed):
    fig, ax = plt.subplots(figsize=(8, 8))
    ax.imshow(np.random.default_rng(seed).random((600, 600, 3)), interpolation="nearest")
    return fig


def fails_at_zero(height, color):
    return draw(1 / height, color)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Flipbook(draw), "at least one choice"),
        (lambda: Flipbook(draw, height=[]), "height has no values"),
        (lambda: Flipbook(noise, seed=range(9)), r"9 pictures of about \d+ kB are more than 2 MB"),
        (
            lambda: Flipbook(fails_at_zero, height=[1, 0], color=["red"]),
            r"draw\(height=0, color='red'\) failed: ZeroDivisionError",
        ),
        (lambda: Flipbook(lambda height: None, height=[1]), "return fig"),
    ],
)
def test_flipbook_says_what_is_wrong_and_leaves_no_figure(make, says):
    with pytest.raises(ValueError, match=says):
        make()
    assert plt.get_fignums() == []


def test_flipbook_index_stays_in_range():
    book = Flipbook(draw, height=[1, 2])
    book.index = [1]
    for wrong in ([2], [-1], [0, 0], []):
        with pytest.raises(traitlets.TraitError, match="does not exist"):
            book.index = wrong


def test_predict_locks_for_good():
    guess = Predict("Which?", ["a", "b", "c"])
    with pytest.raises(traitlets.TraitError, match="before locking"):
        guess.locked = True
    guess.choice = 1
    guess.choice = 2
    guess.locked = True
    with pytest.raises(traitlets.TraitError, match="locked"):
        guess.choice = 0
    with pytest.raises(traitlets.TraitError, match="stays locked"):
        guess.locked = False
    assert guess.reveal("a", because="measured") is guess
    assert (guess.answer, guess.choice, guess.because) == (0, 2, "measured")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Predict("Which?", ["a"]), "at least two"),
        (lambda: Predict("Which?", []), "at least two"),
        (lambda: Predict("Which?", ["a", "a"]), "differ"),
        (lambda: Predict("Which?", ["a", "b"]).reveal("c"), "not one of the options"),
    ],
)
def test_predict_says_what_is_wrong(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_every_array_starts_where_a_browser_can_read_it():
    packer = Packer()
    where = [packer.add([1, 2, 3], "i4"), packer.add([0.5], "f8"), packer.add([7], "u1")]
    assert [offset % 8 for _, offset, _ in where] == [0, 0, 0]
    assert np.frombuffer(packer.bytes(), "<f8", count=1, offset=where[1][1]).item() == 0.5


WEIGHTS = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(0))


def seen_outputs(widget, monkeypatch):
    """The outputs that a widget shows, in order, and what becomes of them."""
    shown = {}

    def display(data, *, display_id=None, update=False, **_):
        assert update == (display_id in shown)
        shown[display_id] = data

    monkeypatch.setattr("normlib.widgets._base.display", display)
    widget._ipython_display_()
    return shown


STILLS = {
    "explorer": lambda: AxesExplorer({"BN": BatchNorm(4), "LN": LayerNorm((4, 2, 5))}, X, cell=33),
    "tokens": lambda: AxesExplorer(LayerNorm(8), torch.randn(2, 3, 8)),
    "weights": lambda: AxesExplorer(lambda v: v / v.norm(), torch.randn(5, 3), layout="OI"),
    "4,096 cells": lambda: AxesExplorer(BatchNorm(8), torch.randn(8, 8, 8, 8)),
    "flipbook": lambda: Flipbook(draw, height=[1, 2], color=["red"]),
    "photograph": lambda: Flipbook(noise, seed=[0]),
    "predict": lambda: Predict("Which?", ["cats", "dogs"]),
}


@pytest.mark.parametrize("name", STILLS)
def test_a_widget_leaves_words_and_a_picture_behind_itself(name, monkeypatch):
    widget = STILLS[name]()
    alive, still = seen_outputs(widget, monkeypatch).values()
    view = "application/vnd.jupyter.widget-view+json"
    assert alive[view]["model_id"] == widget.model_id
    assert alive["text/html"] == alive["text/plain"] == ""
    text = still["text/html"]
    assert len(text) < 60_000
    assert text.startswith(f'<div class="nl-still" data-still="{widget.still}">')
    assert "Run the notebook to" in still["text/plain"]
    if name != "predict":
        code = re.search(r'<img alt="[^"]{8,}" src="data:image/webp;base64,([^"]+)"', text)[1]
        assert Image.open(io.BytesIO(base64.b64decode(code))).size[0] > 30


def test_the_still_says_what_the_explorer_showed(monkeypatch):
    widget = STILLS["explorer"]()
    *_, still = seen_outputs(widget, monkeypatch).values()
    assert "BN, example 0, channel 3, row 0, column 3." in still["text/plain"]
    assert "This output uses 30 values: channel 3, every example" in still["text/plain"]
    colors = np.asarray(Image.open(io.BytesIO(widget.picture()[0])).convert("RGB")).reshape(-1, 3)
    assert (colors == (196, 78, 0)).all(1).any()  # the chosen cell
    blue = colors[:, 2].astype(int) - colors[:, 0] > 30
    assert blue.sum() * 120 == 29 * (colors.min(1) < 255).sum()  # the rest of its footprint


def test_what_is_locked_later_reaches_the_still(monkeypatch):
    guess = Predict("Which <b>is</b> it?", ["cats", "dogs"])
    shown = seen_outputs(guess, monkeypatch)
    text = shown[guess.still]["text/plain"]
    assert text.splitlines()[:3] == ["Predict first: Which <b>is</b> it?", "- cats", "- dogs"]
    assert "&lt;b&gt;" in shown[guess.still]["text/html"]
    guess.reveal("dogs", because="9 to 1.")
    assert "9 to 1" not in shown[guess.still]["text/plain"]
    guess.choice, guess.locked = 0, True
    text = shown[guess.still]["text/plain"]
    assert "- cats (yours)" in text
    assert "- dogs (measured)" in text
    assert text.endswith("You said cats. What came out: dogs. 9 to 1.")


def test_a_bar_goes_through_its_steps_without_a_notebook():
    assert list(progress([1, 2, 3], "counting")) == [1, 2, 3]


def test_in_a_notebook_a_bar_is_text_that_is_gone_in_the_end(monkeypatch):
    shown, place = [], Mock()
    place.update = lambda data, raw: shown.append(data["text/plain"])
    module = sys.modules["normlib.widgets.progress"]
    monkeypatch.setattr(module, "get_ipython", lambda: Mock(kernel="a kernel"))
    monkeypatch.setattr(module, "display", lambda data, raw, display_id: place)
    assert list(progress([3, 1], "counting")) == [3, 1]
    assert [re.findall(r"counting: +(\d+)%.* (\d/\d) ", text) for text in shown] == [
        [("0", "0/2")], [("50", "1/2")], [],
    ]  # fmt: skip
    for _ in progress([3, 1]):
        break  # or an error
    assert shown[-1] == ""


def norm_of(v, axes):
    return torch.linalg.vector_norm(v, dim=axes, keepdim=True)


@pytest.mark.parametrize(
    ("formula", "fn"),
    {
        "length": lambda v: v / norm_of(v, (1, 2, 3)),
        "rms": lambda v: v / (v.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt(),
        "centre": lambda v: v - v.mean((1, 2, 3), keepdim=True),
        "standardise": lambda v: normalize(v, "CHW"),
    }.items(),
)
def test_the_weight_view_finds_the_arithmetic_that_gives_the_output(formula, fn):
    explorer = AxesExplorer(fn, WEIGHTS, layout="OIHW")
    variant = explorer.spec["methods"][0]["variants"][0]
    assert variant["formula"] == formula
    assert variant["sees"]["text"][1] == (
        "This output uses 8 values: filter 1, every channel, every position."
    )


def test_a_weight_divided_by_its_largest_singular_value_has_no_mean_to_show():
    v = torch.randn(4, 5)
    explorer = AxesExplorer(lambda w: w / torch.linalg.matrix_norm(w, 2), v, layout="OI")
    assert explorer.spec["methods"][0]["variants"][0]["formula"] == "mixture"


def test_a_weight_matrix_is_read_as_units_and_inputs():
    explorer = AxesExplorer(lambda v: v / norm_of(v, 1), WEIGHTS[:, :, 0, 0], layout="OI")
    variant = explorer.spec["methods"][0]["variants"][0]
    assert variant["sees"]["text"][0] == "This output uses 2 values: unit 0, every input."


def test_where_no_single_mean_and_variance_gives_the_output_none_is_shown():
    x = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    weighted = nn.BatchNorm2d(4)
    nn.init.uniform_(weighted.weight)
    evaluated = BatchRenorm(4)
    evaluated(x)
    cases = {
        "mixture": SwitchableNorm(4),
        "tanh": torch.tanh,
        "weighted": weighted,
        "eval": evaluated.eval(),
    }
    explorer = AxesExplorer(cases, x)
    found = [m["variants"][0] for m in explorer.spec["methods"]]
    assert [v["formula"] for v in found] == ["mixture", "mixture", "standardise", "mixture"]
    assert [len(v["memory"]) for v in found] == [0, 0, 0, 0]


def formula_of(fn, x, **settings):
    return AxesExplorer(fn, x, **settings).spec["methods"][0]["variants"][0]["formula"]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_arithmetic_is_named_where_it_gives_the_outputs_however_few_examples(n):
    tokens, images = torch.randn(n, 3, 5), torch.randn(n, 4, 2, 3)
    assert formula_of(learned(LayerNorm(5)), tokens) == "standardise"
    assert formula_of(learned(LayerNorm((4, 2, 3))), images) == "standardise"
    assert formula_of(learned(GroupNorm(2, 4)), images) == "standardise"
    assert formula_of(learned(RMSNorm(5)), tokens) == "rms"
    weight = torch.arange(1.0, 6.0).double()
    assert formula_of(lambda x: weight * nn.functional.normalize(x, dim=-1), tokens) == "length"
    for other in (
        torch.tanh, lambda x: x.softmax(-1), lambda x: x**3 * x.mean(-1, keepdim=True),
        lambda x: 1e-6 * x.softmax(-1), lambda x: x.var(-1, keepdim=True).expand_as(x),
    ):  # fmt: skip
        assert formula_of(other, tokens) == "mixture"


def test_a_mean_only_norm_with_a_bias_is_centred():
    assert formula_of(learned(MeanOnlyBatchNorm(4)), X) == "centre"


def test_statistics_from_memory_are_shown_only_where_they_give_the_output():
    layer = nn.BatchNorm2d(4)
    layer(X)
    shown = AxesExplorer(layer.eval(), X).spec["methods"][0]["variants"][0]
    assert len(shown["memory"]) == 2

    class Squashed(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).tanh()

    squashed = AxesExplorer(Squashed(4).eval(), X).spec["methods"][0]["variants"][0]
    assert (squashed["formula"], squashed["memory"]) == ("mixture", [])


def test_arithmetic_that_does_not_hold_for_changes_is_not_offered():
    def clipped(x):  # what the probes see is Layer Norm; an outlier is cut off
        return normalize(x, "CHW").clamp(max=3.8)

    variant = AxesExplorer(clipped, X).spec["methods"][0]["variants"][0]
    assert (variant["formula"], variant["tests"]) == ("standardise", [])


@pytest.mark.parametrize(
    ("fn", "length"),
    [(BatchNorm(4), 1), (learned(BatchNorm(4)), 40), (learned(LayerNorm((4, 2, 5))), 40)],
)
def test_weight_and_bias_travel_once_for_all_examples(fn, length):
    variant = (explorer := AxesExplorer(fn, X)).spec["methods"][0]["variants"][0]
    weight = unpacked(explorer, variant["weight"])
    assert len(weight) == length
    shape = (4, 1, 1) if fn.weight.dim() == 1 else (4, 2, 5)
    wanted = fn.weight.detach().view(shape).expand(4, 2, 5).flatten()
    np.testing.assert_allclose(np.resize(weight, 40), wanted, atol=1e-6)


def answers(explorer, changes):
    """What Python says of changes, for a browser that asks."""
    explorer.asks = True
    explorer.changes = changes
    return np.frombuffer(explorer.answer, "<f8").reshape(X.shape), explorer.answered


def test_python_answers_for_arithmetic_that_is_not_known():
    switch = SwitchableNorm(4)
    explorer = AxesExplorer({"SN": switch, "tanh": {"a": torch.tanh, "b": torch.sigmoid}}, X)
    changed = X.double().clone()
    changed[0, 1, 0, 2] = 7
    y, answered = answers(explorer, {12: 7})
    np.testing.assert_allclose(y, switch(changed.float()).detach(), atol=1e-5)
    assert answered == {"method": 0, "setting": 0, "changes": {"12": 7.0}}
    explorer.method, explorer.setting = 1, 1
    y, answered = answers(explorer, {12: 7, 0: 1.5})
    changed[0, 0, 0, 0] = 1.5
    np.testing.assert_allclose(y, changed.sigmoid())
    assert answered == {"method": 1, "setting": 1, "changes": {"12": 7.0, "0": 1.5}}


def test_a_function_that_fails_on_a_change_says_so():
    def positive(x):
        if x.max() > 50:
            raise ValueError("too large for me")
        return x.tanh()

    explorer = AxesExplorer(positive, X)
    assert "too large for me" in answers_error(explorer, {3: 99})


def answers_error(explorer, changes):
    explorer.asks = True
    explorer.changes = changes
    return explorer.answered["error"]


@pytest.mark.parametrize("wrong", [{120: 1}, {-1: 1}, {"a": 1}, {0: float("nan")}])
def test_changes_that_cannot_be_are_refused(wrong):
    explorer = AxesExplorer(BatchNorm(4), X)
    with pytest.raises(traitlets.TraitError, match="0 to 119"):
        explorer.changes = wrong


def test_batch_renorm_is_shown_as_two_things():
    spec = AxesExplorer({"Renorm": BatchRenorm(4)}, X).spec
    assert [m["name"] for m in spec["methods"]] == ["Renorm: its value", "Renorm: its gradient"]
    value, gradient = (m["variants"][0] for m in spec["methods"])
    assert set(value["sees"]["counts"]) == {1}
    assert value["sees"]["itself"] == "This output uses 1 value: its own input."
    assert set(gradient["sees"]["counts"]) == {30}
    assert "The gradient of this output goes to 30 of the inputs" in gradient["sees"]["text"][0]
    assert "hidden from" in spec["text"][value["note"]]
    assert "need not change" in spec["text"][gradient["reach_note"]]


def test_the_words_say_that_the_values_decide():
    spec = AxesExplorer(nn.Sequential(BatchNorm(4), nn.ReLU()), X).spec
    variant = spec["methods"][0]["variants"][0]
    assert set(variant["sees"]["counts"]) == {30}
    assert "depends on the input" in spec["text"][variant["note"]]
    assert "can change" in spec["text"][variant["reach_note"]]


def test_what_came_after_the_article_is_shown_as_finite_differences_tell():
    """The explorers of notebook 5, as its cells make them, for every output and every input."""
    made, space = [], {}
    cells = {cell.id: cell.source for cell in load(ROOT / "notebooks/05_conclusion.ipynb").cells}
    exec(cells["imports"], space)
    space["AxesExplorer"] = lambda *args, **kwargs: made.append(
        (AxesExplorer(*args, **kwargs), *args)
    )
    for id in ("axes", "axes-show", "images-define", "images-show"):
        exec(cells[id], space)
    names = {name for _, methods, _ in made for name in methods}
    assert names >= {
        "RMSNorm", "QK-norm", "nGPT", "AdaLN", "Dynamic Tanh", "Derf", "GRN", "EvoNorm-S0",
    }  # fmt: skip
    for explorer, methods, x in made:
        steps = 1e-4 * torch.eye(x.numel(), dtype=torch.float64).view(-1, *x.shape)
        for number, fn in enumerate(methods.values()):
            run = private_copy(fn)  # in float64
            moves = np.zeros((x.numel(), x.numel()), bool)
            draw = torch.Generator().manual_seed(3)
            for point in torch.randn(2, *x.shape, generator=draw).double():
                before = run(point).detach()
                change = [(run(point + step).detach() - before).abs().flatten() for step in steps]
                moves |= (torch.stack(change, 1) > 1e-9).numpy()
            for cell, wanted in enumerate(moves):
                inside, _ = footprint_of(explorer, cell, method=number)
                np.testing.assert_array_equal(inside.ravel(), wanted)
