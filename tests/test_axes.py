"""The axis vocabulary, moments and normalize, and footprints."""

import copy
import functools
from collections import OrderedDict, namedtuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from normlib import axes
from normlib.axes import dims, divisors, footprint, moments, normalize, pool, spread
from normlib.layers import (
    METHODS,
    BatchInstanceNorm,
    BatchNorm,
    BatchRenorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MeanOnlyBatchNorm,
    StreamingNorm,
    SwitchableNorm,
)

X = torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(1))
AT = (1, 2, 3, 0)


def test_dims_names_positions():
    assert dims("NHW", "NCHW") == (0, 2, 3)
    assert dims("NHW", "NCL") == (0, 2)
    assert dims("NHW", "NC") == (0,)
    assert dims("C", "NLC") == (2,)
    assert dims("CHW", "NGCHW") == (2, 3, 4)


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
        (X[0, 0, 0], {}, ValueError, "2 to 4 axes"),
        (X, {"layout": "NC"}, ValueError, r"2 axes \(N, C\)"),
        (X, {"groups": 4}, ValueError, r"divisor of 6 \[1, 2, 3, 6\]"),
        (X, {"groups": 0}, ValueError, "divisor"),
        (X, {"groups": 2.0}, ValueError, "divisor"),
        (X[:1, :, 0, 0], {"over": "N"}, ValueError, "one value per statistic"),
        (X, {"over": ("N", "H")}, TypeError, "one string"),
        (X, {"eps": -1.0}, ValueError, "negative"),
    ],
)
def test_normalize_says_what_is_wrong(x, keywords, error, says):
    with pytest.raises(error, match=says):
        normalize(x, **keywords)


def eval_batch_norm():
    return BatchNorm(6).eval()


@pytest.mark.parametrize(
    ("fn", "axes_seen", "count"),
    [
        (BatchNorm(6), "NHW", 64),
        (nn.BatchNorm2d(6), "NHW", 64),
        (eval_batch_norm(), "", 1),
        (nn.BatchNorm2d(6).eval(), "", 1),
        (LayerNorm((6, 4, 4)), "CHW", 96),
        (InstanceNorm(6), "HW", 16),
        (GroupNorm(2, 6), "CHW", 48),
        (nn.GroupNorm(2, 6), "CHW", 48),
        (lambda x: normalize(x, "NCHW"), "NCHW", 384),
        (torch.relu, "", 1),
        (lambda x: x.flip(0), "", 1),
    ],
)
def test_footprints_are_what_the_methods_say(fn, axes_seen, count):
    mask = footprint(fn, X, at=AT)
    assert mask.shape == X.shape
    assert mask.dtype == torch.bool
    assert spread(mask, "NCHW") == axes_seen
    assert mask.sum() == count


def test_every_class_agrees_with_its_footprint():
    instances = [
        BatchNorm(6),
        MeanOnlyBatchNorm(6),
        LayerNorm((6, 4, 4)),
        InstanceNorm(6),
        GroupNorm(2, 6),
        BatchRenorm(6),
        BatchInstanceNorm(6),
        StreamingNorm(6),
    ]
    assert {type(i) for i in instances} == set(METHODS) - {SwitchableNorm}
    for layer in instances:
        assert spread(footprint(layer, X, at=AT), "NCHW") == layer.over
    parts = (
        footprint(lambda x, o=o: normalize(x, o), X, at=AT) for o in SwitchableNorm.over.split(", ")
    )
    assert torch.equal(
        footprint(SwitchableNorm(6), X, at=AT), functools.reduce(torch.logical_or, parts)
    )


def test_group_norm_stays_inside_its_group():
    mask = footprint(GroupNorm(2, 6), X, at=AT)
    assert mask[1, :3].all()
    assert not mask[1, 3:].any()


def test_one_footprint_per_output_without_at():
    everywhere = footprint(InstanceNorm(6), X)
    assert everywhere.shape == (*X.shape, *X.shape)
    assert torch.equal(everywhere[AT], footprint(InstanceNorm(6), X, at=AT))


def test_functions_that_cannot_be_batched_are_measured_row_by_row():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            g.sum().item()  # fails under vmap
            return g * 2

    mask = footprint(Double.apply, torch.zeros(2, 3))
    assert torch.equal(mask.view(6, 6), torch.eye(6, dtype=torch.bool))


def test_a_function_may_write_into_its_input():
    def in_place(x):
        x -= x.mean((0, 2, 3), keepdim=True)
        return x

    assert spread(footprint(in_place, X, at=AT), "NCHW") == "NHW"


def test_an_infinite_gradient_does_not_hide_the_others():
    mask = footprint(torch.sqrt, torch.tensor([0.0, 1.0, 4.0]), probes=0)
    assert mask.diagonal().all()
    assert not mask[1, 2]


class Remembering(nn.BatchNorm2d):
    def forward(self, x):
        self.last = super().forward(x)
        return self.last


GLOBAL_LAYER = nn.BatchNorm2d(6)


class Holder:
    def __init__(self):
        self.layer = nn.BatchNorm2d(6)

    def run(self, x):
        return self.layer(x)

    def __call__(self, x):
        return self.run(x)


def through_global(x):
    return GLOBAL_LAYER(x)


def through_function(x):
    return through_global(x) * 2


def looked_at():
    """Ways to reach a layer, each with the layer it reaches."""
    closed, partial, module, listed, ordered, named = (nn.BatchNorm2d(6) for _ in range(6))
    layers, holder, remembering = [listed], Holder(), Remembering(6)
    in_order, pair = OrderedDict(norm=ordered), namedtuple("Pair", "norm")(named)
    return {
        "method": (holder.run, holder.layer),
        "callable object": (holder, holder.layer),
        "module": (module, module),
        "closure": (lambda x: closed(x), closed),
        "global": (through_global, GLOBAL_LAYER),
        "function of a function": (through_function, GLOBAL_LAYER),
        "partial": (functools.partial(lambda layer, x: layer(x), partial), partial),
        "list": (lambda x: layers[0](x), listed),
        "ordered dict": (lambda x: in_order["norm"](x), ordered),
        "named tuple": (lambda x: pair.norm(x), named),
        "a kept activation": (remembering, remembering),
    }


@pytest.mark.parametrize("way", looked_at())
def test_looking_changes_nothing(way):
    fn, layer = looked_at()[way]
    layer.train()
    layer(X).sum().backward()
    before, rng = copy.deepcopy(layer.state_dict()), torch.get_rng_state()
    gradient = layer.weight.grad.clone()
    assert spread(footprint(fn, X, at=AT), "NCHW") == "NHW"
    assert layer.training
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.equal(layer.weight.grad, gradient)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert layer.weight.dtype == torch.float32


def test_tensors_in_a_closure_keep_their_type_and_gradient():
    weight = torch.ones(6, requires_grad=True)
    fn = lambda x: nn.functional.group_norm(x, 2, weight)  # noqa: E731
    assert footprint(fn, X, at=AT).sum() == 48
    assert weight.grad is None
    assert weight.dtype == torch.float32


@pytest.mark.parametrize("at", [(1, 2), (9, 0, 0, 0), (0, 0, 0, 0, 0)])
def test_footprint_wants_the_index_of_one_output(at):
    with pytest.raises(ValueError, match="not the index of one output"):
        footprint(torch.relu, X, at=at)


@pytest.mark.parametrize(
    ("fn", "inputs", "error", "says"),
    [
        (torch.relu, (torch.zeros(3, dtype=torch.int64),), TypeError, "int64"),
        (lambda x: x.detach(), (X,), ValueError, "no gradient"),
        (lambda x: x.sum().item(), (X,), TypeError, "returned float"),
        (torch.fft.fft, (X,), TypeError, "real numbers"),
    ],
)
def test_footprint_says_what_is_wrong(fn, inputs, error, says):
    with pytest.raises(error, match=says):
        footprint(fn, *inputs)


def test_divisors():
    assert divisors(12) == [1, 2, 3, 4, 6, 12]


def test_a_footprint_seen_through_relu_needs_several_probes():
    mask = footprint(lambda x: torch.relu(x), torch.zeros(50), probes=1)
    assert not mask.diagonal().all()  # one probe misses the negative half
    assert footprint(lambda x: torch.relu(x), torch.zeros(50), probes=20).diagonal().all()
    assert axes.footprint.__defaults__ is None  # probes is keyword-only


def test_at_its_own_values_an_order_statistic_uses_three_values():
    x = torch.tensor([[3.0], [1.0], [9.0], [4.0], [6.0]])

    def min_max(x):
        return (x - x.amin(0)) / (x.amax(0) - x.amin(0))

    mask = footprint(min_max, x, at=(3, 0), probes=0)[:, 0]
    assert mask.nonzero().flatten().tolist() == [1, 2, 3]


def test_half_precision_is_normalised_in_single_precision():
    x = 300 * torch.randn(8, 3, 4, 4)
    y = normalize(x.half(), "NHW")
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.float(), normalize(x, "NHW"), rtol=0, atol=1e-2)
