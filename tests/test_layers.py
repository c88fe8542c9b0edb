"""Every layer against its counterpart in torch.nn."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from normlib.layers import (
    METHODS,
    BatchNorm,
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MeanOnlyBatchNorm,
)

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
    n=st.integers(1, 5), c=st.sampled_from([2, 4, 6]), h=st.integers(1, 5), w=st.integers(2, 5),
    shift=st.floats(-10, 10), seed=st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_any_image_shape_equals_torch(n, c, h, w, shift, seed):
    torch.manual_seed(seed)
    x = torch.randn(n, c, h, w, dtype=torch.float64) + shift
    for ours, theirs in pairs((n, c, h, w)).values():
        if ours.__class__ is LayerNorm and w < 2:
            continue
        assert_same(ours.double(), theirs.double(), x, 1e-9)


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


def test_one_image_is_enough_where_it_has_positions():
    x = torch.randn(1, 4, 3, 3)
    for ours, theirs in pairs((1, 4, 3, 3)).values():
        assert_same(ours, theirs, x, 1e-5)


def test_tokens():
    x = torch.randn(2, 5, 8)
    assert_same(LayerNorm(8), nn.LayerNorm(8), x, 1e-5)


@pytest.mark.parametrize("name", ["BN", "LN", "GN", "IN"])
def test_as_accurate_as_torch_at_a_large_mean(name):
    x = torch.randn(8, 4, 6, 6) + 1e4
    ours, theirs = pairs((8, 4, 6, 6))[name]
    exact = copy.deepcopy(theirs).double()(x.double())
    error = (ours(x) - exact).abs().max()
    assert error <= 10 * (theirs(x) - exact).abs().max() + 1e-5


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


@pytest.mark.parametrize("name", pairs((3, 4, 5, 6)))
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


def test_second_derivatives():
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    for layer in (BatchNorm(2), LayerNorm((2, 2, 2)), InstanceNorm(2), GroupNorm(1, 2)):
        assert torch.autograd.gradgradcheck(layer.double(), (x,))


def test_per_example_gradients():
    x = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    layer = GroupNorm(2, 4).double()

    def loss(one):
        return layer(one[None]).square().sum() + layer(one[None])[0, 0, 0, 0]

    batched = torch.func.vmap(torch.func.grad(loss))(x)
    one_by_one = torch.stack([torch.func.grad(loss)(one) for one in x])
    torch.testing.assert_close(batched, one_by_one)


X = torch.randn(3, 4, 5, 6)
WRONG = {
    "rank 5": (lambda: BatchNorm(4), torch.randn(2, 4, 3, 3, 3), ValueError, "takes"),
    "rank 1": (lambda: BatchNorm(4), torch.randn(4), ValueError, "takes"),
    "instances of features": (lambda: InstanceNorm(4), X[:, :, 0, 0], ValueError, "N, C, L"),
    "channels": (lambda: BatchNorm(5), X, ValueError, "5 channels.*has 4"),
    "instance channels": (lambda: InstanceNorm(5), X, ValueError, "5 channels.*has 4"),
    "group channels": (lambda: GroupNorm(2, 6), X, ValueError, "6 channels.*has 4"),
    "shape": (lambda: LayerNorm((4, 5, 5)), X, ValueError, r"end in \(4, 5, 5\)"),
    "no batch": (lambda: LayerNorm((4, 5)), torch.randn(4, 5), ValueError, "batch axis"),
    "batch of one": (lambda: BatchNorm(4), X[:1, :, 0, 0], ValueError, "more than 1 value"),
    "one pixel": (lambda: BatchNorm(4), X[:1, :, :1, :1], ValueError, "more than 1 value"),
    "empty batch": (lambda: BatchNorm(4), X[:0], ValueError, "more than 1 value"),
    "one position": (lambda: InstanceNorm(4), X[:, :, :1, :1], ValueError, "more than 1 value"),
    "one per group": (lambda: GroupNorm(4, 4), X[:, :, 0, 0], ValueError, "more than 1 value"),
    "integers": (lambda: BatchNorm(4), X.long(), TypeError, r"x\.float\(\)"),
    "list": (lambda: BatchNorm(4), [[1.0, 2.0]], TypeError, "list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_gets_a_clear_error_and_changes_nothing(case):
    make, x, error, says = WRONG[case]
    layer = make()
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(error, match=says):
        layer(x)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name


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
        (lambda: LayerNorm((2, 2, 2, 2)), "1 to 3 sizes"),
        (lambda: BatchNorm(3, eps=-1), "negative"),
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
    assert layer.running_var.item() == 2
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
