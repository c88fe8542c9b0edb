"""Layers where torch's own go: torch's sample inputs, derivative checks, transforms and tools."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.testing._internal.common_modules import module_db
from torch.utils.checkpoint import checkpoint

from normlib.layers import (
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

OURS = {  # torch's class, and ours in its place
    _BatchNorm: BatchNorm,
    _InstanceNorm: InstanceNorm,
    nn.LayerNorm: LayerNorm,
    nn.GroupNorm: GroupNorm,
    nn.RMSNorm: RMSNorm,
}
NORMS = [
    info for info in module_db
    if issubclass(info.module_cls, tuple(OURS)) and "Lazy" not in info.name
    and info.module_cls is not nn.SyncBatchNorm
]  # fmt: skip
UNBATCHED = {nn.InstanceNorm1d: 2, nn.InstanceNorm2d: 3, nn.InstanceNorm3d: 4}


def test_torchs_list_of_modules_has_every_norm():
    assert {info.module_cls for info in NORMS} >= {
        nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d,
        nn.InstanceNorm3d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm,
    }  # fmt: skip


def step(layer, x, *args):
    """One forward and backward pass: output, gradients, buffers."""
    leaf = x.detach().clone().requires_grad_()
    layer.zero_grad()
    y = layer(leaf)
    y.backward(torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y))
    return [y.detach(), leaf.grad, *(p.grad for p in layer.parameters()), *layer.buffers()]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("info", NORMS, ids=lambda info: info.name)
def test_torchs_own_samples(info, dtype, training):
    ours = next(mine for theirs, mine in OURS.items() if issubclass(info.module_cls, theirs))
    tolerance = {"atol": 1e-9, "rtol": 1e-9} if dtype == torch.float64 else {
        "atol": 3e-5, "rtol": 3e-5
    }  # fmt: skip
    samples = info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=False, training=training
    )
    compared = 0
    for sample in samples:
        args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
        theirs = info.module_cls(*args, **kwargs).to(dtype).train(training)
        mine = ours(*args, **kwargs).to(dtype).train(training)
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.uniform_(0.5, 1.5)
        mine.load_state_dict(theirs.state_dict())
        x = sample.forward_input.args[0]
        if x.dim() == UNBATCHED.get(info.module_cls):
            with pytest.raises(ValueError, match=r"x\[None\]"):
                mine(x)
            continue
        for k in range(3):
            torch.testing.assert_close(
                step(mine, (k + 1) * x + k), step(theirs, (k + 1) * x + k), **tolerance
            )
        compared += 1
    assert compared


# torch warns of its own test tools
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

C = 4
MAKERS = {
    "BN": lambda: BatchNorm(C),
    "ghost": lambda: GhostBatchNorm(C, 2),
    "mean-only": lambda: MeanOnlyBatchNorm(C),
    "IN": lambda: InstanceNorm(C, affine=True),
    "GN": lambda: GroupNorm(2, C),
    "BRN": lambda: BatchRenorm(C),
    "BIN": lambda: BatchInstanceNorm(C),
    "SN": lambda: SwitchableNorm(C),
    "SN on features": lambda: SwitchableNorm(C, pools=("LN", "BN")),
    "LN": lambda: LayerNorm(3),
    "RMS": lambda: RMSNorm(3),
    # what it does to gradients on purpose is switched off: they are those of the function then
    "streaming": lambda: StreamingNorm(C, p=2, grad_weights=(0, 0, 1)),
}
SHAPES = {2: (6, C), 3: (6, C, 3), 4: (6, C, 2, 3), 5: (6, C, 2, 1, 3)}


def takes(name, rank):
    if name in ("LN", "RMS"):
        return rank > 2
    return rank > 2 or name not in ("IN", "BIN", "SN")


CASES = [
    (name, rank, mode)
    for name in MAKERS for rank in SHAPES for mode in ("train", "eval") if takes(name, rank)
]  # fmt: skip


def made(name, mode):
    """A layer in double precision, away from where it starts, and what it is a function of."""
    torch.manual_seed(0)
    layer = MAKERS[name]().double()
    with torch.no_grad():
        for key, parameter in layer.named_parameters():
            parameter.uniform_(0.2, 0.8) if key == "rho" else parameter.uniform_(0.5, 1.5)
        for key, buffer in layer.named_buffers():
            if buffer.is_floating_point() and "gradient" not in key:
                buffer.uniform_(0.5, 1.5)
    layer.train(mode == "train")
    parameters = dict(layer.named_parameters())

    def function(x, *values):
        fresh = copy.deepcopy(layer)  # the same running statistics at every evaluation
        return torch.func.functional_call(fresh, dict(zip(parameters, values, strict=True)), (x,))

    return function, [p.detach().clone().requires_grad_() for p in parameters.values()]


@pytest.mark.parametrize(("name", "rank", "mode"), CASES)
def test_derivatives(name, rank, mode):
    if name == "BRN" and mode == "train":
        pytest.skip("r and d of Batch Renorm are constants for the gradient, by definition")
    function, parameters = made(name, mode)
    x = torch.randn(SHAPES[rank], dtype=torch.float64, requires_grad=True)
    inputs = (x, *parameters)
    options = {"check_batched_grad": True, "fast_mode": True}
    assert gradcheck(function, inputs, check_forward_ad=True, **options)
    assert gradgradcheck(function, inputs, **options)


RUNNING = ("BN", "ghost", "mean-only", "BRN", "BIN", "SN", "SN on features", "streaming")
X = torch.randn(6, C, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", MAKERS)
def test_torch_func(name, mode):
    """Hessians, vectorised Jacobians and forward mode agree with one row at a time."""
    function, parameters = made(name, mode)
    loss = lambda x: function(x, *parameters).pow(3).sum()  # noqa: E731
    x = X[:4, :, :1]
    if not (name == "BRN" and mode == "train"):  # forward mode: r and d are constants there
        hessian = torch.func.hessian(loss)(x)
        expected = torch.autograd.functional.hessian(loss, x)
        torch.testing.assert_close(hessian, expected)
    rows = [
        torch.autograd.functional.jacobian(function_of(function, parameters), x, vectorize=v)
        for v in (True, False)
    ]
    torch.testing.assert_close(*rows)


def function_of(function, parameters):
    return lambda x: function(x, *parameters)


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_of_every_example_by_vmap(name):
    function, parameters = made(name, "eval")

    def gradients(one):
        return torch.func.grad(lambda p: function(one[None], *p).pow(3).sum())(tuple(parameters))

    at_once = torch.func.vmap(gradients)(X)
    one_by_one = zip(*(gradients(one) for one in X), strict=True)
    for mine, wanted in zip(at_once, one_by_one, strict=True):
        torch.testing.assert_close(mine, torch.stack(wanted))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", MAKERS)
def test_ensembles(name, mode):
    members = [MAKERS[name]().double().train(mode == "train") for _ in range(3)]
    for member in members:
        for parameter in member.parameters():
            nn.init.uniform_(parameter)
    together = torch.func.stack_module_state(members)
    base = copy.deepcopy(members[0])

    def call(parameters, buffers, x):
        return torch.func.functional_call(base, (parameters, buffers), (x,))

    y = torch.func.vmap(call, in_dims=(0, 0, None))(*together, X)
    torch.testing.assert_close(y, torch.stack([member(X) for member in members]))
    for key, stacked in together[1].items():
        torch.testing.assert_close(stacked, torch.stack([m.get_buffer(key) for m in members]))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", MAKERS)
def test_export_for_any_batch_size(name, mode):
    torch._dynamo.reset()
    layer = MAKERS[name]().double().train(mode == "train")
    fixed = name == "ghost" and mode == "train"  # as many kernels as groups
    fixed |= name == "SN" and torch.__version__ < (2, 13)  # older ones fix a batch norm's channels
    shapes = None if fixed else ({0: torch.export.Dim("batch", min=2)},)
    exported = torch.export.export(copy.deepcopy(layer), (X,), dynamic_shapes=shapes).module()
    other = X if fixed else torch.cat([X, 2 * X])
    torch.testing.assert_close(exported(other), layer(other))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", MAKERS)
def test_forward_mode_agrees_with_reverse_and_leaves_no_tangent(name, mode):
    """Also where a part is a constant for the gradient: both modes mean the same one."""
    layer, upstream = MAKERS[name]().double(), torch.randn_like(X)
    layer(X)
    layer.train(mode == "train")
    twin, direction = copy.deepcopy(layer), torch.randn_like(X)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(layer(forward_ad.make_dual(X, direction))).tangent
        assert all(forward_ad.unpack_dual(b).tangent is None for b in layer.buffers())
    leaf = X.clone().requires_grad_()
    twin(leaf).backward(upstream)
    torch.testing.assert_close((tangent * upstream).sum(), (leaf.grad * direction).sum())


def test_symbolic_tracing():
    model = nn.Sequential(BatchNorm(C), GroupNorm(2, C), LayerNorm(3), InstanceNorm(C), RMSNorm(3))
    traced = torch.fx.symbolic_trace(model.eval())
    torch.testing.assert_close(traced(X.float()), model(X.float()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MAKERS)
def test_half_layers_train(name, dtype):
    """All in half precision, and the running variance of large values stays finite."""
    layer, x = MAKERS[name]().to(dtype), (X * 100).to(dtype).requires_grad_()
    y = layer(x)
    y.float().square().sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    for mode in (True, False):
        single = copy.deepcopy(layer).float().train(mode)
        expected = single(x.detach().float())
        torch.testing.assert_close(layer.train(mode)(x).float(), expected, atol=0.1, rtol=0.1)


def test_all_classes_compile_whole_in_one_process():
    """The compiler recompiles a function at most eight times: classes do not share one."""
    torch._dynamo.reset()
    for mode in (True, False):
        for make in MAKERS.values():
            layer = make().double().train(mode)
            compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
            torch.testing.assert_close(compiled(X), layer(X))


def test_update_bn_recalibrates():
    batches = [torch.randn(8, C, 4, 4) * 5 + 10 for _ in range(3)]
    for layer in (BatchNorm(C), GhostBatchNorm(C, 2), nn.BatchNorm2d(C)):
        torch.optim.swa_utils.update_bn(batches, nn.Sequential(layer))
        torch.testing.assert_close(layer.running_mean, torch.stack(batches).mean((0, 1, 3, 4)))
        assert layer.momentum == 0.1


@pytest.mark.parametrize("name", ["mean-only", "BRN", "BIN", "SN"])
def test_our_own_layers_recalibrate_by_hand(name):
    batches, layer = torch.randn(3, 8, C, 4, 4) * 5 + 10, MAKERS[name]()
    layer(batches[0] * 100)
    layer.reset_running_stats()
    layer.momentum = None
    for x in batches:
        layer(x)
    torch.testing.assert_close(layer.running_mean, batches.mean((0, 1, 3, 4)))


def test_convert_sync_batchnorm():
    layer = BatchNorm(C)
    layer(X.float())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(layer))[0]
    assert type(converted) is nn.SyncBatchNorm
    torch.testing.assert_close(converted.running_var, layer.running_var)
    torch.testing.assert_close(converted.eval()(X.float()), layer.eval()(X.float()))


@pytest.mark.parametrize("name", MAKERS)
def test_to_empty_and_reset_parameters(name):
    with torch.device("meta"):
        layer = MAKERS[name]()
    assert layer(torch.zeros(6, C, 2, 3, device="meta")).shape == (6, C, 2, 3)
    layer = layer.to_empty(device="cpu")
    for tensor in (*layer.parameters(), *layer.buffers()):
        tensor.data.fill_(7)
    layer.apply(lambda m: m.reset_parameters())
    fresh = MAKERS[name]()
    torch.testing.assert_close(dict(layer.state_dict()), dict(fresh.state_dict()))


@pytest.mark.parametrize("name", MAKERS)
def test_checkpoint_without_reentry(name):
    results = []
    for run in (lambda layer, x: layer(x), lambda f, x: checkpoint(f, x, use_reentrant=False)):
        layer, x = MAKERS[name]().double(), X.clone().requires_grad_()
        run(layer, x).pow(3).sum().backward()
        results.append([x.grad, *(p.grad for p in layer.parameters())])
    if name in ("BRN", "streaming"):
        pytest.skip("its statistics move in the first pass, and the second one computes with them")
    torch.testing.assert_close(*results)
