"""The axis vocabulary, moments and normalize."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from normlib.axes import dims, divisors, moments, normalize, pool

X = torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(1))


def test_dims_names_positions():
    assert dims("NHW", "NCHW") == (0, 2, 3)
    assert dims("NHW", "NCL") == (0, 2)
    assert dims("NHW", "NC") == (0,)
    assert dims("C", "NLC") == (2,)
    assert dims("CHW", "NGCHW") == (2, 3, 4)
    assert dims("NHW", "NCDHW") == dims("NDHW", "NCDHW") == (0, 2, 3, 4)


@pytest.mark.parametrize(
    ("over", "layout", "says"),
    [
        ("HW", "NC", "no positions"),
        ("NX", "NCHW", "'X'"),
        ("H", "NCL", "'H'"),
        ("NN", "NC", "once"),
        ("", "NC", "nothing to average"),
    ],
)
def test_dims_refuses_axes_that_are_not_there(over, layout, says):
    with pytest.raises(ValueError, match=says):
        dims(over, layout)


@pytest.mark.parametrize("over", ["N", "C", "HW", "NHW", "CHW", "NCHW"])
def test_moments_equal_torch(over):
    x = X.double() + 3
    mean, var = moments(x, over)
    expected = torch.var_mean(x, dims(over, "NCHW"), unbiased=False, keepdim=True)
    torch.testing.assert_close((var, mean), expected, atol=1e-12, rtol=1e-12)


def test_moments_stay_exact_at_a_large_mean():
    x = X + 1e4
    var = moments(x, "NHW")[1]
    exact = x.double().var((0, 2, 3), unbiased=False, keepdim=True)
    assert ((var - exact).abs() / exact).max() < 1e-3
    naive = (x.square().mean((0, 2, 3)) - x.mean((0, 2, 3)).square()).view_as(var)
    assert ((naive - exact).abs() / exact).max() > 0.1  # what this test protects against


def test_moments_have_first_and_second_derivatives():
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    for over in ("NHW", "CHW", "HW"):
        run = functools.partial(moments, over=over)
        assert torch.autograd.gradcheck(run, (x,))
        assert torch.autograd.gradgradcheck(run, (x,))


@given(
    n=st.integers(1, 4), c=st.integers(1, 4), p=st.integers(2, 5), shift=st.floats(-50, 50),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_pooling_the_table_gives_the_moments_of_the_union(n, c, p, shift, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, c, p, 1, dtype=torch.float64, generator=generator) * 3 + shift
    table = moments(x, "HW")
    for axis, over in (("N", "NHW"), ("C", "CHW"), ("NC", "NCHW")):
        torch.testing.assert_close(pool(*table, axis), moments(x, over), atol=1e-9, rtol=1e-9)


def test_pool_refuses_tables_that_do_not_belong_together():
    mean, var = moments(X, "HW")
    with pytest.raises(ValueError, match="one call of moments"):
        pool(mean, var[:2], "N")


def test_normalize_equals_torch():
    for ours, theirs in [
        (normalize(X, "NHW"), nn.BatchNorm2d(6)(X)),
        (normalize(X, "CHW"), nn.LayerNorm((6, 4, 4))(X)),
        (normalize(X, "HW"), nn.InstanceNorm2d(6)(X)),
        (normalize(X, "CHW", groups=3), nn.GroupNorm(3, 6)(X)),
        (normalize(X[..., 0], "C", layout="NLC"), nn.LayerNorm(4)(X[..., 0])),
        (normalize(X[..., 0], "NHW", layout="NCL"), nn.BatchNorm1d(6)(X[..., 0])),
        (normalize(X[:, :, 0, 0], "N"), nn.BatchNorm1d(6)(X[:, :, 0, 0])),
    ]:
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "keywords", "error", "says"),
    [
        (X.long(), {}, TypeError, r"x\.float\(\)"),
        (X.numpy(), {}, TypeError, "ndarray"),
        (X[0], {}, ValueError, "layout='NCL' or layout='NLC'"),
        (X[0, 0, 0], {}, ValueError, "2 to 5 axes"),
        (X + 0j, {}, TypeError, "real numbers"),
        (X, {"layout": "NC"}, ValueError, r"2 axes \(N, C\)"),
        (X, {"groups": 4}, ValueError, r"divisor of 6 \[1, 2, 3, 6\]"),
        (X, {"groups": 0}, ValueError, "divisor"),
        (X, {"groups": 2.0}, ValueError, "divisor"),
        (X[:1, :, 0, 0], {"over": "N"}, ValueError, "more than 1 value per statistic"),
        (X, {"over": ("N", "H")}, TypeError, "one string"),
        (X, {"eps": -1.0}, ValueError, "eps must be"),
        (X, {"eps": "1"}, TypeError, "eps is a number"),
    ],
)
def test_normalize_says_what_is_wrong(x, keywords, error, says):
    with pytest.raises(error, match=says):
        normalize(x, **keywords)


def test_divisors():
    assert divisors(12) == [1, 2, 3, 4, 6, 12]


def test_half_precision_is_normalised_in_single_precision():
    x = 300 * torch.randn(8, 3, 4, 4)
    y = normalize(x.half(), "NHW")
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.float(), normalize(x, "NHW"), rtol=0, atol=1e-2)
