"""Normalizations of weights, on torch's parametrizations: a layer's weight is computed anew.

The class attributes are the row of the course's master table, as in layers.py. For a weight,
`over` is written O for the axis of outputs, I for all others.
"""

import copy
import functools
import numbers

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from normlib.axes import check_floating, check_number, check_size, transformed, wide
from normlib.norm import check_place, checked


class WeightNorm(nn.Module):
    """The parametrization w = g * v / ||v||, one length g per index of axis `dim`, or one in all.

    Salimans & Kingma 2016, arXiv:1602.07868, Equation 2. v has the weight's shape, g size 1 on all
    other axes. Their names in a state_dict are torch's: `original0` is g, `original1` is v.
    """

    acts_on = "w"
    over = "I"
    statistic = "L2 norm"
    learns = "length g, direction v per output"
    remembers = "nothing"

    def __init__(self, dim=0):
        super().__init__()
        self.dim = dim

    def forward(self, g, v):
        length = self.length(v)
        return g / torch.where(length > 0, length, 1) * v  # a zero vector stays zero

    def right_inverse(self, weight):
        return self.length(weight), weight

    def length(self, v):
        if self.dim is None:
            return torch.linalg.vector_norm(v)
        others = [axis for axis in range(v.dim()) if axis != self.dim]
        return torch.linalg.vector_norm(v, dim=others, keepdim=True)


def weight_norm(module, name="weight", dim=0):
    """Reparametrise a weight by length and direction, in place; returns the module.

    module: for example nn.Linear or nn.Conv2d. dim: the axis of the outputs (1 for transposed
    convolutions); None or, as in torch, −1 for one length of the whole weight.
    The weight keeps its value: g starts as its length, v as the weight itself. Checkpoints of
    torch's older weight_norm (weight_g, weight_v) load.
    Undo with torch.nn.utils.parametrize.remove_parametrizations(module, name).
    Raises ValueError if there is no such weight, it is computed already, or one of its vectors
    is zero and so has no direction. A vector that becomes zero later gives a weight of zero.
    """
    weight, dim = _find_weight(module, name, None if dim == -1 else dim, WeightNorm)
    if parametrize.is_parametrized(module, name):
        raise ValueError(f"{name!r} is computed from something else already: remove that first")
    method = WeightNorm(dim)
    zero = method.length(weight.detach()).flatten() == 0
    if not weight.is_meta and zero.any():
        which = zero.nonzero().flatten().tolist()
        raise ValueError(f"the weight vectors {which} are zero: they have no direction to keep")
    parametrize.register_parametrization(module, name, method)
    return _takes_old_names(module, name, {"_g": "original0", "_v": "original1"})


def _takes_old_names(module, name, new_names):
    """Let the module load what torch's older functions saved; returns the module."""

    module.register_load_state_dict_pre_hook(functools.partial(_rename, name, new_names))
    return module


def _rename(name, new_names, module, state_dict, prefix, *_):
    for old, new in new_names.items():
        if f"{prefix}{name}{old}" in state_dict:
            target = f"{prefix}parametrizations.{name}.{new}"
            state_dict[target] = state_dict.pop(f"{prefix}{name}{old}")


def _has(module, name, method):
    return parametrize.is_parametrized(module, name) and any(
        isinstance(p, method) for p in module.parametrizations[name]
    )


def _find_weight(module, name, dim, method):
    """The module's weight and `dim` from the front; refused if there is nothing to normalise."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"a weight belongs to a layer, such as nn.Linear(4, 3), got {module!r}")
    weight = getattr(module, name, None) if isinstance(name, str) else None
    if not isinstance(weight, torch.Tensor):
        raise ValueError(f"{type(module).__name__} has no weight called {name!r}")
    if not (dim is None or isinstance(dim, numbers.Integral)):
        raise TypeError(f"dim is the number of an axis, got {dim!r}")
    if dim is not None and not (weight.dim() > 1 and -weight.dim() <= dim < weight.dim()):
        raise ValueError(f"dim={dim} leaves nothing to normalise in a weight {tuple(weight.shape)}")
    if _has(module, name, method):
        raise ValueError(f"{name!r} of {type(module).__name__} has {method.__name__} already")
    return weight, None if dim is None else dim % weight.dim()


@torch.no_grad()
def data_dependent_init(model, x):
    """Set g and the bias of every weight-normalised layer from one batch; returns the model.

    Salimans & Kingma 2016, section 3: on this batch, every such layer's outputs get mean 0 and
    variance 1 per unit or channel, layer after layer. v stays as it is.
    x: a batch the model takes. Layers must have a bias; each may be used once.
    Raises ValueError, with the model unchanged, where a layer has fewer than two values per unit,
    a unit whose values are all the same, no bias, or no part in the model's output.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a model, got {type(model).__name__}")
    # A copy is measured, so that the model's buffers stay as they are.
    twin = copy.deepcopy(model)
    layers = {m: n for n, m in twin.named_modules() if _has(m, "weight", WeightNorm)}
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
        if output.dim() < layer.weight.dim():
            raise ValueError(f"layer {name!r} got an input without a batch axis: add it, x[None]")
        turned = isinstance(layer, nn.modules.conv._ConvTransposeNd)
        g = layer.parametrizations.weight.original0
        if g.numel() != output.shape[units] or g.shape[int(turned)] != g.numel():
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

    for layer in layers:
        layer.register_forward_hook(measure)
    twin(x)
    unused = [layers[layer] for layer in layers if layer not in found]
    if unused:
        raise ValueError(f"the model does not use the layers {unused} on this batch")
    for copied, (mean, std) in found.items():
        layer = model.get_submodule(layers[copied])
        g = layer.parametrizations.weight.original0
        g.div_(std.view_as(g))
        layer.bias.copy_((layer.bias - mean) / std)
    return model


class SpectralNorm(nn.Module):
    """The parametrization w / sigma, with sigma the largest singular value of w as a matrix.

    Miyato et al. 2018, arXiv:1802.05957, Algorithm 1. The matrix has a row per index of axis `dim`.
    sigma = u^T w v comes from power iteration: every forward pass in training mode takes
    n_power_iterations steps from where the last one ended. u and v are constants for the gradient.
    Their names in a state_dict are torch's: `_u` and `_v`.
    """

    acts_on = "w"
    over = "OI"
    statistic = "largest singular value"
    learns = "nothing"
    remembers = "singular vectors u, v"

    def __init__(self, weight, n_power_iterations=1, dim=0, eps=1e-12):
        super().__init__()
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim, eps
        w = self.matrix(weight.detach())
        self.register_buffer("_u", F.normalize(torch.randn_like(w[:, 0]), dim=0, eps=eps))
        self.register_buffer("_v", F.normalize(torch.randn_like(w[0]), dim=0, eps=eps))
        self.iterate(w, 15)

    def matrix(self, weight):
        return weight.movedim(self.dim, 0).flatten(1)

    @torch.no_grad()
    def iterate(self, w, steps):
        for _ in range(steps):
            for vector, moved in (
                (self._u, lambda: w @ self._v),
                (self._v, lambda: w.mH @ self._u),
            ):
                moved = moved()
                length = torch.linalg.vector_norm(moved)
                usable = (length > self.eps) & length.isfinite()  # a zero weight leaves it as it is
                vector.copy_(torch.where(usable, moved / length, vector))

    def forward(self, weight):
        w = self.matrix(weight)
        with torch.autocast("cpu" if w.is_meta else w.device.type, enabled=False):
            if self.training:
                self.iterate(w, self.n_power_iterations)
            # Copies, so that a second pass before backward does not change what this one saved.
            sigma = torch.vdot(self._u.clone(), w @ self._v.clone()).real
        return weight / torch.where(sigma == 0, 1, sigma)

    def right_inverse(self, weight):
        return weight  # setting the weight sets what is divided by sigma


def spectral_norm(module, name="weight", n_power_iterations=1, dim=None, eps=1e-12):
    """Divide a weight by its largest singular value, in place; returns the module.

    n_power_iterations: steps of power iteration per forward pass in training mode, 1 in the paper.
    dim: the axis of the outputs, counted from the end where negative; by default 0, and 1 for
    transposed convolutions. Complex weights and torch's older checkpoints are fine.
    A convolution's weight is taken as a matrix (outputs, inputs * height * width), whose norm is
    not that of the convolution (notebook 4.8). Undo with
    torch.nn.utils.parametrize.remove_parametrizations(module, name).
    Raises TypeError or ValueError if n_power_iterations is no positive integer, and ValueError if
    there is no such weight, it has a spectral norm already, or it is zero (a weight that becomes
    zero later stays zero).
    """
    check_size("n_power_iterations", n_power_iterations)
    check_number("eps", eps)
    if dim is None:
        dim = 1 if isinstance(module, nn.modules.conv._ConvTransposeNd) else 0
    weight, dim = _find_weight(module, name, dim, SpectralNorm)
    if not weight.is_meta and not (weight.detach().any() and weight.isfinite().all()):
        raise ValueError(f"{name!r} is zero or not finite: there is no singular value to divide by")
    method = SpectralNorm(weight, n_power_iterations, dim, eps)
    parametrize.register_parametrization(module, name, method)
    return _takes_old_names(module, name, {"_orig": "original", "_u": "0._u", "_v": "0._v"})


class CosineLinear(nn.Linear):
    """Cosine Normalization. Luo et al. 2017, arXiv:1702.05870, Equations 3 and 6.

    y = scale * <w, x> / (||w|| ||x||): a linear layer whose outputs lie in [−scale, scale].
    centred: take the means off x (over its features) and off w first; y / scale is then Pearson's
    correlation. Followed by a softmax it needs a scale, 10 for example: with 1 the loss cannot
    come near 0. No bias. x: (..., in_features). Raises TypeError for integers, and ValueError for a
    vector of length zero, which has no direction (when centred: a constant vector); compiled and
    vectorised code does not look.
    """

    acts_on = "both"
    over = "C of x, I of w"
    statistic = "L2 norm"
    learns = "the weight"
    remembers = "nothing"

    @checked
    def __init__(
        self, in_features, out_features, centred=False, scale=1.0, device=None, dtype=None
    ):
        check_number("scale", scale, -1e300)
        super().__init__(in_features, out_features, False, device, dtype)
        self.centred, self.scale = centred, scale

    def forward(self, x):
        check_floating(x)
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(
                f"CosineLinear was made for {self.in_features} features, got shape {tuple(x.shape)}"
            )
        check_place(x, self.weight, "CosineLinear")
        directions = self.direction(wide(x), "input"), self.direction(wide(self.weight), "weight")
        return (self.scale * F.linear(*directions)).to(x.dtype)

    def direction(self, vectors, what):
        """The vectors at length one, centred first if asked for."""
        length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        smallest = torch.zeros_like(length)
        if self.centred:
            smallest = 4 * torch.finfo(vectors.dtype).eps * length  # what rounding leaves
            vectors = vectors - vectors.mean(-1, keepdim=True)
            length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        seen = not (torch.compiler.is_compiling() or vectors.is_meta or transformed(vectors))
        if seen and (length <= smallest).any():
            zero = (length <= smallest).squeeze(-1).nonzero().tolist()
            kind = "constant" if self.centred else "zero, or too short to tell"
            raise ValueError(f"{what} vectors {zero} are {kind}: they have no direction")
        return vectors / length

    def extra_repr(self):
        return f"{super().extra_repr()}, centred={self.centred}, scale={self.scale}"


METHODS = (WeightNorm, SpectralNorm, CosineLinear)
