"""Normalization layers, one short class per paper, drop-in for their torch.nn counterparts.

Every layer computes y = weight * (x − mean) / sqrt(var + eps) + bias; a class says where its mean
and variance come from. Its class attributes are the row of the course's master table: the tensor
it acts on, the axes it averages over, the statistic, what it learns, what it remembers.
"""

import inspect
import numbers

import torch
from torch import nn
from torch.nn import functional as F

from normlib.axes import check_groups, dims, layout_of, pool, split_groups


class _Normalize(torch.autograd.Function):
    """The formula with the statistics of x itself over `axes`; returns y, mean and var.

    One function for the whole formula is twice as fast as its steps, because it makes fewer
    temporary tensors. The backward pass is the one derived in notebook 2.1,

        grad_x = (h − mean(h) − x_hat * mean(h * x_hat)) / sqrt(var + eps),   h = grad * weight,

    written with c = x − mean in place of x_hat. It can be differentiated again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight, bias, axes, eps):
        mean = x.mean(axes, keepdim=True)
        y = x - mean
        # Squares are summed over positions first: they lie side by side in memory.
        inner = [axis for axis in axes if axis > 1] or list(axes)
        square = torch.linalg.vector_norm(y, dim=inner, keepdim=True).square()
        outer = [axis for axis in axes if axis not in inner]
        var = _sum(square, outer) * (mean.numel() / x.numel())
        scale = (var + eps).rsqrt()
        if weight is not None and weight.numel() * len(x) < x.numel():  # few numbers: together
            scale, weight = scale * weight, None
        y.mul_(scale)
        y = y if weight is None else y.mul_(weight)
        return y if bias is None else y.add_(bias), mean, var

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.axes, ctx.eps = inputs
        ctx.bias_shape = None if bias is None else bias.shape
        ctx.save_for_backward(x, weight, *output[1:])

    @staticmethod
    def backward(ctx, grad, grad_mean, grad_var):
        x, weight, mean, var = ctx.saved_tensors
        count, rstd, c = x.numel() // mean.numel(), (var + ctx.eps).rsqrt(), x - mean
        # First add up where the weight is the same: over positions, for a weight per channel.
        like = [1] * x.dim() if weight is None else [1] * (x.dim() - weight.dim()) + [*weight.shape]
        inner = [axis for axis in ctx.axes if like[axis] == 1]
        outer = [axis for axis in ctx.axes if like[axis] != 1]
        grad_sum, product_sum = _sum(grad, inner), _sum(grad * c, inner)
        weighted = (grad_sum, product_sum) if weight is None else (
            grad_sum * weight, product_sum * weight
        )  # fmt: skip
        level, slope = (_sum(part, outer) / count for part in weighted)
        level = grad_mean / count - rstd * level
        slope = grad_var * (2 / count) - rstd**3 * slope
        scale = rstd if weight is None else rstd * weight
        if torch.is_grad_enabled():  # this very computation is to be differentiated
            grad_x = torch.addcmul(torch.addcmul(level, c, slope), grad, scale)
        else:  # the same in the memory of c
            grad_x = c.mul_(slope).add_(level).addcmul_(grad, scale)
        return (
            grad_x,
            None if weight is None else (product_sum * rstd).sum_to_size(weight.shape),
            None if ctx.bias_shape is None else grad_sum.sum_to_size(ctx.bias_shape),
            None,
            None,
        )


def _sum(x, axes):
    return x.sum(axes, keepdim=True) if axes else x


class _Centre(torch.autograd.Function):
    """x (N, C, P) minus its mean over the positions, with that mean and the biased variance."""

    @staticmethod
    def forward(x):
        mean = x.mean(2, keepdim=True)
        c = x - mean
        return c, mean, torch.linalg.vector_norm(c, dim=2, keepdim=True).square() / x.shape[2]

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output[0])

    @staticmethod
    def backward(ctx, grad, grad_mean, grad_var):
        (c,) = ctx.saved_tensors
        level = (grad_mean - grad.sum(2, keepdim=True)) / c.shape[2]
        # Nobody else holds `grad`, which _Affine has just made: add to it where it is, unless
        # this very computation is to be differentiated.
        grad = grad.clone() if torch.is_grad_enabled() else grad
        return grad.addcmul_(c, grad_var * (2 / c.shape[2])).add_(level)


class _Affine(torch.autograd.Function):
    """c * scale + shift, for c (N, C, P) and a scale and shift per example and channel."""

    @staticmethod
    def forward(c, scale, shift):
        return torch.addcmul(shift, c, scale)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx, grad):
        c, scale = ctx.saved_tensors
        products = grad.flatten(0, 1).unsqueeze(1) @ c.flatten(0, 1).unsqueeze(2)  # sums, no copy
        return grad * scale, products.view_as(scale), grad.sum(2, keepdim=True)


class Norm(nn.Module):
    """What all layers share: the checks, the formula, the affine parameters.

    Inputs: floating point, finite or not (NaN passes through, as in torch). Half-precision inputs
    are normalised in float32. Raises TypeError for integer input and ValueError for a wrong rank,
    wrong channels, or fewer than two values per statistic.
    """

    acts_on = "x"
    over = ""
    statistic = "mean, std"
    learns = "weight, bias per channel"
    remembers = "nothing"
    layouts = ("NC", "NCL", "NCHW")

    def __init__(self, num_features, eps, affine, bias=True):
        super().__init__()
        if not eps >= 0:
            raise ValueError(f"eps is added to a variance and cannot be negative, got {eps}")
        self.num_features, self.eps, self.affine = num_features, eps, affine
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine and bias else None

    def check(self, x):
        """Return the layout of x; raise if this layer cannot take it."""
        name = type(self).__name__
        layout = {len(known): known for known in self.layouts}.get(getattr(x, "ndim", None))
        if layout is None and isinstance(x, torch.Tensor):
            takes = " or ".join(f"({', '.join(known)})" for known in self.layouts)
            raise ValueError(f"{name} takes {takes}, got shape {tuple(x.shape)}")
        layout = layout_of(x, layout)
        self.check_shape(x)
        return layout

    def check_shape(self, x):
        if x.shape[1] != self.num_features:
            last = x.shape[-1] == self.num_features
            raise ValueError(
                f"{type(self).__name__} was made for {self.num_features} channels, but axis 1 of "
                f"the input {tuple(x.shape)} has {x.shape[1]}: "
                + ("move them there, x.movedim(-1, 1)" if last else f"make it with {x.shape[1]}")
            )

    def align(self, parameter, x):
        """Give a (C,) parameter trailing axes of size 1, so that it broadcasts against x."""
        return None if parameter is None else parameter.view(-1, *[1] * (x.dim() - 2))

    def forward(self, x):
        layout = self.check(x)
        wide = x.float() if x.element_size() < 4 else x
        weight, bias = self.align(self.weight, x), self.align(self.bias, x)
        return self.normalize(wide, layout, weight, bias).to(x.dtype)

    def normalize(self, x, layout, weight, bias):
        """The formula, with the statistics of x itself."""
        return self.measure_and_normalize(x, layout, weight, bias)[0]

    def axes(self, layout):
        """Positions of the axes that are averaged away."""
        return dims(self.over, layout)

    def measure_and_normalize(self, x, layout, weight, bias):
        """y, mean and var; refused where there is only one value to average."""
        axes = self.axes(layout)
        self.check_count(x, axes)
        return _Normalize.apply(x, weight, bias, axes, self.eps)

    def check_count(self, x, axes):
        statistics = torch.Size(n for i, n in enumerate(x.shape) if i not in axes).numel()
        if x.numel() < 2 * max(statistics, 1):
            raise ValueError(
                f"{type(self).__name__} expected more than 1 value per statistic, got "
                f"input size {tuple(x.shape)}: one value is its own mean, so every output would be "
                "the bias. Use more examples or positions per statistic"
            )

    def extra_repr(self):
        """The arguments of the constructor, as torch writes them."""
        words = []
        for name, argument in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, None)
            value = value is not None if name == "bias" else value
            words.append(str(value) if argument.default is argument.empty else f"{name}={value}")
        return ", ".join(words)


class RunningNorm(Norm):
    """A norm that can keep running statistics, with torch's buffers and meaning of `momentum`.

    running = (1 − momentum) * running + momentum * new; the variance kept is the unbiased one.
    momentum: weight of the newest batch; None keeps a plain average of all batches.
    """

    counts_batches = True

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__(num_features, eps, affine)
        self.momentum, self.track_running_stats = momentum, track_running_stats
        track = track_running_stats
        self.register_buffer("running_mean", torch.zeros(num_features) if track else None)
        self.register_buffer("running_var", torch.ones(num_features) if track else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0) if track else None)

    def normalize(self, x, layout, weight, bias):
        if not self.training and self.running_mean is not None:
            scale = self.align((self.running_var + self.eps).rsqrt(), x)
            scale = scale if weight is None else scale * weight
            y = (x - self.align(self.running_mean, x)) * scale
            return y if bias is None else y + bias
        y, mean, var = self.measure_and_normalize(x, layout, weight, bias)
        if self.training and self.track_running_stats:
            self.update(mean.detach(), var.detach(), x.numel() // mean.numel())
        return y

    @torch.no_grad()
    def update(self, mean, var, count):
        """Move the running statistics towards those of this batch, averaged over its examples."""
        if self.counts_batches or self.momentum is None:
            self.num_batches_tracked.add_(1)
        rate = self.momentum
        if rate is None:
            rate = 1 / self.num_batches_tracked.to(self.running_mean.dtype)
        for running, new in (
            (self.running_mean, mean),
            (self.running_var, var * (count / (count - 1))),
        ):
            new = new.reshape(-1, self.num_features).mean(0).to(running.dtype)
            running.copy_(running + rate * (new - running))


class BatchNorm(RunningNorm):
    """Batch Normalization. Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithms 1 and 2.

    Statistics per channel over the batch and all positions; x is (N, C), (N, C, L) or
    (N, C, H, W). In eval mode the running statistics take their place.
    """

    over = "NHW"
    remembers = "running mean and variance"


class GhostBatchNorm(BatchNorm):
    """Batch Norm with statistics from groups of examples. Hoffer et al. 2017, arXiv:1705.08741.

    In training every `size` consecutive examples are normalised by themselves, as on devices that
    do not talk to each other; the running statistics are averaged over the groups. In eval mode it
    is Batch Norm. Raises ValueError where `size` does not divide the batch.
    """

    def __init__(self, num_features, size, eps=1e-5, momentum=0.1):
        super().__init__(num_features, eps, momentum)
        self.size = size

    def normalize(self, x, layout, weight, bias):
        if not self.training:
            return super().normalize(x, layout, weight, bias)
        if self.size < 1 or not len(x) or len(x) % self.size:
            raise ValueError(f"groups of {self.size} do not divide a batch of {len(x)} examples")
        parts = x.unflatten(0, (-1, self.size))  # (groups, size, C, ...)
        axes = tuple(axis for axis in range(1, parts.dim()) if axis != 2)
        self.check_count(parts, axes)
        y, mean, var = _Normalize.apply(parts, weight, bias, axes, self.eps)
        self.update(mean.detach(), var.detach(), parts.numel() // mean.numel())
        return y.flatten(0, 1)


class MeanOnlyBatchNorm(Norm):
    """Mean-only Batch Normalization. Salimans & Kingma 2016, arXiv:1602.07868, section 4.

    y = x − mean + bias: Batch Norm without the division and without a weight. Meant for layers
    with Weight Norm, whose g is the scale. The mean is per channel over the batch and all
    positions, with its gradient; in eval mode the running mean takes its place.
    x: (N, C), (N, C, L) or (N, C, H, W). momentum: weight of the newest batch.
    """

    over = "NHW"
    statistic = "mean"
    learns = "bias per channel"
    remembers = "running mean"

    def __init__(self, num_features, momentum=0.1, bias=True):
        super().__init__(num_features, eps=0.0, affine=False)
        self.momentum = momentum
        self.bias = nn.Parameter(torch.zeros(num_features)) if bias else None
        self.register_buffer("running_mean", torch.zeros(num_features))

    def normalize(self, x, layout, weight, bias):
        if self.training:
            self.check_count(x, self.axes(layout))
            mean = x.mean(self.axes(layout), keepdim=True)
            with torch.no_grad():
                self.running_mean.lerp_(mean.flatten().to(self.running_mean.dtype), self.momentum)
        else:
            mean = self.align(self.running_mean, x)
        return x - mean if bias is None else x - mean + bias


class LayerNorm(Norm):
    """Layer Normalization. Ba, Kiros & Hinton 2016, arXiv:1607.06450, Equation 3.

    Statistics per example over the trailing axes `normalized_shape`: (C, H, W) of an image, or C
    of each token in (N, L, C). The weight has that shape too, one number per element.
    """

    over = "CHW"
    learns = "weight, bias per element"
    layouts = ("NC", "NLC", "NCHW")

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        if isinstance(normalized_shape, numbers.Integral):
            normalized_shape = (normalized_shape,)
        shape = tuple(normalized_shape)
        if not 1 <= len(shape) <= 3:
            raise ValueError(f"normalized_shape needs 1 to 3 sizes, got {shape}")
        super().__init__(shape, eps, elementwise_affine, bias)
        self.normalized_shape, self.elementwise_affine = shape, elementwise_affine
        self.over = {1: "C", 2: "CL", 3: "CHW"}[len(shape)]

    def check_shape(self, x):
        if tuple(x.shape[-len(self.normalized_shape) :]) != self.normalized_shape:
            raise ValueError(
                f"LayerNorm was made for inputs that end in {self.normalized_shape}, got shape "
                f"{tuple(x.shape)}"
            )
        if x.dim() == len(self.normalized_shape):
            raise ValueError(f"LayerNorm needs a batch axis before {self.normalized_shape}")

    def axes(self, layout):
        return tuple(range(len(layout)))[-len(self.normalized_shape) :]

    def align(self, parameter, x):
        return parameter  # one number per element: it broadcasts as it is


class InstanceNorm(RunningNorm):
    """Instance Normalization. Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022.

    Statistics per example and channel over the positions; x is (N, C, L) or (N, C, H, W). A tensor
    (N, C) has no positions and is refused; torch's InstanceNorm1d takes it for one sequence without
    a batch axis, and what comes out is Layer Norm. As in torch, there is no weight and no running
    statistic unless asked for.
    """

    over = "HW"
    learns = "nothing, or weight, bias per channel"
    layouts = ("NCL", "NCHW")
    counts_batches = False  # as in torch

    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)


class GroupNorm(Norm):
    """Group Normalization. Wu & He 2018, arXiv:1803.08494, Equation 7.

    Layer Norm inside each of num_groups groups of consecutive channels; x is (N, C), (N, C, L) or
    (N, C, H, W). One group has Layer Norm's statistics, one channel per group Instance Norm's.
    """

    over = "CHW"

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        check_groups(num_groups, num_channels)
        super().__init__(num_channels, eps, affine)
        self.num_groups, self.num_channels = num_groups, num_channels

    def normalize(self, x, layout, weight, bias):
        grouped, layout = split_groups(x, self.num_groups, layout)
        weight, bias = (
            None if p is None else p.unflatten(0, grouped.shape[1:3]) for p in (weight, bias)
        )
        return super().normalize(grouped, layout, weight, bias).reshape(x.shape)


class BatchRenorm(Norm):
    """Batch Renormalization. Ioffe 2017, arXiv:1702.03275, Algorithm 1.

    y = weight * (x_hat * r + d) + bias, with x_hat of Batch Norm, r = std / running_std and
    d = (mean − running_mean) / running_std. Where nothing is clipped, training computes what eval
    mode computes. r and d are constants for the gradient, which is Batch Norm's times r.
    r_max, d_max: r stays in [1 / r_max, r_max], d in [−d_max, d_max]; 1 and 0 are Batch Norm.
    warmup: (start, end) in batches. Up to `start` the limits are 1 and 0, then they grow linearly.
    momentum: weight of the newest batch. std is sqrt(var + eps) with the biased variance, and that
    is what is averaged. Raises ValueError for r_max below 1 or d_max below 0.
    """

    over = "NHW"
    remembers = "running mean and std"

    def __init__(
        self, num_features, r_max=3.0, d_max=5.0, eps=1e-5, momentum=0.01, affine=True, warmup=None
    ):
        start, end = (0, 0) if warmup is None else warmup
        if not 0 <= start <= end:
            raise ValueError(f"warmup is (start, end) with 0 <= start <= end, got {warmup}")
        super().__init__(num_features, eps, affine)
        if not eps > 0:
            raise ValueError(f"BatchRenorm divides by a deviation and needs eps above 0, got {eps}")
        self.momentum, self.warmup = momentum, (start, end)
        self.r_max, self.d_max = r_max, d_max
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_std", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def __setattr__(self, name, value):
        lowest = {"r_max": 1, "d_max": 0}.get(name)
        if lowest is not None and not value >= lowest:
            raise ValueError(f"{name} must be at least {lowest} (no change), got {value}")
        super().__setattr__(name, value)

    def limits(self):
        """r_max and d_max as they are now, after so many batches of warm-up; two scalar tensors."""
        start, end = self.warmup
        done = (self.num_batches_tracked - start + 1) / (end - start + 1)
        done = done.clamp(0, 1).to(self.running_std.dtype)
        return 1 + (self.r_max - 1) * done, self.d_max * done

    def correction(self, mean, std):
        """r and d for a batch's mean and std, (C,) each."""
        r_max, d_max = self.limits()
        r = (std / self.running_std).clamp(1 / r_max, r_max)
        return r, ((mean - self.running_mean) / self.running_std).clamp(-d_max, d_max)

    def normalize(self, x, layout, weight, bias):
        if not self.training:
            y = (x - self.align(self.running_mean, x)) / self.align(self.running_std, x)
            return y if weight is None else y * weight + bias
        axes = self.axes(layout)
        self.check_count(x, axes)
        with torch.no_grad():
            mean = x.mean(axes)
            std = ((x - self.align(mean, x)).square_().mean(axes) + self.eps).sqrt()
            r, d = self.correction(mean, std)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_std.lerp_(std.to(self.running_std.dtype), self.momentum)
            self.num_batches_tracked.add_(1)
        if weight is not None:  # (x_hat * r + d) * weight + bias, in one go
            r, d = r * self.weight, d * self.weight + self.bias
        r, d = r.to(x.dtype), d.to(x.dtype)
        return F.batch_norm(x, None, None, r, d, training=True, eps=self.eps)


class PooledNorm(RunningNorm):
    """What mixtures share: the (N, C) table of moments, measured once, and pooled.

    A subclass says in `mix` which scale and shift the table gives: y = (x − mean) * scale + shift,
    where mean is that of the example and channel. Tables are (N, C, 1).
    """

    def normalize(self, x, layout, weight, bias):
        c, mean, var = _Centre.apply(x.reshape(*x.shape[:2], -1))
        if self.training or self.running_mean is None:
            batch = pool(mean, var, "N", layout="NCL")
        else:
            batch = (b.view(1, -1, 1) for b in (self.running_mean, self.running_var))
        batch_mean, batch_var = batch
        scale, shift = self.mix(mean, var, batch_mean, batch_var)
        if weight is not None:
            weight, bias = self.weight.view(-1, 1), self.bias.view(-1, 1)
            scale, shift = scale * weight, shift * weight + bias
        y = _Affine.apply(c, scale, shift.expand_as(scale)).view_as(x)
        if self.training and self.track_running_stats:
            self.update(batch_mean.detach(), batch_var.detach(), x.numel() // x.shape[1])
        return y


class BatchInstanceNorm(PooledNorm):
    """Batch-Instance Normalization. Nam & Kim 2018, arXiv:1805.07925, Equation 4.

    y = weight * (rho * batch_norm + (1 − rho) * instance_norm) + bias, with one learned rho per
    channel: 1 is Batch Norm, 0 Instance Norm. rho stays in [0, 1]: what an optimizer's step has
    moved out is put back before it is used or saved. The paper learns rho with ten times the
    learning rate and without weight decay. Running statistics serve the batch part in eval mode.
    x: (N, C, L) or (N, C, H, W). Raises ValueError when a rho outside [0, 1] is loaded.
    """

    over = "NHW"
    learns = "weight, bias, rho per channel"
    remembers = "running mean and variance"
    layouts = ("NCL", "NCHW")

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True):
        super().__init__(num_features, eps, momentum, affine, track_running_stats=True)
        self.rho = nn.Parameter(torch.ones(num_features))

    def normalize(self, x, layout, weight, bias):
        self.check_count(x, dims("HW", layout))
        if self.training:
            self.rho.data.clamp_(0, 1)
        return super().normalize(x, layout, weight, bias)

    def mix(self, mean, var, batch_mean, batch_var):
        rho = self.rho.clamp(0, 1).view(-1, 1)
        from_batch = rho * (batch_var + self.eps).rsqrt()
        return from_batch + (1 - rho) * (var + self.eps).rsqrt(), (mean - batch_mean) * from_batch

    def _save_to_state_dict(self, *args):
        self.rho.data.clamp_(0, 1)
        super()._save_to_state_dict(*args)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        rho = state_dict.get(prefix + "rho", self.rho)
        if not ((rho >= 0) & (rho <= 1)).all():
            raise ValueError(
                f"{prefix}rho must lie in [0, 1], but reaches from {rho.min():.3g} to "
                f"{rho.max():.3g}: clamp it with rho.clamp(0, 1), or load another file"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


class SwitchableNorm(PooledNorm):
    """Switchable Normalization. Luo et al. 2018, arXiv:1806.10779, Equations 3 to 5.

    mean and var are mixtures of Instance, Layer and Batch Norm's, with weights
    softmax(mean_weight) and softmax(var_weight): six learned numbers in a layer.
    x: (N, C, L) or (N, C, H, W); (N, C) has no positions and needs pools=("LN", "BN").
    pools: the methods mixed. With a batch of one image BN's statistics are those of IN; for
    training so, the paper leaves BN out. Running statistics serve the batch part in eval mode.
    """

    over = "HW, CHW, NHW"
    learns = "weight, bias per channel, weights of the mixture"
    remembers = "running mean and variance"

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, pools=("IN", "LN", "BN")):
        if not pools or set(pools) - {"IN", "LN", "BN"} or len(set(pools)) < len(pools):
            raise ValueError(f"pools are some of 'IN', 'LN' and 'BN', each once, got {pools}")
        super().__init__(num_features, eps, momentum, affine, "BN" in pools)
        self.pools = tuple(pools)
        self.mean_weight = nn.Parameter(torch.ones(len(pools)))
        self.var_weight = nn.Parameter(torch.ones(len(pools)))

    def normalize(self, x, layout, weight, bias):
        positions = x.shape[2:].numel()
        if positions < 2 and "IN" in self.pools:
            raise ValueError(
                f"SwitchableNorm got {tuple(x.shape)}, where Instance Norm would have one value "
                "per statistic: make the layer with pools=('LN', 'BN')"
            )
        if "LN" in self.pools:
            self.check_count(x, tuple(range(1, x.dim())))
        if "BN" in self.pools and self.training:
            self.check_count(x, dims("NHW" if positions > 1 else "N", layout))
        return super().normalize(x, layout, weight, bias)

    def mix(self, mean, var, batch_mean, batch_var):
        tables = {
            "IN": (mean, var),
            "LN": pool(mean, var, "C", layout="NCL"),
            "BN": (batch_mean, batch_var),
        }
        shares = zip(self.mean_weight.softmax(0), self.var_weight.softmax(0), strict=True)
        mixed_mean = mixed_var = 0
        for name, (mean_share, var_share) in zip(self.pools, shares, strict=True):
            mixed_mean = mixed_mean + mean_share * tables[name][0]
            mixed_var = mixed_var + var_share * tables[name][1]
        scale = (mixed_var + self.eps).rsqrt().expand_as(mean)
        return scale, (mean - mixed_mean) * scale


class _StreamGradient(torch.autograd.Function):
    """Passes a statistic on; mixes its gradient with the averages of earlier ones on the way back.

    history: the long- and the short-term average of gradients, (2, C); count: how many are in the
    short one. Both are brought up to date in the backward pass.
    """

    @staticmethod
    def forward(statistic, history, count, weights):
        return statistic.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.history, ctx.count, ctx.weights = inputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        long, short = ctx.history
        for_long, for_short, for_now = ctx.weights
        ctx.count.add_(1)
        short.add_((grad.to(short.dtype) - short) / ctx.count)
        return (for_long * long + for_short * short + for_now * grad).to(grad.dtype), *[None] * 3


class StreamingNorm(Norm):
    """Streaming Normalization. Liao, Kawaguchi & Poggio 2016, arXiv:1610.06160, section 4.

    y = weight * (x − mean) / (E|x − mean|^p + eps)^(1/p) + bias. Both statistics, per channel, mix
    a long-term average with the exact mean of all batches since the last change of the weights.
    Call after_step() after every step of the optimizer: it moves the short-term averages into
    the long-term ones. Their gradients are mixed in the same way. In eval mode nothing is updated.
    stat_weights: for (long, short); grad_weights: for (long, short, this batch); keep: the share
    of the long-term average that an update keeps; p: the paper recommends 1.
    Works with one example at a time, once it has seen a few. Let it see some before training.
    """

    over = "NHW"
    statistic = "mean, Lp deviation"
    remembers = "long and short averages, and their gradients"

    def __init__(
        self, num_features, p=1, stat_weights=(0.7, 0.3), grad_weights=(0.7, 0.0, 0.3), keep=0.7,
        eps=1e-5, affine=True,
    ):  # fmt: skip
        super().__init__(num_features, eps, affine)
        if not p >= 1:
            raise ValueError(f"p must be at least 1, got {p}")
        if not 0 <= keep < 1:
            raise ValueError(f"keep is a share from 0 to below 1, got {keep}")
        if len(stat_weights) != 2 or len(grad_weights) != 3:
            raise ValueError("stat_weights are two numbers (long, short), grad_weights three")
        self.p, self.keep = p, keep
        self.stat_weights, self.grad_weights = tuple(stat_weights), tuple(grad_weights)
        for name in ("mean", "power"):  # each with rows (long, short)
            self.register_buffer(f"{name}_average", torch.zeros(2, num_features))
            self.register_buffer(f"{name}_gradient", torch.zeros(2, num_features))
            self.register_buffer(f"{name}_gradient_count", torch.tensor(0))
        self.power_average[0] = 1  # until something has been seen
        self.register_buffer("batches", torch.tensor(0))  # since the last update
        self.register_buffer("updates", torch.tensor(0))

    def check_shape(self, x):
        super().check_shape(x)
        if self.training and not x.numel():
            raise ValueError(f"StreamingNorm got an empty batch {tuple(x.shape)}")

    def normalize(self, x, layout, weight, bias):
        axes = self.axes(layout)
        mean = self.stream("mean", x.mean(axes) if self.training else None, x)
        c = x - self.align(mean, x)
        power = self.stream("power", c.abs().pow(self.p).mean(axes) if self.training else None, x)
        if self.training:
            self.batches.add_(1)
        y = c * self.align((power + self.eps).pow(-1 / self.p), x)
        return y if weight is None else y * weight + bias

    def stream(self, name, now, x):
        """The mixture of a statistic's averages; `now` is this batch's, and gets the gradient."""
        average = getattr(self, f"{name}_average")
        with torch.no_grad():
            if now is not None:
                average[1] += (now.detach().to(average.dtype) - average[1]) / (self.batches + 1)
            for_long, for_short = self.stat_weights
            mixed = for_long * average[0] + for_short * average[1]
            mixed = torch.where(self.updates > 0, mixed, average[1])
            if now is None:  # in eval mode just after an update, the short average is empty
                mixed = torch.where(self.batches > 0, mixed, average[0])
            mixed = mixed.to(x.dtype)
        if now is None:
            return mixed
        history = getattr(self, f"{name}_gradient"), getattr(self, f"{name}_gradient_count")
        return _StreamGradient.apply(now + (mixed - now).detach(), *history, self.grad_weights)

    @torch.no_grad()
    def after_step(self):
        """To be called when the weights have changed: long = keep * long + (1 − keep) * short."""
        if self.batches == 0:
            raise ValueError("after_step() follows a batch in training mode: there was none yet")
        keep = self.keep if self.updates > 0 else 0.0
        for name in ("mean", "power"):
            for history in (getattr(self, f"{name}_average"), getattr(self, f"{name}_gradient")):
                history[0] = keep * history[0] + (1 - keep) * history[1]
                history[1] = 0
            getattr(self, f"{name}_gradient_count").zero_()
        self.batches.zero_()
        self.updates.add_(1)


METHODS = (
    BatchNorm, MeanOnlyBatchNorm, LayerNorm, InstanceNorm, GroupNorm,
    BatchRenorm, BatchInstanceNorm, SwitchableNorm, StreamingNorm,
)  # fmt: skip
