"""Weight Norm: torch's parametrization as the oracle, and data-dependent initialisation."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from normlib.weights import data_dependent_init, weight_norm

LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), (7, 5), 0),
    "conv": (lambda: nn.Conv2d(3, 4, 3), (2, 3, 6, 6), 0),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3), (2, 3, 8), 0),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3), (2, 3, 5, 5), 1),
    "inputs": (lambda: nn.Linear(5, 4), (7, 5), 1),
}


def pair(kind):
    """The same layer under normlib's and torch's weight norm, and an input."""
    make, shape, dim = LAYERS[kind]
    torch.manual_seed(0)
    layer = make()
    ours = weight_norm(copy.deepcopy(layer), dim=dim)
    theirs = parametrizations.weight_norm(copy.deepcopy(layer), dim=dim)
    return ours, theirs, torch.randn(shape), layer


@pytest.mark.parametrize("kind", LAYERS)
def test_weight_norm_is_torchs(kind):
    ours, theirs, x, layer = pair(kind)
    torch.testing.assert_close(ours(x), layer(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    for model in (ours, theirs):
        with torch.no_grad():
            model.parametrizations.weight.original0.mul_(1.7)
            model.parametrizations.weight.original1.add_(0.1)
        model(x).square().sum().backward()
    torch.testing.assert_close(ours(x), theirs(x))
    expected = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p.grad, expected[name].grad)


def test_weight_norm_state_dicts_travel_both_ways_and_copies_are_free():
    ours, theirs, x, _ = pair("conv")
    with torch.no_grad():
        theirs.parametrizations.weight.original0.mul_(3)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))
    twin = copy.deepcopy(ours)
    with torch.no_grad():
        twin.parametrizations.weight.original0.zero_()
    assert ours(x).abs().max() > 0.1
    parametrize.remove_parametrizations(ours, "weight")
    torch.testing.assert_close(ours(x), theirs(x))


def test_the_gradient_of_v_is_orthogonal_to_v():
    ours, _, x, _ = pair("linear")
    ours(x).pow(3).sum().backward()
    v = ours.parametrizations.weight.original1
    cosine = torch.cosine_similarity(v, v.grad, dim=1)
    assert cosine.abs().max() < 1e-6


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        weight_norm(nn.Conv2d(1, 4, 3)), nn.ReLU(), nn.Flatten(),
        weight_norm(nn.Linear(144, 10)), nn.Tanh(), weight_norm(nn.Linear(10, 3)),
    )  # fmt: skip


def outputs(model, x):
    seen = []
    for layer in model:
        x = layer(x)
        if parametrize.is_parametrized(layer):
            seen.append(x)
    return seen


def test_data_dependent_init_standardises_every_layer_on_its_batch():
    model, x = network(), torch.randn(32, 1, 8, 8) * 3 + 1
    assert data_dependent_init(model, x) is model
    for out in outputs(model, x):
        axes = [axis for axis in range(out.dim()) if axis != 1]
        torch.testing.assert_close(out.mean(axes), torch.zeros(out.shape[1]), atol=1e-5, rtol=0)
        std = out.std(axes, correction=0)
        torch.testing.assert_close(std, torch.ones(out.shape[1]), atol=1e-4, rtol=0)


def test_data_dependent_init_reads_tokens_by_feature():
    model, x = weight_norm(nn.Linear(5, 4)), torch.randn(6, 7, 5)
    out = data_dependent_init(model, x)(x)
    torch.testing.assert_close(out.mean((0, 1)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((0, 1), correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_data_dependent_init_leaves_directions_and_buffers_alone():
    model = nn.Sequential(weight_norm(nn.Linear(5, 4)), nn.BatchNorm1d(4))
    v = model[0].parametrizations.weight.original1.clone()
    data_dependent_init(model, torch.randn(9, 5))
    assert torch.equal(v, model[0].parametrizations.weight.original1)
    assert torch.equal(model[1].running_mean, torch.zeros(4))
    assert model[1].num_batches_tracked == 0


BAD_BATCHES = {
    "one value per unit": torch.randn(1, 5),
    "do not vary": torch.ones(6, 5),
    "not finite": torch.full((6, 5), float("nan")),
}


@pytest.mark.parametrize("says", BAD_BATCHES)
def test_a_bad_batch_changes_nothing(says):
    model = nn.Sequential(weight_norm(nn.Linear(5, 4)), nn.ReLU(), weight_norm(nn.Linear(4, 2)))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=says):
        data_dependent_init(model, BAD_BATCHES[says])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not model[0]._forward_hooks


def test_a_dead_unit_in_a_later_layer_changes_nothing():
    model = nn.Sequential(
        weight_norm(nn.Linear(5, 4)), nn.Threshold(9, 0.0), weight_norm(nn.Linear(4, 2))
    )
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"layer '2'.*do not vary"):
        data_dependent_init(model, torch.randn(8, 5))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_what_weight_norm_refuses():
    layer = nn.Linear(3, 3)
    with torch.no_grad():
        layer.weight[1] = 0
    with pytest.raises(ValueError, match=r"weight vectors \[1\] are zero"):
        weight_norm(layer)
    assert not parametrize.is_parametrized(layer)
    with pytest.raises(ValueError, match="no weight called"):
        weight_norm(nn.ReLU())
    with pytest.raises(ValueError, match="already"):
        weight_norm(weight_norm(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="dim=2"):
        weight_norm(nn.Linear(2, 2), dim=2)


def test_what_data_dependent_init_refuses():
    with pytest.raises(ValueError, match="no weight-normalised layer"):
        data_dependent_init(nn.Linear(2, 2), torch.randn(3, 2))
    with pytest.raises(ValueError, match="no bias"):
        data_dependent_init(weight_norm(nn.Linear(2, 2, bias=False)), torch.randn(3, 2))
    shared = weight_norm(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="used twice"):
        data_dependent_init(nn.Sequential(shared, shared), torch.randn(3, 2))
    with pytest.raises(ValueError, match="another axis"):
        data_dependent_init(weight_norm(nn.Linear(2, 3), dim=1), torch.randn(3, 2))
    idle = nn.Linear(2, 2)
    idle.aside = weight_norm(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="does not use the layers"):
        data_dependent_init(idle, torch.randn(3, 2))
