"""What the widgets hold and refuse, without a browser."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import traitlets
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
from normlib.widgets import AxesExplorer, Flipbook, Predict
from normlib.widgets._base import Packer

X = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(0))


def unpacked(explorer, where):
    kind, offset, length = where
    dtype = {"f8": "<f8", "i4": "<i4"}[kind]
    return np.frombuffer(explorer.data, dtype, length, offset)


def footprint_of(explorer, cell, question="sees", method=0, setting=0):
    """The cells of a footprint, decoded as the browser does, and its sentence."""
    rows = explorer.spec["methods"][method]["variants"][setting][question]
    kind = unpacked(explorer, rows["which"])[cell]
    runs, offsets = unpacked(explorer, rows["runs"]), unpacked(explorer, rows["offsets"])
    inside = np.zeros(int(np.prod(explorer.spec["shape"])), bool)
    for k in range(offsets[kind], offsets[kind + 1], 2):
        inside[runs[k] : runs[k + 1]] = True
    return inside.reshape(explorer.spec["shape"]), rows["text"][kind]


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
def test_statistics_and_outputs_equal_torch(fn):
    explorer = AxesExplorer(fn, X)
    variant = explorer.spec["methods"][0]["variants"][0]
    np.testing.assert_allclose(
        unpacked(explorer, variant["y"]).reshape(X.shape), fn(X).detach(), atol=1e-5
    )
    for cell in (0, 37, 119):
        inside, _ = footprint_of(explorer, cell)
        kind = unpacked(explorer, variant["sees"]["which"])[cell]
        values = X.numpy()[inside]
        assert abs(unpacked(explorer, variant["mean"])[kind] - values.mean()) < 1e-6
        assert abs(unpacked(explorer, variant["var"])[kind] - values.var()) < 1e-6


def test_eval_mode_shows_the_stored_statistics():
    layer = BatchNorm(4)
    layer(X)
    variant = (explorer := AxesExplorer(layer.eval(), X)).spec["methods"][0]["variants"][0]
    assert set(variant["source"]) == {"running"}
    assert variant["formula"] == "standardise"
    assert unpacked(explorer, variant["mean"])[0] == pytest.approx(layer.running_mean[0].item())


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
    assert [v["source"][0] for v in found] == ["none", "none", "measured", "none"]
    assert found[0]["formula"] == "mixture"
    assert found[2]["formula"] == "standardise"


def formula_of(fn, x, **settings):
    return AxesExplorer(fn, x, **settings).spec["methods"][0]["variants"][0]["formula"]


def learned(layer):
    """A layer with random parameters."""
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return layer


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
    assert set(shown["source"]) == {"running"}

    class Squashed(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).tanh()

    squashed = AxesExplorer(Squashed(4).eval(), X).spec["methods"][0]["variants"][0]
    assert set(squashed["source"]) == {"none"}


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
