"""Methods that act on weights: torch's parametrizations as the oracle, and data-dependent init."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from normlib.weights import (
    METHODS,
    CosineLinear,
    data_dependent_init,
    spectral_norm,
    weight_norm,
)

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
    with pytest.raises(ValueError, match="computed from something else"):
        weight_norm(spectral_norm(nn.Linear(2, 2)))
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


SPECTRAL = {
    "linear": (lambda: nn.Linear(5, 7), (4, 5)),
    "convolution": (lambda: nn.Conv2d(3, 6, 3), (2, 3, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 6, 3), (2, 3, 5, 5)),
}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", SPECTRAL)
def test_spectral_norm_is_torchs(kind, steps):
    make, shape = SPECTRAL[kind]
    base = make().double()
    pair = []
    for function in (spectral_norm, parametrizations.spectral_norm):
        torch.manual_seed(1)
        pair.append(function(copy.deepcopy(base), n_power_iterations=steps))
    ours, theirs = pair
    for training in (True, True, False, True):
        x = torch.randn(shape, dtype=torch.float64)
        for module in pair:
            module.train(training)
            module.zero_grad()
            (module(x).pow(3).sum() + module(x).sum()).backward()  # two passes, then backward
        for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, wanted.grad)
        torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())


def test_spectral_norm_converges_to_the_largest_singular_value():
    layer = spectral_norm(nn.Conv2d(3, 6, 3).double(), n_power_iterations=100)
    original = layer.parametrizations.weight.original.detach()
    sigma = torch.linalg.svdvals(original.flatten(1))[0]
    torch.testing.assert_close(layer.weight, original / sigma)
    frozen = copy.deepcopy(layer).eval()
    before = copy.deepcopy(frozen.state_dict())
    torch.testing.assert_close(frozen.weight, layer.weight)
    assert all(torch.equal(v, before[k]) for k, v in frozen.state_dict().items())


def test_the_gradient_of_spectral_norm_is_the_papers():
    layer = spectral_norm(nn.Linear(5, 7, bias=False).double(), n_power_iterations=200)
    upstream = torch.randn(7, 5, dtype=torch.float64)
    w = layer.weight
    w.backward(upstream)
    original, method = layer.parametrizations.weight.original, layer.parametrizations.weight[0]
    sigma = torch.linalg.matrix_norm(original, 2)
    expected = (upstream - (upstream * w).sum() * torch.outer(method._u, method._v)) / sigma
    torch.testing.assert_close(original.grad, expected)


def test_spectral_norm_passes_a_gradient_check_copies_and_compiles():
    layer = spectral_norm(nn.Linear(3, 4)).double().eval()
    x = torch.randn(2, 3, dtype=torch.float64)
    original = layer.parametrizations.weight.original

    def through(weight):
        return torch.func.functional_call(layer, {"parametrizations.weight.original": weight}, x)

    assert torch.autograd.gradcheck(through, (original.detach().clone().requires_grad_(),))
    for mode in (True, False):
        layer.train(mode)
        plain = copy.deepcopy(layer)
        torch._dynamo.reset()
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), plain(x))
        torch.testing.assert_close(dict(layer.state_dict()), dict(plain.state_dict()))


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "1"])
def test_spectral_norm_needs_a_positive_number_of_steps(steps):
    layer = nn.Linear(3, 3)
    with pytest.raises((TypeError, ValueError), match="n_power_iterations"):
        spectral_norm(layer, n_power_iterations=steps)
    assert not hasattr(layer, "parametrizations")


def test_what_spectral_norm_refuses():
    zero = nn.Linear(3, 3)
    nn.init.zeros_(zero.weight)
    with pytest.raises(ValueError, match="zero or not finite"):
        spectral_norm(zero)
    with pytest.raises(ValueError, match="no weight called"):
        spectral_norm(nn.ReLU())
    with pytest.raises(ValueError, match="dim=0"):
        spectral_norm(nn.BatchNorm1d(3))
    done = spectral_norm(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="SpectralNorm already"):
        spectral_norm(done)


def test_centred_cosines_are_numpys_correlations():
    layer, x = CosineLinear(6, 3, centred=True).double(), torch.randn(4, 6, dtype=torch.float64)
    weight = layer.weight.detach()
    expected = np.corrcoef(np.concatenate([x.numpy(), weight.numpy()]))[:4, 4:]
    np.testing.assert_allclose(layer(x * 3 + 2).detach().numpy(), expected, atol=1e-12)


def test_cosines_are_bounded_and_do_not_see_lengths():
    layer, x = CosineLinear(6, 3, scale=10.0).double(), torch.randn(40, 6, dtype=torch.float64)
    y = layer(x)
    torch.testing.assert_close(layer(x * 1e6), y)
    torch.testing.assert_close(
        y / 10, nn.functional.cosine_similarity(x[:, None], layer.weight, dim=-1)
    )
    torch.testing.assert_close(layer(layer.weight).diagonal(), torch.full((3,), 10.0).double())
    assert torch.autograd.gradcheck(layer, (x[:3].requires_grad_(),))


@pytest.mark.parametrize("centred", [False, True])
def test_cosine_linear_copies_saves_and_compiles(centred):
    layer, x = CosineLinear(6, 3, centred=centred), torch.randn(4, 6)
    fresh = CosineLinear(6, 3, centred=centred)
    fresh.load_state_dict(layer.state_dict())
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for other in (fresh, copy.deepcopy(layer), compiled):
        torch.testing.assert_close(other(x), layer(x))


def test_a_vector_without_direction_is_refused():
    x = torch.randn(4, 6)
    x[2] = 0
    with pytest.raises(ValueError, match=r"input vectors \[\[2\]\] are zero"):
        CosineLinear(6, 3)(x)
    x[2] = 5
    CosineLinear(6, 3)(x)
    with pytest.raises(ValueError, match=r"input vectors \[\[2\]\] are constant"):
        CosineLinear(6, 3, centred=True)(x)
    layer = CosineLinear(6, 3)
    nn.init.zeros_(layer.weight[1])
    with pytest.raises(ValueError, match=r"weight vectors \[\[1\]\]"):
        layer(torch.randn(4, 6))
    with pytest.raises(ValueError, match="6 features"):
        layer(torch.randn(4, 5))
    with pytest.raises(TypeError, match=r"x\.float\(\)"):
        layer(torch.ones(4, 6, dtype=torch.int64))


def test_every_weight_method_fills_the_master_table():
    for method in METHODS:
        columns = ("acts_on", "over", "statistic", "learns", "remembers")
        assert all(isinstance(getattr(method, column), str) for column in columns)
        assert "arXiv" in method.__doc__


@pytest.mark.parametrize("function", [weight_norm, spectral_norm])
def test_autocast(function):
    layer = function(nn.Conv2d(3, 4, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(torch.randn(1, 3, 5, 5))
    assert y.dtype == torch.bfloat16


def test_spectral_norm_of_a_complex_weight():
    layer = spectral_norm(nn.Linear(4, 3, dtype=torch.complex64), n_power_iterations=60)
    assert torch.linalg.svdvals(layer.weight)[0].item() == pytest.approx(1, abs=1e-5)
    normed = weight_norm(nn.Linear(4, 3, dtype=torch.complex64))
    assert normed(torch.randn(2, 4, dtype=torch.complex64)).isfinite().all()


@pytest.mark.parametrize("dim", [None, -1, -2, 0, 1])
def test_torchs_spellings_of_dim(dim):
    base = nn.Linear(4, 3)
    ours = weight_norm(copy.deepcopy(base), dim=dim)
    theirs = parametrizations.weight_norm(copy.deepcopy(base), dim=dim)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(
        spectral_norm(copy.deepcopy(base), dim=-1, n_power_iterations=50).weight,
        spectral_norm(copy.deepcopy(base), dim=1, n_power_iterations=50).weight,
    )


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_checkpoints_of_torchs_older_functions_load():
    x = torch.randn(2, 4)
    for old, new in (
        (nn.utils.weight_norm, weight_norm), (nn.utils.spectral_norm, spectral_norm),
    ):  # fmt: skip
        source, target = nn.Sequential(old(nn.Linear(4, 3))), nn.Sequential(new(nn.Linear(4, 3)))
        source(x)
        target.load_state_dict(source.state_dict())
        torch.testing.assert_close(target.eval()(x), source.eval()(x))
        pickle.dumps(parametrize.remove_parametrizations(target[0], "weight"))


def test_the_meta_device():
    with torch.device("meta"):
        for layer in (
            weight_norm(nn.Linear(4, 3)),
            spectral_norm(nn.Linear(4, 3)),
            CosineLinear(4, 3),
        ):
            assert layer(torch.randn(2, 4)).shape == (2, 3)


def test_a_weight_that_becomes_zero_is_harmless():
    for layer in (weight_norm(nn.Linear(4, 3)), spectral_norm(nn.Linear(4, 3))):
        kept = copy.deepcopy(layer.state_dict())
        with torch.no_grad():
            for name, parameter in layer.named_parameters():
                parameter.zero_() if name.startswith("parametrizations") else None
        layer(torch.ones(1, 4)).sum().backward()
        assert all(p.grad.isfinite().all() for p in layer.parameters())
        layer.load_state_dict(kept, strict=False)
        for _ in range(50):
            weight = layer.weight
        if len(kept) == 4:  # bias, original, u and v
            assert torch.linalg.svdvals(weight)[0].item() == pytest.approx(1, abs=1e-4)


def test_gradients_of_every_example_through_cosines():
    layer, x = CosineLinear(4, 3), torch.randn(5, 4)
    at_once = torch.func.vmap(torch.func.grad(lambda one: layer(one).sum()))(x)
    one_by_one = [torch.func.grad(lambda one: layer(one).sum())(one) for one in x]
    torch.testing.assert_close(at_once, torch.stack(one_by_one))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: weight_norm(nn.Linear), TypeError, "belongs to a layer"),
        (lambda: weight_norm(nn.Linear(2, 2), 0), ValueError, "no weight called 0"),
        (lambda: weight_norm(nn.Linear(2, 2), dim="0"), TypeError, "number of an axis"),
        (lambda: spectral_norm(nn.Linear(2, 2), eps="a"), TypeError, "eps is a number"),
        (lambda: CosineLinear("4", 3), TypeError, "in_features is a whole number"),
        (lambda: CosineLinear(4, 3, 10.0), TypeError, "centred is True or False"),
        (lambda: CosineLinear(4, 3, scale="1"), TypeError, "scale is a number"),
        (lambda: CosineLinear(4, 3)(torch.randn(2, 4).double()), TypeError, "holds torch.float32"),
        (lambda: data_dependent_init(None, torch.randn(2, 4)), TypeError, "expected a model"),
        (
            lambda: data_dependent_init(weight_norm(nn.Linear(4, 4), dim=1), torch.randn(9, 4)),
            ValueError, "another axis",
        ),
        (
            lambda: data_dependent_init(weight_norm(nn.Conv1d(3, 4, 3)), torch.randn(3, 9)),
            ValueError, r"without a batch axis: add it, x\[None\]",
        ),
    ],
)  # fmt: skip
def test_wrong_arguments_get_a_sentence(make, error, says):
    with pytest.raises(error, match=says):
        make()
