"""Footprints: against finite differences, against what methods say, and what looking changes."""

import copy
import functools
import random
from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normlib.axes import normalize
from normlib.footprint import examine, footprint, moved, spread
from normlib.layers import (
    METHODS,
    BatchInstanceNorm,
    BatchNorm,
    BatchRenorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MeanOnlyBatchNorm,
    RMSNorm,
    StreamingNorm,
    SwitchableNorm,
)

X = torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(1))
AT = (1, 2, 3, 0)


# Functions as they are met in papers and repositories, on (3, 4, 2, 3).


def no_grad_statistics(x):
    with torch.no_grad():
        mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return (x - mean) / std


def min_max(x):
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return (x - low) / (high - low)


def response(x):
    """GRN of ConvNeXt V2, without its weights."""
    length = x.square().sum((2, 3), keepdim=True).sqrt()
    return x * length / length.mean(1, keepdim=True) + x


def evo_norm(x, groups=2):
    """EvoNorm-S0."""
    g = x.unflatten(1, (groups, -1))
    deviation = (g.var((2, 3, 4), correction=0, keepdim=True) + 1e-5).sqrt()
    return x * torch.sigmoid(1.5 * x) / deviation.expand_as(g).flatten(1, 2)


def filter_response(x):
    y = x / (x.square().mean((2, 3), keepdim=True) + 1e-6).sqrt()
    return torch.maximum(y, torch.tensor(-0.3, dtype=x.dtype))


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.narrow, self.widen = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        gate = self.widen(F.silu(self.narrow(x.mean((2, 3))))).sigmoid()
        return x * gate[..., None, None]


class StandardizedConv(nn.Conv2d):
    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, w / w.std((1, 2, 3), keepdim=True), padding=1)


def whitened(x):
    rows = x.flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(
        rows @ rows.T / rows.shape[1] + 0.1 * torch.eye(len(x)).to(x)
    )
    return (vectors @ torch.diag(values.rsqrt()) @ vectors.T @ rows).view_as(x)


MASK = torch.ones(2, 3).triu(1).bool()
SNIPPETS = {
    "norm and ReLU": nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()),
    "a residual branch": lambda x: x + F.group_norm(x, 2).relu(),
    "an upper tail": lambda x: (normalize(x, "NHW") - 1).relu(),
    "norm and Dropout in eval": nn.Sequential(nn.BatchNorm2d(4), nn.Dropout()).eval(),
    "layer norm and Dropout in eval": nn.Sequential(nn.LayerNorm(3), nn.Dropout()).eval(),
    "no_grad": no_grad_statistics,
    "detached deviation": lambda x: (x - x.mean(1, True)) / x.std(1, keepdim=True).detach(),
    "straight through": lambda x: x + (x.round() - x).detach() + x.mean(1, keepdim=True),
    "Batch Renorm": BatchRenorm(4),
    "Batch Renorm in eval": BatchRenorm(4).eval(),
    "Streaming": StreamingNorm(4),
    "Switchable": SwitchableNorm(4),
    "max": lambda x: x / x.abs().amax((1, 2, 3), keepdim=True),
    "median": lambda x: x - x.flatten(1).median(1).values.view(-1, 1, 1, 1),
    "min-max": min_max,
    "GRN": response,
    "EvoNorm": evo_norm,
    "FRN and TLU": filter_response,
    "squeeze and excite": SqueezeExcite(),
    "weight standardization": StandardizedConv(4, 4, 3),
    "softmax": lambda x: x.softmax(1),
    "sorted": lambda x: x.flatten(2).sort(2).values.view_as(x),
    "top half": lambda x: x * (x > x.flatten(1).median(1).values.view(-1, 1, 1, 1)),
    "local response": nn.LocalResponseNorm(3),
    "length": lambda x: F.normalize(x, dim=1),
    "Dynamic Tanh": lambda x: torch.tanh(0.5 * x),
    "whitening": whitened,
    "torch's Batch Norm": nn.BatchNorm2d(4),
    "torch's Instance Norm in eval": nn.InstanceNorm2d(4, track_running_stats=True).eval(),
    "old weight norm": nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1)),
    "spectral norm": nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3, padding=1)),
    "clipped by its length": lambda x: x * (9.5 / x.norm()).clamp(max=1),
    "a gate that opens rarely": lambda x: x + (x.roll(1, 1) - 1.5).relu(),
    "a tail of a norm": lambda x: x + (normalize(x, "NHW") - 1.5).relu(),
    "masked by minus infinity": lambda x: (x - x.amax(3, True).detach()).masked_fill(MASK, -1e30),
    "far from zero, detached": lambda x: x - x.mean().detach() + 1e4,
    "a small hidden part": lambda x: x + 1e-3 * x.mean().detach(),
    "scales far apart": lambda x: x * torch.logspace(14, 0, 3).to(x),
    "a gradient inside": lambda x: torch.autograd.grad(
        (x.requires_grad_() ** 3).sum(), x, create_graph=True
    )[0],
    "computed in single precision": lambda x: F.layer_norm(x.float(), (3,)).to(x.dtype),
    "fast waves": lambda x: (1e4 * x).sin(),
    "a constant": lambda x: x - x[:1],
    "a shift of examples": lambda x: x.roll(1, 0) * 2,
}


def truth(fn, shape):
    """Which outputs move when one input moves, on fresh copies at six random points."""
    moves = False
    for seed in range(6):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(99 + seed)).double()

        def run(x):
            fresh = copy.deepcopy(fn)
            fresh = fresh.double() if isinstance(fn, nn.Module) else fresh
            return fresh(x.clone()).detach()

        steps = 1e-4 * torch.eye(x.numel(), dtype=x.dtype).view(-1, *shape)
        change = torch.stack([(run(x + step) - run(x)).abs() for step in steps], -1)
        moves = moves | (change > 1e-6 * change.amax(-1, keepdim=True).clamp(min=1e-3))
    return moves


@pytest.mark.parametrize("name", SNIPPETS)
def test_against_finite_differences(name):
    torch.manual_seed(0)
    fn, shape = SNIPPETS[name], (3, 4, 2, 3)
    found, moves = examine(fn, torch.zeros(shape)), truth(fn, shape)
    mask = found.mask.reshape(*found.mask.shape[:4], -1)
    sure = ~(found.hidden | found.varies)
    assert torch.equal(mask[sure], moves[sure])
    assert not (moves & ~mask)[sure].any()
    flagged = {"hidden": found.hidden.any().item(), "varies": found.varies.any().item()}
    hides = (
        "no_grad",
        "detached deviation",
        "straight through",
        "Batch Renorm",
        "Streaming",
        "masked by minus infinity",
        "far from zero, detached",
        "a small hidden part",
    )
    varies = ("norm and ReLU", "a residual branch", "an upper tail", "max", "median", "min-max",
              "FRN and TLU", "sorted", "top half", "clipped by its length",
              "a gate that opens rarely", "a tail of a norm")  # fmt: skip
    assert flagged == {"hidden": name in hides, "varies": name in varies}


def test_norm_and_relu_have_every_value_of_the_channel():
    found = examine(nn.Sequential(nn.BatchNorm2d(6), nn.ReLU()), torch.randn(3, 6, 3, 4))
    assert (found.mask.flatten(4).sum(-1) == 36).all()


def test_batch_renorm_has_two_footprints():
    """Its value in training is that of eval mode; its gradient is Batch Norm's."""
    x = torch.randn(3, 6, 3, 4)
    found = examine(BatchRenorm(6), x)
    assert found.hidden.all()
    assert (found.mask.flatten(4).sum(-1) == 36).all()
    own = torch.eye(x.numel(), dtype=torch.bool).view(*x.shape, *x.shape)
    assert torch.equal(moved(BatchRenorm(6), x), own)
    assert torch.equal(moved(BatchNorm(6), x), footprint(BatchNorm(6), x))


def test_one_output_says_how_sure_it_is():
    found = examine(no_grad_statistics, torch.zeros(3, 4, 2, 3), at=(0, 0, 0, 0))
    assert found.mask.sum() == 1
    assert found.hidden.shape == found.varies.shape == ()
    assert found.hidden


def test_random_numbers_are_the_same_before_and_after_a_step():
    found = examine(nn.Sequential(nn.BatchNorm2d(6), nn.Dropout(0.5)), X)
    assert not found.hidden.any()


class Wrapped(nn.Module):
    """A module that reaches a layer through a plain function."""

    def __init__(self, layer):
        super().__init__()
        self.call = lambda x: layer(x)

    def forward(self, x):
        return self.call(x)


def test_what_is_reached_in_roundabout_ways_is_left_alone_too():
    layer, state, seen = nn.BatchNorm2d(6), SimpleNamespace(n=0, mean=torch.zeros(6)), []

    def counting(x):
        state.n += 1
        counting.calls += 1
        return layer(x) + np.random.rand() + random.random()

    counting.calls = 0
    hooked = nn.BatchNorm2d(6)
    hooked.register_forward_hook(lambda module, inputs, output: seen.append(1))
    before = random.getstate(), np.random.get_state()[1].tolist()
    for fn in (Wrapped(layer), counting, hooked):
        found = examine(fn, X, at=AT)
        assert found.mask.sum() == 64
        assert not found.hidden
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert layer.num_batches_tracked == state.n == counting.calls == len(seen) == 0
    assert state.mean.dtype == torch.float32


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_looking_works_where_gradients_are_off(context):
    with context():
        assert examine(nn.BatchNorm2d(6), X, at=AT).mask.sum() == 64


def test_shapes_without_axes_or_values():
    assert footprint(lambda x: x * x, torch.tensor(3.0)).item() is True
    for fn, x in ((torch.relu, X[:0]), (lambda x: x[x > 0], X[0, 0])):
        with pytest.raises(ValueError, match="a footprint needs values"):
            footprint(fn, x)
    with pytest.raises(ValueError, match=r"RuntimeError.*make them with dtype=x.dtype"):
        footprint(lambda x: x @ torch.eye(4), X)


def test_a_branch_without_gradient_counts_as_none():
    found = examine(lambda x: x if x.sum() > 0 else torch.zeros_like(x), torch.zeros(3))
    assert torch.equal(found.mask, torch.eye(3, dtype=torch.bool))
    assert found.varies.all()


def test_a_function_on_another_device_gets_a_sentence():
    linear = nn.Linear(4, 4, device="meta")
    with pytest.raises(ValueError, match=r"move one of them, layer\.to\('cpu'\)"):
        footprint(linear, X)


def test_a_class_in_place_of_a_layer_gets_a_sentence():
    with pytest.raises(TypeError, match=r"BatchNorm is a class: .* BatchNorm\(\.\.\.\)"):
        footprint(BatchNorm, X)
    with pytest.raises(ValueError, match="probes must be"):
        footprint(torch.relu, X, probes=-1)


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
        RMSNorm((6, 4, 4)),
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


def test_a_footprint_seen_through_relu_needs_several_probes():
    mask = footprint(lambda x: torch.relu(x), torch.zeros(50), probes=1)
    assert not mask.diagonal().all()  # one probe misses the negative half
    assert footprint(lambda x: torch.relu(x), torch.zeros(50), probes=20).diagonal().all()
    assert footprint(lambda x: torch.relu(x), torch.zeros(50)).diagonal().all()  # by default


def test_at_its_own_values_an_order_statistic_uses_three_values():
    x = torch.tensor([[3.0], [1.0], [9.0], [4.0], [6.0]])

    def min_max(x):
        return (x - x.amin(0)) / (x.amax(0) - x.amin(0))

    mask = footprint(min_max, x, at=(3, 0), probes=0)[:, 0]
    assert mask.nonzero().flatten().tolist() == [1, 2, 3]
