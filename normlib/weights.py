"""Normalizations of weights, on torch's parametrizations: a layer's weight is computed anew."""

import torch
from torch import nn
from torch.nn.utils import parametrize


class WeightNorm(nn.Module):
    """The parametrization w = g * v / ||v||, one length g per index of axis `dim`.

    Salimans & Kingma 2016, arXiv:1602.07868, Equation 2. v has the weight's shape, g size 1 on all
    other axes. Their names in a state_dict are torch's: `original0` is g, `original1` is v.
    """

    def __init__(self, dim=0):
        super().__init__()
        self.dim = dim

    def forward(self, g, v):
        return g * v / self.length(v)

    def right_inverse(self, weight):
        return self.length(weight), weight

    def length(self, v):
        others = [axis for axis in range(v.dim()) if axis != self.dim]
        return torch.linalg.vector_norm(v, dim=others, keepdim=True)


def weight_norm(module, name="weight", dim=0):
    """Reparametrise a weight by length and direction, in place; returns the module.

    module: for example nn.Linear or nn.Conv2d. dim: the axis of the outputs (1 for transposed
    convolutions). The weight keeps its value: g starts as its length, v as the weight itself.
    Undo with torch.nn.utils.parametrize.remove_parametrizations(module, name).
    Raises ValueError if there is no such weight, it is normalised already, or one of its vectors
    is zero and so has no direction.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, torch.Tensor):
        raise ValueError(f"{type(module).__name__} has no weight called {name!r}")
    if weight.dim() < 2 or not 0 <= dim < weight.dim():
        raise ValueError(f"dim={dim} leaves nothing to normalise in a weight {tuple(weight.shape)}")
    if is_weight_normed(module, name):
        raise ValueError(f"{name!r} of {type(module).__name__} is weight-normalised already")
    method = WeightNorm(dim)
    zero = (method.length(weight.detach()).flatten() == 0).nonzero().flatten().tolist()
    if zero:
        raise ValueError(f"the weight vectors {zero} are zero: they have no direction to keep")
    parametrize.register_parametrization(module, name, method)
    return module


def is_weight_normed(module, name="weight"):
    return parametrize.is_parametrized(module, name) and any(
        isinstance(p, WeightNorm) for p in module.parametrizations[name]
    )


@torch.no_grad()
def data_dependent_init(model, x):
    """Set g and the bias of every weight-normalised layer from one batch; returns the model.

    Salimans & Kingma 2016, section 3: on this batch, every such layer's outputs get mean 0 and
    variance 1 per unit or channel, layer after layer. v stays as it is.
    x: a batch the model takes. Layers must have a bias; each may be used once.
    Raises ValueError, with the model unchanged, where a layer has fewer than two values per unit,
    a unit whose values are all the same, no bias, or no part in the model's output.
    """
    layers = {m: n for n, m in model.named_modules() if is_weight_normed(m)}
    if not layers:
        raise ValueError("the model has no weight-normalised layer: call weight_norm on some first")
    found = {}

    def measure(layer, inputs, output):
        name = layers[layer] or type(layer).__name__
        units = output.dim() - 1 if isinstance(layer, nn.Linear) else 1  # the axis of units
        axes = [axis for axis in range(output.dim()) if axis != units]
        if layer in found:
            raise ValueError(f"layer {name!r} is used twice: it has no single distribution")
        if layer.bias is None:
            raise ValueError(f"layer {name!r} has no bias to take the mean away with")
        if layer.parametrizations.weight.original0.numel() != output.shape[units]:
            raise ValueError(f"layer {name!r} is normalised along another axis than its outputs")
        if output.numel() < 2 * output.shape[units]:
            raise ValueError(
                f"layer {name!r} has one value per unit on input {tuple(x.shape)}: "
                "use a batch of two examples or more"
            )
        std, mean = torch.std_mean(output, axes, correction=0)
        constant = (std <= 1e-7 * (1 + mean.abs())).nonzero().flatten().tolist()
        if constant or not std.isfinite().all():
            raise ValueError(
                f"layer {name!r}: the values of units {constant} do not vary on this batch, or are "
                "not finite; use a larger batch, or remove what is constant"
            )
        found[layer] = mean, std
        shape = [-1 if axis == units else 1 for axis in range(output.dim())]
        return (output - mean.view(shape)) / std.view(shape)

    hooks = [layer.register_forward_hook(measure) for layer in layers]
    kept = {name: b.clone() for name, b in model.named_buffers()}
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])
    unused = [layers[layer] for layer in layers if layer not in found]
    if unused:
        raise ValueError(f"the model does not use the layers {unused} on this batch")
    for layer, (mean, std) in found.items():
        g = layer.parametrizations.weight.original0
        g.div_(std.view_as(g))
        layer.bias.copy_((layer.bias - mean) / std)
    return model
