"""One seeded training loop, small networks, and what their gradients are."""

import functools
import os
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

# Networks this small gain nothing from a second thread, and on a busy machine they lose: two
# processes that share two cores with two threads each are several times slower.
torch.set_num_threads(1)


def seeds(count):
    """The seeds of an experiment: so many numbers in a row, from 0.

    The environment variable NORMLIB_SEEDS moves where they begin, for the whole course: which
    conclusions stay the same then?
    """
    first = int(os.environ.get("NORMLIB_SEEDS", 0))
    return list(range(first, first + count))


(FIRST,) = seeds(1)


@dataclass
class History:
    """What a run records. `loss`: one number per step. `accuracy`: on test data, per epoch."""

    loss: list = field(default_factory=list)
    accuracy: list = field(default_factory=list)

    @property
    def diverged(self):
        """True when the loss was no longer finite; training stops there."""
        return not torch.tensor(self.loss).isfinite().all().item()


def mlp(*widths, norm=None, activation=nn.ReLU, gain=1.0, dropout=0.0, seed=FIRST):
    """A stack of fully connected layers: mlp(64, 100, 100, 10) has two hidden layers.

    norm: called with a width after every hidden layer, for example BatchNorm. The weights start
    normal with standard deviation gain * sqrt(2 / fan_in) (He initialisation at gain 1).
    """
    if len(widths) < 2:
        raise ValueError(f"an MLP needs at least an input and an output width, got {widths}")
    generator, layers = torch.Generator().manual_seed(seed), []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers.append(_he_init(nn.Linear(fan_in, fan_out), generator, gain))
        if i < len(widths) - 2:
            layers += _made(norm, fan_out)
            layers.append(activation())
            layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers)


def cnn(*channels, norm=None, num_classes=10, seed=FIRST):
    """3 x 3 convolutions on one-channel images, then the mean over positions and one linear layer.

    cnn(8, 8, 16) has three convolutions; the image is halved where the number of channels grows.
    norm: called with the channels after every convolution. Weights as in mlp at gain 1.
    """
    if not channels:
        raise ValueError("a CNN needs the channels of at least one convolution, such as cnn(8, 16)")
    generator, layers, before = torch.Generator().manual_seed(seed), [], 1
    for width in channels:
        stride = 2 if 1 < before < width else 1
        conv = nn.Conv2d(before, width, 3, padding=1, stride=stride)
        layers += [_he_init(conv, generator), *_made(norm, width), nn.ReLU()]
        before = width
    head = _he_init(nn.Linear(before, num_classes), generator)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def _made(norm, width):
    if isinstance(norm, nn.Module):
        name = type(norm).__name__
        raise TypeError(f"norm is called with each width: pass {name} itself, not {name}(...)")
    return [norm(width)] if norm else []


def _he_init(layer, generator, gain=1.0):
    """Give a linear or convolution layer normal weights of deviation gain * sqrt(2 / fan_in)."""
    with torch.no_grad():
        fan_in = layer.weight[0].numel()
        draw = torch.randn(layer.weight.shape, generator=generator)
        layer.weight.copy_(draw * (gain * (2 / fan_in) ** 0.5))
        layer.bias.zero_()
    return layer


def fit(
    model, data, *, lr=0.1, epochs=5, batch_size=64, seed=FIRST, weight_decay=0.0,
    optimizer="sgd", rates=None,
):  # fmt: skip
    """Train a classifier in place, where it is, on a data.Split and return its History.

    Batches are full ones in an order set by `seed`, which also seeds torch for Dropout.
    optimizer: "sgd", "adam", or an optimizer of torch's that has the model's parameters already.
    rates: factors on the learning rate of parameters by the last part of their name, such as
    {"rho": 10}; these get no weight decay.
    Raises ValueError for an unknown optimizer, a batch larger than the data, or a name in rates
    that no parameter has.
    """
    adam = functools.partial(torch.optim.Adam, fused=True)  # one kernel for all parameters
    kinds = {"sgd": torch.optim.SGD, "adam": adam}
    made = isinstance(optimizer, torch.optim.Optimizer)
    if not made and optimizer not in kinds:
        raise ValueError(f"unknown optimizer {optimizer!r}: choose one of {sorted(kinds)}")
    if not 1 <= batch_size <= len(data.x):
        raise ValueError(f"batch_size must be 1 to {len(data.x)}, got {batch_size}")
    torch.manual_seed(seed)
    if made:
        step = optimizer
    else:
        groups = _groups(model, rates or {}, lr)
        step = kinds[optimizer](groups, lr=lr, weight_decay=weight_decay)
    history, device = History(), _device(model, data.x)
    for _ in range(epochs):
        model.train()
        for batch in torch.randperm(len(data.x)).split(batch_size):
            if len(batch) < batch_size:
                break
            step.zero_grad()
            x, y = data.x[batch].to(device), data.y[batch].to(device)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            step.step()
            history.loss.append(loss.item())
        history.accuracy.append(accuracy(model, data.x_test, data.y_test))
        if history.diverged:
            break
    return history


def _device(model, x):
    """Where the model computes: the device of its parameters, or of x if it has none."""
    return next((p.device for p in model.parameters()), x.device)


def _groups(model, rates, lr):
    """The optimizer's parameter groups: one for every factor, and one for the rest."""
    named = {None: []} | {name: [] for name in rates}
    for name, parameter in model.named_parameters():
        last = name.rpartition(".")[2]
        named[last if last in rates else None].append(parameter)
    missing = [name for name in rates if not named[name]]
    if missing:
        raise ValueError(f"no parameter of the model is called {missing[0]!r}")
    return [{"params": named.pop(None)}] + [
        {"params": group, "lr": lr * rates[name], "weight_decay": 0.0}
        for name, group in named.items()
    ]


@torch.no_grad()
def accuracy(model, x, y):
    """Share of correct answers in eval mode; every module's mode is as before afterwards.

    y: one label per example. Raises ValueError for another shape, or no example at all.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        answers = model(x.to(_device(model, x))).argmax(1).to(y.device)
    finally:
        for module, mode in modes.items():
            module.training = mode
    if answers.shape != y.shape or not len(y):
        raise ValueError(f"expected {len(x)} labels, and at least one, got {tuple(y.shape)}")
    return (answers == y).float().mean().item()


def gradients_by_layer(model, x, y):
    """Norm of the loss gradient at the output of every linear layer, first to last, as a tensor."""
    outputs = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        for module in model
        if isinstance(module, nn.Linear)
    ]
    device = _device(model, x)
    loss = F.cross_entropy(model(x.to(device)), y.to(device))
    for hook in hooks:
        hook.remove()
    return torch.stack([g.norm() for g in torch.autograd.grad(loss, outputs)])
