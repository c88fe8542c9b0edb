"""Every layer against its formula, its limits, numbers by hand, and what students get wrong."""

import copy
import doctest
import inspect
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from normlib import layers
from normlib.axes import normalize
from normlib.layers import (
    METHODS,
    BatchInstanceNorm,
    BatchNorm,
    BatchRenorm,
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MeanOnlyBatchNorm,
    RMSNorm,
    StreamingNorm,
    SwitchableNorm,
)
from normlib.norm import LAYOUTS, Norm

TORCH_BN = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
TORCH_IN = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d}


def pairs(shape):
    """Our layers and torch's for an input shape, with the same constructor arguments."""
    c, rank = shape[1], len(shape)
    found = {
        "BN": (BatchNorm(c), TORCH_BN[rank](c)),
        "BN average": (BatchNorm(c, momentum=None), TORCH_BN[rank](c, momentum=None)),
        "BN plain": (
            BatchNorm(c, eps=1e-3, affine=False, track_running_stats=False),
            TORCH_BN[rank](c, eps=1e-3, affine=False, track_running_stats=False),
        ),
        "LN": (LayerNorm(shape[1:]), nn.LayerNorm(shape[1:])),
        "LN last": (LayerNorm(shape[-1]), nn.LayerNorm(shape[-1])),
        "LN no bias": (LayerNorm(shape[-1], bias=False), nn.LayerNorm(shape[-1], bias=False)),
        "LN plain": (
            LayerNorm(shape[-1], elementwise_affine=False),
            nn.LayerNorm(shape[-1], elementwise_affine=False),
        ),
        "GN": (GroupNorm(2, c), nn.GroupNorm(2, c)),
        "GN plain": (GroupNorm(1, c, affine=False), nn.GroupNorm(1, c, affine=False)),
    }
    if rank > 2:
        found |= {
            "IN": (InstanceNorm(c), TORCH_IN[rank](c)),
            "IN affine": (InstanceNorm(c, affine=True), TORCH_IN[rank](c, affine=True)),
            "IN running": (
                InstanceNorm(c, track_running_stats=True),
                TORCH_IN[rank](c, track_running_stats=True),
            ),
        }
    return found


def randomise(ours, theirs):
    """Give both layers the same random weight and bias."""
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.rand_like(parameter) + 0.5)
    theirs.load_state_dict(ours.state_dict())


def assert_same(ours, theirs, x, tolerance):
    """Outputs, gradients of input and parameters, and buffers agree."""
    both = []
    for layer in (ours, theirs):
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        layer.zero_grad()
        y = layer(leaf)
        upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(5)).to(y.dtype)
        y.backward(upstream)
        both.append([y.detach(), leaf.grad, *(p.grad for p in layer.parameters())])
    torch.testing.assert_close(*both, atol=tolerance, rtol=tolerance)
    state = [dict(layer.state_dict()) for layer in (ours, theirs)]
    assert state[0].keys() == state[1].keys()
    torch.testing.assert_close(*state, atol=tolerance, rtol=tolerance)


SHAPES = [(8, 12), (5, 4, 7), (3, 4, 5, 6), (2, 8, 1, 6)]
CASES = [(shape, name) for shape in SHAPES for name in pairs(shape)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("shape", "name"), CASES)
def test_training_and_eval_equal_torch(shape, name, dtype):
    ours, theirs = (layer.to(dtype) for layer in pairs(shape)[name])
    randomise(ours, theirs)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    for _ in range(3):
        x = torch.randn(shape, dtype=dtype) * 2 + 1
        assert_same(ours, theirs, x, tolerance)
    assert_same(ours.eval(), theirs.eval(), x, tolerance)


@given(
    n=st.integers(2, 5), c=st.sampled_from([2, 4, 6]),
    positions=st.lists(st.integers(1, 4), max_size=3), shift=st.floats(-100, 100),
    seed=st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:InstanceNorm reads")
def test_the_readable_formula_is_every_kernel(n, c, positions, shift, seed):
    torch.manual_seed(seed)
    x = torch.randn(n, c, *positions, dtype=torch.float64) + shift
    layout, many = LAYOUTS[x.dim()], math.prod(positions) > 1
    every = layout[1:]
    cases = [
        (BatchNorm(c), {"over": "NHW"}),
        (LayerNorm(x.shape[1:]), {"over": every}),
        (GroupNorm(1, c), {"over": every}),
        (GroupNorm(2, c), {"over": every, "groups": 2} if c > 2 or many else None),
        (InstanceNorm(c), {"over": "HW"} if many else None),
        (LayerNorm(x.shape[-1]), {"over": layout[-1]} if x.shape[-1] > 1 else None),
    ]
    for layer, keywords in cases:
        if keywords:
            torch.testing.assert_close(layer.double()(x), normalize(x, layout=layout, **keywords))
    square = x.square().mean(tuple(range(1, x.dim())), keepdim=True)
    rms = RMSNorm(x.shape[1:], eps=1e-5).double()
    torch.testing.assert_close(rms(x), x / (square + 1e-5).sqrt())


def test_the_formulas_in_the_docstrings_are_the_kernels():
    results = doctest.testmod(layers)
    assert results.failed == 0
    assert results.attempted >= 15


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3),
        lambda x: x[:, :, ::2],
        lambda x: x[:1].expand(4, -1, -1, -1),
    ],
    ids=["channels last", "transposed", "strided", "expanded"],
)
def test_memory_layout_does_not_matter(layout):
    x = layout(torch.randn(4, 4, 6, 6, dtype=torch.float64))
    for ours, theirs in pairs(tuple(x.shape)).values():
        assert_same(ours.double(), theirs.double(), x, 1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    x = (torch.randn(4, 4, 8, 8) * 200).to(dtype)  # squares overflow float16
    for name in ("BN", "LN", "GN", "IN"):
        ours, theirs = pairs((4, 4, 8, 8))[name]
        y = ours(x)
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), theirs(x.float()), atol=0.02, rtol=0.02)


def test_state_dicts_load_both_ways():
    for ours, theirs in pairs((3, 4, 5, 6)).values():
        theirs.load_state_dict(ours.state_dict())
        ours.load_state_dict(theirs.state_dict())


def test_layers_copy_pickle_move_and_nest():
    x = torch.randn(3, 4, 5, 6)
    for ours, _ in pairs((3, 4, 5, 6)).values():
        ours(x)
        ours.eval()
        expected = ours(x)
        for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            torch.testing.assert_close(other(x), expected)
        assert nn.Sequential(nn.Conv2d(4, 4, 1), ours).to(torch.float64)(x.double()).dtype == (
            torch.float64
        )
        assert type(ours).__name__ in repr(ours)


@pytest.mark.parametrize(
    "name", sorted(set(pairs((3, 4, 5, 6))) - {"BN average"})
)  # nor torch's own
def test_compiles_whole(name):
    torch._dynamo.reset()
    ours, theirs = pairs((3, 4, 5, 6))[name]
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        x = torch.randn(3, 4, 5, 6)
        torch.testing.assert_close(compiled(x), theirs(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        dict(ours.state_dict()), dict(theirs.state_dict()), atol=1e-5, rtol=1e-5
    )


X = torch.randn(3, 4, 5, 6)
WRONG = {
    "rank 6": (lambda: BatchNorm(4), torch.randn(2, 4, 3, 3, 3, 1), ValueError, "takes"),
    "rank 1": (lambda: BatchNorm(4), torch.randn(4), ValueError, "takes"),
    "instances of features": (lambda: InstanceNorm(4), X[:, :, 0, 0], ValueError, "N, C, L"),
    "channels": (lambda: BatchNorm(5), X, ValueError, "5 channels.*has 4"),
    "instance channels": (lambda: InstanceNorm(5), X, ValueError, "5 channels.*has 4"),
    "channels last": (lambda: BatchNorm(6), X, ValueError, r"x\.movedim\(-1, 1\)"),
    "group channels": (lambda: GroupNorm(2, 6), X, ValueError, "6 channels.*has 4"),
    "shape": (lambda: LayerNorm((4, 5, 5)), X, ValueError, r"end in \(4, 5, 5\)"),
    "batch of one": (lambda: BatchNorm(4), X[:1, :, 0, 0], ValueError, "more than 1 value"),
    "one pixel": (lambda: BatchNorm(4), X[:1, :, :1, :1], ValueError, "more than 1 value"),
    "one position": (lambda: InstanceNorm(4), X[:, :, :1, :1], ValueError, "more than 1 value"),
    "one per group": (lambda: GroupNorm(4, 4), X[:, :, 0, 0], ValueError, "more than 1 value"),
    "integers": (lambda: BatchNorm(4), X.long(), TypeError, r"x\.float\(\)"),
    "list": (lambda: BatchNorm(4), [[1.0, 2.0]], TypeError, "list"),
    "complex": (lambda: BatchNorm(4), X + 0j, TypeError, r"x\.real and x\.imag"),
    "complex tokens": (lambda: RMSNorm(4), X[:, :, 0, :4] + 0j, TypeError, "real"),
    "another device": (lambda: LayerNorm(6), X.to("meta"), ValueError, "Norm is on cpu .*meta"),
    "layer elsewhere": (
        lambda: GroupNorm(2, 4, device="meta"), X, ValueError, r"on meta .* layer\.to\('cpu'\)",
    ),
    "mean elsewhere": (lambda: MeanOnlyBatchNorm(4), X.to("meta"), ValueError, "is on cpu"),
    "double": (lambda: BatchNorm(4), X.double(), TypeError, "holds torch.float32 .*float64"),
    "single": (lambda: LayerNorm(6).double(), X, TypeError, "holds torch.float64"),
    "single for half": (lambda: GroupNorm(2, 4).half(), X, TypeError, "holds torch.float16"),
    "double, renorm": (lambda: BatchRenorm(4), X.double(), TypeError, "holds torch.float32"),
    "images for channels last": (lambda: LayerNorm(4), X, ValueError, r"x\.movedim\(1, -1\)"),
    "images for a last RMS": (lambda: RMSNorm(4), X, ValueError, r"x\.movedim\(1, -1\)"),
    "no batch, images": (lambda: InstanceNorm(3), X[:, 0], ValueError, r"x\[None\]"),
    "no batch, sequence": (lambda: InstanceNorm(4), X[0, :, 0], ValueError, r"x\[None\]"),
    "no batch, volume": (lambda: InstanceNorm(3), X, ValueError, r"x\[None\]"),
    "no batch, mixture": (lambda: BatchInstanceNorm(3), X[:, 0], ValueError, r"x\[None\]"),
    "one value": (lambda: LayerNorm(1), X[..., :1], ValueError, "more than 1 value"),
    "no number": (lambda: GhostBatchNorm(4, 2), None, TypeError, "NoneType"),
    "a scalar": (lambda: GroupNorm(2, 4), torch.tensor(1.0), ValueError, "takes"),
    "double, mixture": (
        lambda: SwitchableNorm(4, affine=False, pools=("IN", "LN")), X.double(), TypeError, "holds",
    ),
    "no average": (
        lambda: InstanceNorm(4, momentum=None, track_running_stats=True), X, ValueError, "momentum",
    ),
}  # fmt: skip


def test_a_shape_that_means_two_things_is_read_as_a_batch_and_said():
    x = torch.randn(6, 6, 5)
    with pytest.warns(UserWarning, match=r"sequences \(N, C, L\).*x\[None\]"):
        y = InstanceNorm(6)(x)
    torch.testing.assert_close(y, nn.InstanceNorm1d(6)(x))


EMPTY = {
    "BN": BatchNorm(4), "ghost": GhostBatchNorm(4, 2), "mean-only": MeanOnlyBatchNorm(4),
    "LN": LayerNorm(6), "RMS": RMSNorm(6), "IN": InstanceNorm(4), "GN": GroupNorm(2, 4),
    "BRN": BatchRenorm(4), "BIN": BatchInstanceNorm(4), "SN": SwitchableNorm(4),
    "streaming": StreamingNorm(4),
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_batch_comes_back_empty_and_moves_no_average(name):
    for mode in (True, False):
        layer = EMPTY[name].train(mode)
        before = {k: v.clone() for k, v in layer.state_dict().items() if v.is_floating_point()}
        x = X[:0].clone().requires_grad_()
        layer(x).sum().backward()
        assert layer(x).shape == x.shape
        assert all(torch.equal(layer.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: BatchNorm("4"), TypeError, "num_features is a whole number.*'4'"),
        (lambda: BatchNorm(4.0), TypeError, "num_features is a whole number"),
        (lambda: BatchNorm(X), TypeError, "num_features is a whole number"),
        (lambda: BatchNorm(True), TypeError, "num_features is a whole number"),
        (lambda: BatchNorm(-3), ValueError, "num_features must be at least 1"),
        (lambda: InstanceNorm(0), ValueError, "at least 1"),
        (lambda: LayerNorm("8"), TypeError, "normalized_shape"),
        (lambda: LayerNorm(8.0), TypeError, "normalized_shape"),
        (lambda: LayerNorm(None), TypeError, "normalized_shape"),
        (lambda: LayerNorm(()), TypeError, "normalized_shape"),
        (lambda: RMSNorm((4, "8")), TypeError, "normalized_shape"),
        (lambda: GroupNorm(2, "4"), TypeError, "num_channels"),
        (lambda: GroupNorm("2", 4), ValueError, "divisor"),
        (lambda: GroupNorm(6, 2), ValueError, "swap the two: 2 groups of 6"),
        (lambda: GhostBatchNorm(4, 0), ValueError, "size must be at least 1"),
        (lambda: BatchNorm(4, eps="1e-5"), TypeError, "eps is a number"),
        (lambda: BatchNorm(4, eps=float("inf")), ValueError, "eps must be a finite"),
        (lambda: LayerNorm(4, eps=float("nan")), ValueError, "eps must be"),
        (lambda: RMSNorm(4, eps=-1e-5), ValueError, "eps must be"),
        (lambda: BatchNorm(4, momentum=1.5), ValueError, "momentum must be .* from 0 to 1"),
        (lambda: BatchRenorm(4, momentum=-0.1), ValueError, "momentum"),
        (lambda: BatchNorm(4, momentum="0.1"), TypeError, "momentum is a number"),
        (lambda: BatchNorm(4, affine="False"), TypeError, "affine is True or False"),
        (lambda: LayerNorm(4, elementwise_affine="no"), TypeError, "elementwise_affine"),
        (lambda: LayerNorm(4, bias="False"), TypeError, "bias is True or False"),
        (lambda: MeanOnlyBatchNorm(4, bias="False"), TypeError, "bias is True or False"),
        (lambda: InstanceNorm(4, track_running_stats="False"), TypeError, "track_running_stats"),
        (lambda: BatchRenorm(4, r_max="3"), TypeError, "r_max is a number"),
        (lambda: StreamingNorm(4, p="1"), TypeError, "p is a number"),
        (lambda: StreamingNorm(4, stat_weights=(7, 3)), ValueError, "grad_weights must be .* to 1"),
        (lambda: StreamingNorm(4, stat_weights=(0.7, 0.7)), ValueError, "add up to 1"),
        (lambda: StreamingNorm(4, stat_weights=0.7), ValueError, "stat_weights are 2 numbers"),
        (lambda: StreamingNorm(4, grad_weights=("a", 0, 1)), TypeError, "grad_weights is a number"),
        (lambda: BatchRenorm(4, warmup=3), ValueError, r"warmup is \(start, end\)"),
        (lambda: BatchRenorm(4, r_max=float("inf"), warmup=(1, 2)), ValueError, "finite"),
        (lambda: SwitchableNorm(4, pools=5), ValueError, "pools are some of"),
        (lambda: LayerNorm(4, eps=None), TypeError, "eps is a number"),
        (lambda: BatchNorm(4, dtype="float32"), TypeError, "dtype is torch.float32"),
        (lambda: BatchNorm(4, dtype=torch.int64), TypeError, "dtype is torch.float32"),
        (lambda: BatchNorm(4, affine=nn.ReLU), TypeError, "affine is True or False"),
    ],
)  # fmt: skip
def test_wrong_arguments_get_a_sentence(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_the_signatures_are_torchs():
    for ours, theirs in ((BatchNorm, nn.BatchNorm2d), (LayerNorm, nn.LayerNorm)):
        names = list(inspect.signature(ours).parameters)
        assert names == list(inspect.signature(theirs).parameters)


def test_torchs_keywords():
    if "bias" in inspect.signature(nn.BatchNorm2d).parameters:  # of newer releases
        for layer in (BatchNorm(4, bias=False), GroupNorm(2, 4, bias=False)):
            assert layer.bias is None
            assert layer(X).shape == X.shape
    for layer in (BatchNorm(4, dtype=torch.float64), BatchRenorm(4, dtype=torch.float64)):
        assert layer(X.double()).dtype == torch.float64
    assert StreamingNorm(4, device="meta").mean_average.is_meta


@pytest.mark.parametrize("level", [1e3, 1e5, 1e7, 1e10])
def test_a_constant_image_stays_constant_in_a_mixture(level):
    """The shares of a softmax do not add up to exactly 1: mixing means would leave a rest."""
    assert SwitchableNorm(4)(torch.full((4, 4, 8, 8), level)).abs().max() == 0


def test_sizes_may_be_numpys():
    x = torch.randn(2, 6, 4, 4)
    torch.testing.assert_close(GroupNorm(np.int64(2), 6)(x), GroupNorm(2, 6)(x))
    torch.testing.assert_close(LayerNorm(np.int64(4))(x[:, :, 0]), LayerNorm(4)(x[:, :, 0]))


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_gets_a_clear_error_and_changes_nothing(case):
    make, x, error, says = WRONG[case]
    layer = make()
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(error, match=says):
        layer(x)
    for name, value in layer.state_dict().items():
        assert value.is_meta or torch.equal(value, before[name]), name


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (BatchNorm(4), nn.BatchNorm1d(4), (1, 4)),
        (BatchNorm(4), nn.BatchNorm2d(4), (1, 4, 1, 1)),
        (
            BatchNorm(4, track_running_stats=False).eval(),
            nn.BatchNorm1d(4, track_running_stats=False).eval(),
            (1, 4),
        ),
        (InstanceNorm(4), nn.InstanceNorm2d(4), (3, 4, 1, 1)),
        (GroupNorm(4, 4), nn.GroupNorm(4, 4), (1, 4)),
    ],
)
def test_where_torch_refuses_so_do_we_with_the_same_kind_of_error(ours, theirs, shape):
    for layer in (ours, theirs):
        with pytest.raises(ValueError, match="more than 1"):
            layer(torch.randn(shape))


def test_a_batch_of_one_is_fine_in_eval_mode():
    layer = BatchNorm(4).eval()
    assert layer(X[:1, :, 0, 0]).shape == (1, 4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: GroupNorm(4, 6), r"divisor of 6 \[1, 2, 3, 6\]"),
        (lambda: GroupNorm(0, 6), "divisor"),
        (lambda: GroupNorm(2.0, 6), "divisor"),
        (lambda: BatchNorm(3, eps=-1), "eps must be"),
    ],
)
def test_bad_construction_says_why(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_group_norm_joins_layer_and_instance_norm():
    plain = {"affine": False}
    torch.testing.assert_close(GroupNorm(1, 4, **plain)(X), LayerNorm((4, 5, 6))(X))
    torch.testing.assert_close(GroupNorm(4, 4, **plain)(X), InstanceNorm(4)(X))


def test_batch_norm_by_hand():
    layer, batch = BatchNorm(1, momentum=1.0), torch.tensor([[0.0], [2.0]])
    torch.testing.assert_close(layer(batch), torch.tensor([[-1.0], [1.0]]), atol=1e-4, rtol=0)
    assert layer.running_var.item() == pytest.approx(2, rel=1e-6)
    torch.testing.assert_close(layer.eval()(batch), batch.sub(1) / 2**0.5, atol=1e-4, rtol=0)


def test_every_method_fills_the_master_table():
    for method in METHODS:
        assert all(
            isinstance(getattr(method, column), str)
            for column in ("acts_on", "over", "statistic", "learns", "remembers")
        )
        assert "arXiv" in method.__doc__


def test_mean_only_batch_norm_by_hand_in_both_modes():
    layer = MeanOnlyBatchNorm(2, momentum=0.25)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([10.0, 0.0]))
    x = torch.tensor([[1.0, 0.0], [3.0, 8.0]])
    torch.testing.assert_close(layer(x), torch.tensor([[9.0, -4.0], [11.0, 4.0]]))
    torch.testing.assert_close(layer.running_mean, torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(layer.eval()(x), torch.tensor([[10.5, -1.0], [12.5, 7.0]]))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 4)])
def test_mean_only_batch_norm_has_the_gradient_of_its_mean(shape):
    layer = MeanOnlyBatchNorm(3).double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: layer(v).pow(3), x)
    assert torch.autograd.gradcheck(lambda v: layer.eval()(v).pow(3), x)


def test_mean_only_batch_norm_refuses_one_value_and_wrong_channels():
    with pytest.raises(ValueError, match="more than 1 value"):
        MeanOnlyBatchNorm(3)(torch.randn(1, 3))
    assert MeanOnlyBatchNorm(3).eval()(torch.randn(1, 3)).shape == (1, 3)
    with pytest.raises(ValueError, match="made for 3 channels"):
        MeanOnlyBatchNorm(3)(torch.randn(4, 5))
    layer = MeanOnlyBatchNorm(3, bias=False)
    torch.testing.assert_close(layer(torch.ones(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5), (8, 3, 4, 4)])
def test_ghost_batch_norm_is_batch_norm_on_every_part(shape):
    x = torch.randn(shape, dtype=torch.float64)
    ghost, torchs = GhostBatchNorm(3, 4).double(), {2: nn.BatchNorm1d, 3: nn.BatchNorm1d}
    native = [torchs.get(x.dim(), nn.BatchNorm2d)(3).double() for _ in range(2)]
    with torch.no_grad():
        for layer in (ghost, *native):
            layer.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
            layer.bias.copy_(torch.tensor([0.0, 1.0, 3.0]))
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours = ghost(a)
    theirs = torch.cat([layer(part) for layer, part in zip(native, b.split(4), strict=True)])
    torch.testing.assert_close(ours, theirs)
    ours.pow(3).sum().backward()
    theirs.pow(3).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(ghost.weight.grad, sum(layer.weight.grad for layer in native))
    for name in ("running_mean", "running_var"):
        mean = sum(getattr(layer, name) for layer in native) / 2
        torch.testing.assert_close(getattr(ghost, name), mean)
    whole = BatchNorm(3).double()
    whole.load_state_dict(ghost.state_dict())
    torch.testing.assert_close(ghost.eval()(x), whole.eval()(x))


def test_ghost_batch_norm_refuses_groups_that_do_not_fit():
    with pytest.raises(ValueError, match="groups of 3 do not divide a batch of 8"):
        GhostBatchNorm(2, 3)(torch.randn(8, 2))
    with pytest.raises(ValueError, match="more than 1 value"):
        GhostBatchNorm(2, 1)(torch.randn(8, 2))
    assert GhostBatchNorm(2, 1)(torch.randn(8, 2, 4)).shape == (8, 2, 4)
    assert GhostBatchNorm(2, 3).eval()(torch.randn(8, 2)).shape == (8, 2)


# Batch Renorm, the mixtures, and Streaming Norm: torch has no counterpart.

NEW = {
    "BRN": lambda c: BatchRenorm(c),
    "BRN warm-up": lambda c: BatchRenorm(c, warmup=(1, 4)),
    "BIN": lambda c: BatchInstanceNorm(c),
    "SN": lambda c: SwitchableNorm(c),
    "SN without BN": lambda c: SwitchableNorm(c, pools=("IN", "LN")),
    "Streaming": lambda c: StreamingNorm(c),
    "Streaming p=2": lambda c: StreamingNorm(c, p=2),
}


def prepared(name, channels=4):
    """A new layer in double precision, its parameters moved away from where they start."""
    layer = NEW[name](channels).double()
    with torch.no_grad():
        for key, parameter in layer.named_parameters():
            parameter.uniform_(0.2, 0.8) if key == "rho" else parameter.normal_()
    return layer


@pytest.mark.parametrize("name", NEW)
def test_copies_pickles_and_saved_states_compute_the_same(name):
    layer, x = prepared(name), X.double()
    for _ in range(2):
        layer(x).sum().backward()
    fresh = NEW[name](4).double()
    fresh.load_state_dict(layer.state_dict())
    layer.zero_grad(set_to_none=True)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), fresh):
        for mode in (True, False):
            first, second = copy.deepcopy(layer).train(mode), copy.deepcopy(other).train(mode)
            torch.testing.assert_close(first(x + 1), second(x + 1), rtol=0, atol=0)
            state, wanted = second.state_dict(), first.state_dict()
            assert all(torch.equal(state[key], wanted[key]) for key in wanted)
    assert type(layer).__name__ in repr(nn.Sequential(layer))


@pytest.mark.parametrize("name", NEW)
def test_new_layers_compile_whole_with_their_gradients_and_buffers(name):
    torch._dynamo.reset()
    layer = prepared(name)
    plain = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for mode in (True, True, False):
        leaves = [torch.randn(3, 4, 5, 6, dtype=torch.float64).requires_grad_()]
        leaves.append(leaves[0].detach().clone().requires_grad_())
        for leaf, run, module in zip(leaves, (compiled, plain), (layer, plain), strict=True):
            module.train(mode)
            try:
                run(leaf).pow(3).sum().backward()
            except torch._dynamo.exc.Unsupported as error:  # before torch 2.13 or so
                if "intermediate hooks" not in str(error):
                    raise
                pytest.skip("this torch compiles no hook")
        torch.testing.assert_close(leaves[0].grad, leaves[1].grad)
        for mine, wanted in zip(
            [*layer.parameters(), *layer.buffers()], [*plain.parameters(), *plain.buffers()],
            strict=True,
        ):  # fmt: skip
            torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize("name", NEW)
def test_eval_mode_does_not_look_at_other_examples_and_changes_nothing(name):
    layer = prepared(name)
    layer(X.double()).sum().backward()
    before = copy.deepcopy(layer.eval().state_dict())
    whole, alone = layer(X.double()), layer(X[:1].double())
    torch.testing.assert_close(whole[:1], alone)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


@pytest.mark.parametrize("name", NEW)
def test_new_layers_at_a_large_mean_in_half_precision_and_strided(name):
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5, 6, dtype=torch.float64)
    layer = prepared(name)
    warm = x + 1e3
    layer(warm).sum().backward()  # running statistics have seen something of that size
    if isinstance(layer, StreamingNorm):
        layer.after_step()
    single = copy.deepcopy(layer).float()
    exact = copy.deepcopy(layer)(warm)
    torch.testing.assert_close(single(warm.float()).double(), exact, rtol=2e-3, atol=2e-3)
    half = copy.deepcopy(layer).float()(x.half())
    assert half.dtype == torch.float16
    # the same values in another order of memory
    sliced = torch.randn(6, 4, 10, 6, dtype=torch.float64)[:, :, ::2].transpose(2, 3)
    one, two = copy.deepcopy(layer), copy.deepcopy(layer)
    torch.testing.assert_close(one(sliced), two(sliced.contiguous()))


@pytest.mark.parametrize("name", ["BIN", "SN", "SN without BN"])
def test_mixtures_pass_gradient_checks(name):
    layer = prepared(name)
    x = torch.randn(3, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))
    parameters = dict(layer.named_parameters())

    def by_parameters(*values):
        layer.eval()  # running statistics must not move between evaluations
        return torch.func.functional_call(
            layer, dict(zip(parameters, values, strict=True)), (x.detach(),)
        )

    values = tuple(p.detach().clone().requires_grad_() for p in parameters.values())
    assert torch.autograd.gradcheck(by_parameters, values)


WRONG_NEW = {
    "BRN batch of one": (lambda: BatchRenorm(4), X[:1, :, 0, 0], ValueError, "more than 1 value"),
    "BRN channels": (lambda: BatchRenorm(5), X, ValueError, "5 channels.*has 4"),
    "BIN features": (lambda: BatchInstanceNorm(4), X[:, :, 0, 0], ValueError, "N, C, L"),
    "BIN one position": (
        lambda: BatchInstanceNorm(4), X[:, :, :1, :1], ValueError, "more than 1 value",
    ),
    "SN features": (lambda: SwitchableNorm(4), X[:, :, 0, 0], ValueError, r"pools=\('LN', 'BN'\)"),
    "SN batch of one": (
        lambda: SwitchableNorm(4, pools=("LN", "BN")), X[:1, :, 0, 0], ValueError, "more than 1",
    ),
    "SN one feature": (
        lambda: SwitchableNorm(1, pools=("LN", "BN")), X[:, :1, 0, 0], ValueError, "more than 1",
    ),
    "SN channels": (lambda: SwitchableNorm(5), X, ValueError, "5 channels.*has 4"),
    "Streaming integers": (lambda: StreamingNorm(4), X.long(), TypeError, r"x\.float\(\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_NEW)
def test_new_layers_refuse_bad_input_and_keep_their_state(case):
    make, x, error, says = WRONG_NEW[case]
    layer = make()
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(error, match=says):
        layer(x)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BatchRenorm(4, r_max=0.5), "r_max must be .*at least 1"),
        (lambda: BatchRenorm(4, d_max=-1), "d_max must be .*at least 0"),
        (lambda: BatchRenorm(4, r_max=float("nan")), "r_max"),
        (lambda: BatchRenorm(4, warmup=(5, 2)), "warmup"),
        (lambda: BatchRenorm(4, eps=0), "eps above 0"),
        (lambda: SwitchableNorm(4, pools=()), "pools"),
        (lambda: SwitchableNorm(4, pools=("IN", "GN")), "pools"),
        (lambda: StreamingNorm(4, p=0), "p must"),
        (lambda: StreamingNorm(4, keep=1), "keep"),
        (lambda: StreamingNorm(4, grad_weights=(1, 0)), "grad_weights"),
    ],
)
def test_new_layers_refuse_bad_settings(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_batch_renorm_limits_can_be_set_later_and_are_checked_then():
    layer = BatchRenorm(4)
    with pytest.raises(ValueError, match="r_max"):
        layer.r_max = 0.9
    assert layer.r_max == 3
    layer.r_max = 2
    assert layer.limits()[0] == 2


def test_batch_renorm_without_room_is_batch_norm():
    ours, theirs = BatchRenorm(4, r_max=1, d_max=0), BatchNorm(4)
    x = torch.randn(5, 4, 3, 3) * 2 + 1
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(leaf) for layer, leaf in zip((ours, theirs), leaves, strict=True)]
    torch.testing.assert_close(*outputs)
    for y in outputs:
        y.pow(3).sum().backward()
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


def test_batch_renorm_unclipped_computes_in_training_what_eval_computes():
    layer = BatchRenorm(4, r_max=100, d_max=100).double()
    for _ in range(5):
        layer(torch.randn(5, 4, 3, 3, dtype=torch.float64) * 2 + 1)
    x = torch.randn(5, 4, 3, 3, dtype=torch.float64) * 3
    expected = copy.deepcopy(layer).eval()(x)
    torch.testing.assert_close(layer(x), expected)


def test_the_gradient_of_batch_renorm_is_that_of_batch_norm_times_r():
    layer, plain = BatchRenorm(4).double(), BatchNorm(4).double()
    with torch.no_grad():
        layer.running_std.copy_(torch.tensor([0.1, 0.7, 1.0, 20.0]))
        layer.weight.uniform_(0.5, 2)
        plain.weight.copy_(layer.weight)
    x = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    std = (x.var((0, 2, 3), correction=0) + 1e-5).sqrt()
    r, _ = layer.correction(x.mean((0, 2, 3)), std)
    upstream = torch.randn_like(x)
    grads = []
    for module in (layer, plain):
        leaf = x.clone().requires_grad_()
        module(leaf).backward(upstream)
        grads.append(leaf.grad)
    torch.testing.assert_close(grads[0], grads[1] * r.view(1, -1, 1, 1))
    assert r[0] == 3
    assert r[3] == pytest.approx(1 / 3)


def test_batch_renorm_by_hand():
    layer = BatchRenorm(1, r_max=3, d_max=5, momentum=0.5).double()
    y = layer(torch.tensor([[1.0], [5.0]], dtype=torch.float64))  # mean 3, std 2 against 0 and 1
    torch.testing.assert_close(y.flatten().tolist(), [1.0, 5.0], atol=1e-4, rtol=0)  # r=2, d=3
    assert layer.running_mean.item() == 1.5
    assert layer.running_std.item() == pytest.approx(1.5, abs=1e-5)
    y = layer(torch.tensor([[96.0], [106.0]], dtype=torch.float64))  # r clipped to 3, d to 5
    torch.testing.assert_close(y.flatten().tolist(), [2.0, 8.0], atol=1e-4, rtol=0)


def test_batch_renorm_warms_up_from_batch_norm():
    layer = BatchRenorm(1, r_max=3, d_max=5, warmup=(2, 6))
    seen = []
    for _ in range(8):
        seen.append(tuple(round(limit.item(), 3) for limit in layer.limits()))
        layer(torch.randn(4, 1))
    assert seen[:2] == [(1, 0), (1, 0)]
    assert seen[2:6] == [(1.4, 1), (1.8, 2), (2.2, 3), (2.6, 4)]
    assert seen[6:] == [(3, 5), (3, 5)]


def test_batch_instance_norm_has_batch_and_instance_norm_at_its_ends():
    x = torch.randn(5, 4, 3, 6, dtype=torch.float64) * 3 + 2
    for rho, other in ((1.0, BatchNorm(4)), (0.0, InstanceNorm(4, affine=True))):
        layer = BatchInstanceNorm(4).double()
        layer.rho.data.fill_(rho)
        torch.testing.assert_close(layer(x), other.double()(x))
        torch.testing.assert_close(layer.eval()(x), other.eval()(x))
    reference = BatchNorm(4).double()
    reference(x)
    torch.testing.assert_close(layer.running_mean, reference.running_mean)
    torch.testing.assert_close(layer.running_var, reference.running_var)


def test_batch_instance_norm_is_the_mixture_of_the_two():
    layer = prepared("BIN")
    x = torch.randn(5, 4, 3, 6, dtype=torch.float64)
    rho, weight, bias = (p.view(1, -1, 1, 1) for p in (layer.rho, layer.weight, layer.bias))
    plain = BatchNorm(4, affine=False).double()(x), InstanceNorm(4).double()(x)
    expected = (rho * plain[0] + (1 - rho) * plain[1]) * weight + bias
    torch.testing.assert_close(layer(x), expected)


def test_rho_moves_as_if_clamped_after_every_step():
    def train(clamp_by_hand):
        torch.manual_seed(0)
        layer, xs = BatchInstanceNorm(3), torch.randn(6, 4, 3, 4, 4)
        targets = torch.randn(6, 4, 3, 4, 4)
        step = torch.optim.SGD(layer.parameters(), lr=2.0)
        path = []
        for x, target in zip(xs, targets, strict=True):
            step.zero_grad()
            (layer(x) - target).square().mean().backward()
            path.append(layer.rho.detach().clone())
            step.step()
            if clamp_by_hand:
                layer.rho.data.clamp_(0, 1)
        return torch.stack([*path, layer.state_dict()["rho"]])

    torch.testing.assert_close(train(False), train(True), rtol=0, atol=0)
    assert train(False).min() >= 0
    assert train(False).max() <= 1


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_rho_outside_its_range_is_not_loaded(value):
    layer = BatchInstanceNorm(4)
    wrong = copy.deepcopy(layer.state_dict())
    wrong["rho"][2], wrong["weight"][:] = value, 7
    with pytest.raises(RuntimeError, match=r"rho must lie in \[0, 1\]"):
        layer.load_state_dict(wrong)
    assert layer.weight.eq(1).all()
    with pytest.raises(RuntimeError, match=r"0\.rho must"):
        nn.Sequential(layer).load_state_dict({f"0.{k}": v for k, v in wrong.items()})


def switched(layer, x):
    """Switchable Norm from its definition, without pooling."""
    axes = {"IN": (2, 3), "LN": (1, 2, 3), "BN": (0, 2, 3)}
    means = torch.stack([x.mean(axes[p], keepdim=True).expand_as(x) for p in layer.pools])
    varis = torch.stack(
        [x.var(axes[p], correction=0, keepdim=True).expand_as(x) for p in layer.pools]
    )
    mean = torch.einsum("k,k...->...", layer.mean_weight.softmax(0), means)
    var = torch.einsum("k,k...->...", layer.var_weight.softmax(0), varis)
    weight, bias = (p.view(1, -1, 1, 1) for p in (layer.weight, layer.bias))
    return (x - mean) / (var + layer.eps).sqrt() * weight + bias


@pytest.mark.parametrize("pools", [("IN", "LN", "BN"), ("LN", "BN"), ("BN", "IN"), ("LN",)])
@pytest.mark.parametrize("n", [1, 5])
def test_switchable_norm_is_its_definition(pools, n):
    layer = SwitchableNorm(4, pools=pools).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    x = torch.randn(n, 4, 3, 6, dtype=torch.float64) * 2 + 3
    torch.testing.assert_close(layer(x), switched(layer, x))


def test_switchable_norm_with_all_weight_on_one_part_is_that_part():
    x = torch.randn(5, 4, 3, 6, dtype=torch.float64) * 2 + 3
    parts = (InstanceNorm(4), GroupNorm(1, 4), BatchNorm(4))
    for k, part in enumerate(parts):
        layer = SwitchableNorm(4).double()
        with torch.no_grad():
            for weight in (layer.mean_weight, layer.var_weight):
                weight.fill_(-50)[k] = 50
        torch.testing.assert_close(layer(x), part.double()(x))
        torch.testing.assert_close(layer.eval()(x), part.eval()(x))


def test_switchable_norm_on_one_image_has_two_parts_only():
    """With N = 1 the statistics of BN are those of IN: its weight counts for IN."""
    x = torch.randn(1, 4, 3, 6, dtype=torch.float64)
    three = prepared("SN")
    two = SwitchableNorm(4, pools=("IN", "LN")).double()
    with torch.no_grad():
        two.weight.copy_(three.weight)
        two.bias.copy_(three.bias)
        for mine, theirs in (
            (two.mean_weight, three.mean_weight), (two.var_weight, three.var_weight),
        ):  # fmt: skip
            share = theirs.softmax(0)
            mine.copy_(torch.stack([share[0] + share[2], share[1]]).log())
    torch.testing.assert_close(three(x), two(x))
    assert "running_mean" not in two.state_dict()


def test_switchable_norm_on_features_mixes_layer_and_batch_norm():
    layer = SwitchableNorm(4, pools=("LN", "BN")).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x), switched(layer, x[..., None, None]).squeeze())
    assert torch.autograd.gradcheck(layer, (x.requires_grad_(),))


def test_streaming_norm_that_streams_nothing_is_batch_norm():
    layer = StreamingNorm(4, p=2, stat_weights=(0, 1), grad_weights=(0, 0, 1)).double()
    x = torch.randn(5, 4, 3, 3, dtype=torch.float64) * 2 + 1
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    for module, leaf in zip((layer, BatchNorm(4).double()), leaves, strict=True):
        module(leaf).pow(3).sum().backward()
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


def test_the_statistics_of_streaming_norm_by_hand():
    layer = StreamingNorm(1, p=1, eps=0.0).double()
    first, second = torch.tensor([[2.0], [6.0]]).double(), torch.tensor([[8.0], [8.0]]).double()
    torch.testing.assert_close(layer(first).flatten().tolist(), [-1.0, 1.0])  # mean 4, E|c| 2
    layer(second)  # the exact mean of both batches is 6, E|c| of this batch 2
    assert layer.mean_average.flatten().tolist() == [0, 6]
    assert layer.power_average.flatten().tolist() == [1, 2]  # 1 stands for nothing seen
    layer.after_step()
    assert layer.mean_average.flatten().tolist() == [6, 0]
    y = layer(torch.tensor([[1.0]]).double())  # .7 * 6 + .3 * 1 = 4.5; E|c| .7 * 2 + .3 * 3.5
    torch.testing.assert_close(y.item(), -3.5 / 2.45)
    layer.after_step()  # .7 * 6 + .3 * 1
    torch.testing.assert_close(layer.mean_average[0].item(), 4.5)
    torch.testing.assert_close(layer.eval()(second)[0].item(), 3.5 / 2.45)


def test_the_gradients_of_streaming_norm_by_hand():
    """The gradient to the mean is −1 / E|c| for y.sum(), and every statistic mixes its history."""
    layer = StreamingNorm(1, p=1, eps=0.0, affine=False, grad_weights=(0.5, 0.25, 0.25)).double()
    layer.power_average[0], layer.updates[...] = 1.0, 1  # E|c| = .7 * 1 + .3 * short
    layer.mean_gradient[0] = 8.0
    layer.batches += 1
    now = torch.tensor([0.0], dtype=torch.float64, requires_grad=True)
    layer.stream("mean", now).backward(torch.tensor([4.0]).double())
    assert layer.mean_gradient.flatten().tolist() == [8, 4]
    assert now.grad.item() == 0.5 * 8 + 0.25 * 4 + 0.25 * 4
    layer.stream("mean", now).backward(torch.tensor([2.0]).double())
    assert layer.mean_gradient.flatten().tolist() == [8, 3]  # the mean of 4 and 2


def test_streaming_norm_learns_from_single_examples_and_forgets_at_a_step():
    layer = StreamingNorm(3)
    with pytest.raises(ValueError, match="after_step"):
        layer.after_step()
    for value in torch.randn(20, 1, 3):
        assert layer(value).isfinite().all()
    layer.after_step()
    assert layer.batches == 0
    assert layer.updates == 1
    assert layer.mean_average[1].eq(0).all()


@pytest.mark.parametrize(
    "layer", [BatchNorm, BatchInstanceNorm, SwitchableNorm, BatchRenorm, MeanOnlyBatchNorm]
)
def test_momentum_none_keeps_the_plain_average_of_all_batches(layer):
    norm, batches = layer(3, momentum=None), torch.randn(4, 5, 3, 2, 2)
    for x in batches:
        norm(x)
    torch.testing.assert_close(norm.running_mean, batches.mean((0, 1, 3, 4)))


def test_streaming_norm_that_has_seen_nothing_leaves_the_input_alone():
    x = torch.randn(4, 3)
    torch.testing.assert_close(StreamingNorm(3).eval()(x), x, rtol=1e-4, atol=1e-4)


def test_batch_instance_norm_writes_nothing_in_eval_mode():
    layer = BatchInstanceNorm(3).eval()
    with torch.no_grad():
        layer.rho += 1
    bounded = layer(torch.ones(2, 3, 2, 2))
    assert layer.rho.tolist() == [2, 2, 2]
    layer.rho.data.fill_(1)
    torch.testing.assert_close(layer(torch.ones(2, 3, 2, 2)), bounded)


def test_the_readmes_example_of_a_new_method_works():
    text = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    scope = {"Norm": Norm, "nn": nn, "torch": torch, "F": nn.functional}
    exec(re.search(r"```python\n(class ScaleNorm.*?)```", text, re.S)[1], scope)
    x = torch.randn(4, 6)
    torch.testing.assert_close(scope["ScaleNorm"](6)(x), nn.RMSNorm(6, eps=0.0)(x))
    with pytest.raises(ValueError, match="6 channels"):
        scope["ScaleNorm"](6)(x[:, :5])
