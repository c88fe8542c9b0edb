"""Pictures are figures of what they were given, with alt text."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from normlib import plots
from normlib.layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm

X = torch.randn(3, 4, 2, 2)


def test_shared_sets_number_what_was_measured():
    assert (plots.shared_sets(BatchNorm(4), X) == np.arange(4).reshape(1, 4, 1, 1)).all()
    assert (plots.shared_sets(LayerNorm((4, 2, 2)), X) == np.arange(3).reshape(3, 1, 1, 1)).all()
    assert len(np.unique(plots.shared_sets(InstanceNorm(4), X))) == 12
    assert len(np.unique(plots.shared_sets(GroupNorm(2, 4), X))) == 6
    assert len(np.unique(plots.shared_sets(BatchNorm(4).eval(), X))) == 48


def test_cubes_draw_a_cube_and_a_table_for_every_method():
    fig = plots.cubes({"a": BatchNorm(4), "b": BatchNorm(4).eval()}, X)
    table = [text.get_text() for text in fig.axes[2].texts]
    assert table == ["0", "1", "2", "3"] * 3
    assert [t.get_text() for t in fig.axes[3].texts] == ["(4)"] * 12
    plt.close(fig)


def test_colours_of_neighbouring_sets_differ():
    colors = np.array([plots.set_color(i) for i in range(24)]).reshape(4, 6)
    assert (colors[1:] != colors[:-1]).all()
    assert (colors[:, 1:] != colors[:, :-1]).all()


def test_curves_show_mean_and_range():
    runs = np.array([[1.0, 2.0], [3.0, 4.0]])
    fig = plots.curves([0, 1], {"Batch Norm": runs, "without": runs + 1}, title="t")
    np.testing.assert_array_equal(fig.axes[0].lines[0].get_ydata(), [2.0, 3.0])
    assert {t.get_text() for t in fig.axes[0].texts} == {"Batch Norm", "without"}
    plt.close(fig)


@pytest.mark.parametrize("x", [[1, 2, 32], [32, 2, 1]])
def test_the_names_of_two_curves_stand_right_of_their_ends_and_apart(x):
    lower = np.array([[1.0, 5.0, 1.0]])  # both end in one point
    runs = {"Batch Norm": lower, "without": lower + np.array([[0.0, 1.0, 0.0]])}
    fig = plots.curves(x, runs, xscale="log")
    fig.canvas.draw()
    below, above = (text.get_window_extent() for text in fig.axes[0].texts)
    right = fig.axes[0].transData.transform((32, 1.0))[0]
    assert min(below.x0, above.x0) > right
    assert max(below.x1, above.x1) < fig.bbox.x1
    assert below.y1 < above.y0
    plt.close(fig)


@pytest.mark.parametrize(
    ("runs", "says"), [([1.0, 2.0], "shape"), ([[1.0, np.nan]], "NaN"), ([[1.0]], "shape")]
)
def test_curves_refuse_what_they_cannot_draw(runs, says):
    with pytest.raises(ValueError, match=says):
        plots.curves([0, 1], {"without": runs})
    plt.close("all")


def test_shared_sets_need_a_function_that_keeps_the_shape():
    with pytest.raises(ValueError, match="keep the shape"):
        plots.shared_sets(lambda x: x[:, :2], torch.randn(2, 4, 2, 2))


def test_strips_and_tiles_print_their_numbers():
    fig = plots.strips({"one": {"a": [1.0, 2.0], "b": [3.0]}}, "y")
    assert [t.get_text() for t in fig.axes[0].texts] == ["1.500", "3.000"]
    fig = plots.tiles(np.array([[0.5, 1.25]]), "t", 2)
    assert [t.get_text() for t in fig.axes[0].texts] == ["0.50", "1.25"]
    plt.close("all")


def test_a_shown_picture_has_alt_text_and_a_sentence_and_is_closed():
    fig = plots.strips({"one": {"a": [1.0]}}, "y")
    html = plots.show(fig, 'see "this" <b>', "what it shows")._repr_html_()
    assert 'alt="what it shows"' in html
    assert "<figcaption>see &quot;this&quot; &lt;b&gt;</figcaption>" in html
    assert not plt.fignum_exists(fig.number)


def test_curves_refuses_before_it_draws():
    before = plots.plt.get_fignums()
    with pytest.raises(ValueError, match=r"expected shape \(seeds, 2\)"):
        plots.curves([0, 1], {"a": np.zeros((2, 2)), "b": np.zeros((2, 3))})
    assert plots.plt.get_fignums() == before


def test_a_method_keeps_its_colour_and_marker_in_every_picture():
    curve = plots.curves([0, 1], {"Group Norm": np.ones((2, 2))}).axes[0].lines[0]
    dots = plots.strips({"t": {"Group Norm": [1.0, 2.0]}}, "y").axes[0].lines[0]
    for line in (curve, dots):
        assert (line.get_color(), line.get_marker()) == plots.LOOKS["Group Norm"]
    assert len(set(plots.LOOKS.values())) >= len(plots.LOOKS) - 1  # per step is Batch Norm
    plots.plt.close("all")
