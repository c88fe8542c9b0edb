"""On a CUDA device: every layer, the footprint, the explorer, checks, training and pictures."""

import copy

import pytest
import torch
from torch import nn

from normlib import data, plots, training
from normlib.feedback import check
from normlib.footprint import examine, footprint, moved
from normlib.layers import BatchNorm, BatchRenorm, LayerNorm
from normlib.survey import survey
from normlib.weights import CosineLinear, spectral_norm, weight_norm
from normlib.widgets import AxesExplorer
from tests.test_torch_contract import MAKERS, C

if not torch.cuda.is_available():
    pytest.skip("no CUDA device on this machine", allow_module_level=True)

pytestmark = pytest.mark.gpu
X = torch.randn(6, C, 2, 3, dtype=torch.float64)


def steps(layer, x):
    """Outputs, gradients and state of three training steps and one in eval mode, on the CPU."""
    seen = []
    for training_mode in (True, True, True, False):
        leaf = x.clone().requires_grad_()
        layer.zero_grad()
        y = layer.train(training_mode)(leaf)
        y.pow(3).sum().backward()
        seen += [y, leaf.grad, *(p.grad for p in layer.parameters()), *layer.buffers()]
    return [t.detach().cpu() for t in seen]


@pytest.mark.parametrize("name", MAKERS)
def test_layers_equal_the_cpu(name):
    layer = MAKERS[name]().double()
    there = copy.deepcopy(layer).cuda()
    torch.testing.assert_close(steps(layer, X), steps(there, X.cuda()), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("make", [weight_norm, spectral_norm])
def test_weights_equal_the_cpu(make):
    layer = make(nn.Linear(5, 4).double())
    there = copy.deepcopy(layer).cuda()
    x = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(there(x.cuda()).cpu(), layer(x))
    cosine = CosineLinear(5, 4).double()
    torch.testing.assert_close(copy.deepcopy(cosine).cuda()(x.cuda()).cpu(), cosine(x))


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"SN on features"}))
def test_no_layer_waits_for_the_device(name):
    layer, x = MAKERS[name]().cuda(), torch.randn(6, C, 2, 3, device="cuda", requires_grad=True)
    layer(x).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        layer(x).backward(torch.ones_like(x))
        layer.eval()(x).backward(torch.ones_like(x))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_footprints_and_the_explorer():
    x = torch.randn(3, 4, 2, 2)
    for layer in (BatchNorm(4), BatchRenorm(4), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())):
        here, there = examine(layer, x), examine(copy.deepcopy(layer).cuda(), x.cuda())
        assert not there.mask.is_cuda
        for one, other in zip(vars(here).values(), vars(there).values(), strict=True):
            assert torch.equal(one, other)
        assert torch.equal(moved(layer, x), moved(copy.deepcopy(layer).cuda(), x.cuda()))
    methods = {"BN": BatchNorm(4), "LN": LayerNorm((4, 2, 2))}
    moved_methods = {name: copy.deepcopy(layer).cuda() for name, layer in methods.items()}
    here, there = AxesExplorer(methods, x), AxesExplorer(moved_methods, x.cuda())
    texts = [[m["variants"][0]["sees"]["text"] for m in e.spec["methods"]] for e in (here, there)]
    assert texts[0] == texts[1]
    for function, tensor in ((BatchNorm(4).cuda(), x), (nn.Conv2d(4, 4, 1), x.cuda())):
        with pytest.raises(ValueError, match="move one of them"):
            footprint(function, tensor)


def test_checks_take_answers_on_the_device():
    inputs = [torch.randn(4, 3, device="cuda")]
    assert check(lambda x: x - x.mean(0), lambda x: x - x.mean(0), inputs=inputs).passed
    assert check(lambda x: (x - x.mean(0)).cpu(), lambda x: x - x.mean(0), inputs=inputs).passed
    wrong = {"over the other axis": lambda x: x - x.mean(1, keepdim=True)}
    card = check(wrong["over the other axis"], lambda x: x - x.mean(0), inputs=inputs,
                 mistakes=wrong)  # fmt: skip
    assert "over the other axis" in repr(card)


def test_training_where_the_model_is():
    digits = data.digits()
    model = training.mlp(64, 32, 10, norm=BatchNorm).cuda()
    history = training.fit(model, digits, epochs=3)
    assert history.accuracy[-1] > 0.8
    assert training.accuracy(model, digits.x_test, digits.y_test) == history.accuracy[-1]
    assert training.gradients_by_layer(model, digits.x[:64], digits.y[:64]).isfinite().all()


def test_pictures_take_tensors_where_they_are():
    runs = {"Batch Norm": torch.rand(3, 5, device="cuda", requires_grad=True)}
    plots.plt.close(plots.curves(torch.arange(5, device="cuda"), runs))
    plots.plt.close(plots.strips({"a": {"Batch Norm": list(torch.rand(3, device="cuda"))}}, "y"))
    plots.plt.close(plots.tiles(torch.rand(2, 3, device="cuda"), "table", vmax=1.0))
    plots.plt.close(plots.cubes({"BN": BatchNorm(4).cuda()}, torch.randn(3, 4, 2, 2).cuda()))


def test_a_model_is_surveyed_where_it_is():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), BatchNorm(4), nn.Dropout(0.5), nn.LayerNorm(2))
    x, model = torch.randn(3, 4, 4, 4), model.train()
    on_cpu = [row.cells() for row in survey(model, x)]
    model.cuda()
    chance, state = torch.cuda.get_rng_state(), [t.clone() for t in model.state_dict().values()]
    on_gpu = survey(model, x.cuda())
    assert [row.cells() for row in on_gpu] == on_cpu
    assert on_gpu[0].input.is_cuda
    assert torch.equal(torch.cuda.get_rng_state(), chance)
    assert all(map(torch.equal, model.state_dict().values(), state))
    with pytest.raises(ValueError, match="on the model's device"):
        survey(model, x)


def test_both_optimizers_train_on_the_device():
    model = training.mlp(64, 32, 10).cuda()
    assert training.fit(model, data.digits(), lr=0.01, optimizer="adam").accuracy[-1] > 0.8
