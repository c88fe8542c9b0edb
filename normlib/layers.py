"""Normalization layers, one short class per paper, drop-in for their torch.nn counterparts.

Every layer computes y = weight * (x − mean) / sqrt(var + eps) + bias; a class says where its mean
and variance come from. Its class attributes are the row of the course's master table: the tensor
it acts on, the axes it averages over, the statistic, what it learns, what it remembers.
"""

import torch
from torch import nn

from normlib.axes import check_groups, dims, layout_of, split_groups


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
        var = y.mul_(y).mean(axes, keepdim=True)
        y.copy_(x).sub_(mean).mul_((var + eps).rsqrt())  # again, in memory that is there already
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
        return (
            torch.addcmul(torch.addcmul(level, c, slope), grad, scale),
            None if weight is None else (product_sum * rstd).sum_to_size(weight.shape),
            None if ctx.bias_shape is None else grad_sum.sum_to_size(ctx.bias_shape),
            None,
            None,
        )


def _sum(x, axes):
    return x.sum(axes, keepdim=True) if axes else x


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

    def __init__(self, shape, eps, affine, bias=True):
        super().__init__()
        if not eps >= 0:
            raise ValueError(f"eps is added to a variance and cannot be negative, got {eps}")
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(shape)) if affine else None
        self.bias = nn.Parameter(torch.zeros(shape)) if affine and bias else None

    def check(self, x):
        """Return the layout of x; raise if this layer cannot take it."""
        name = type(self).__name__
        layout = {len(known): known for known in self.layouts}.get(getattr(x, "ndim", None))
        if layout is None and isinstance(x, torch.Tensor):
            takes = " or ".join(f"({', '.join(known)})" for known in self.layouts)
            raise ValueError(f"{name} takes {takes}, got shape {tuple(x.shape)}")
        return layout_of(x, layout)

    def check_channels(self, x, channels):
        if x.shape[1] != channels:
            raise ValueError(
                f"{type(self).__name__} was made for {channels} channels, but axis 1 of the input "
                f"{tuple(x.shape)} has {x.shape[1]}: make the layer with {x.shape[1]}"
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
        if x.numel() < 2 * torch.Size(n for i, n in enumerate(x.shape) if i not in axes).numel():
            raise ValueError(
                f"{type(self).__name__} expected more than 1 value per statistic in training, got "
                f"input size {tuple(x.shape)}: one value is its own mean, so every output would be "
                "the bias. Use more examples or positions per statistic"
            )


class RunningNorm(Norm):
    """A norm that can keep running statistics, with torch's buffers and meaning of `momentum`.

    running = (1 − momentum) * running + momentum * new; the variance kept is the unbiased one.
    """

    def __init__(self, num_features, eps, momentum, affine, track_running_stats):
        super().__init__(num_features, eps, affine)
        self.num_features = num_features
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        track = track_running_stats
        self.register_buffer("running_mean", torch.zeros(num_features) if track else None)
        self.register_buffer("running_var", torch.ones(num_features) if track else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0) if track else None)

    def check(self, x):
        layout = super().check(x)
        self.check_channels(x, self.num_features)
        return layout

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
        rate = self.update_rate()
        for running, new in (
            (self.running_mean, mean),
            (self.running_var, var * (count / (count - 1))),
        ):
            new = new.reshape(-1, self.num_features).mean(0).to(running.dtype)
            running.copy_(running + rate * (new - running))

    def update_rate(self):
        return self.momentum

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.weight is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm(RunningNorm):
    """Batch Normalization. Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithms 1 and 2.

    Statistics per channel over the batch and all positions; x is (N, C), (N, C, L) or
    (N, C, H, W). In eval mode the running statistics take their place.
    momentum: weight of the newest batch; None keeps a plain average of all batches.
    """

    over = "NHW"
    remembers = "running mean and variance"

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def update_rate(self):
        self.num_batches_tracked.add_(1)
        if self.momentum is None:
            return 1 / self.num_batches_tracked.to(self.running_mean.dtype)
        return self.momentum


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
        if self.size < 1 or len(x) % self.size:
            raise ValueError(f"groups of {self.size} do not divide a batch of {len(x)} examples")
        parts = x.unflatten(0, (-1, self.size))  # (groups, size, C, ...)
        axes = tuple(axis for axis in range(1, parts.dim()) if axis != 2)
        self.check_count(parts, axes)
        y, mean, var = _Normalize.apply(parts, weight, bias, axes, self.eps)
        self.update(mean.detach(), var.detach(), parts.numel() // mean.numel())
        return y.flatten(0, 1)

    def extra_repr(self):
        return f"{super().extra_repr()}, size={self.size}"


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
        self.num_features, self.momentum = num_features, momentum
        self.bias = nn.Parameter(torch.zeros(num_features)) if bias else None
        self.register_buffer("running_mean", torch.zeros(num_features))

    def check(self, x):
        layout = super().check(x)
        self.check_channels(x, self.num_features)
        return layout

    def normalize(self, x, layout, weight, bias):
        if self.training:
            self.check_count(x, self.axes(layout))
            mean = x.mean(self.axes(layout), keepdim=True)
            with torch.no_grad():
                self.running_mean.lerp_(mean.flatten().to(self.running_mean.dtype), self.momentum)
        else:
            mean = self.align(self.running_mean, x)
        return x - mean if bias is None else x - mean + bias

    def extra_repr(self):
        return f"{self.num_features}, momentum={self.momentum}, bias={self.bias is not None}"


class LayerNorm(Norm):
    """Layer Normalization. Ba, Kiros & Hinton 2016, arXiv:1607.06450, Equation 3.

    Statistics per example over the trailing axes `normalized_shape`: (C, H, W) of an image, or C
    of each token in (N, L, C). The weight has that shape too, one number per element.
    """

    over = "CHW"
    learns = "weight, bias per element"
    layouts = ("NC", "NLC", "NCHW")

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        shape = tuple(normalized_shape)
        if not 1 <= len(shape) <= 3:
            raise ValueError(f"normalized_shape needs 1 to 3 sizes, got {shape}")
        super().__init__(shape, eps, elementwise_affine, bias)
        self.normalized_shape = shape
        self.over = {1: "C", 2: "CL", 3: "CHW"}[len(shape)]

    def check(self, x):
        layout = super().check(x)
        if tuple(x.shape[-len(self.normalized_shape) :]) != self.normalized_shape:
            raise ValueError(
                f"LayerNorm was made for inputs that end in {self.normalized_shape}, got shape "
                f"{tuple(x.shape)}"
            )
        if x.dim() == len(self.normalized_shape):
            raise ValueError(f"LayerNorm needs a batch axis before {self.normalized_shape}")
        return layout

    def axes(self, layout):
        return tuple(range(len(layout)))[-len(self.normalized_shape) :]

    def align(self, parameter, x):
        return parameter  # one number per element: it broadcasts as it is

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}, affine={self.weight is not None}"


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
        self.num_groups = num_groups
        self.num_channels = num_channels

    def check(self, x):
        layout = super().check(x)
        self.check_channels(x, self.num_channels)
        return layout

    def normalize(self, x, layout, weight, bias):
        grouped, layout = split_groups(x, self.num_groups, layout)
        weight, bias = (
            None if p is None else p.unflatten(0, grouped.shape[1:3]) for p in (weight, bias)
        )
        return super().normalize(grouped, layout, weight, bias).reshape(x.shape)

    def extra_repr(self):
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
            f"affine={self.weight is not None}"
        )


METHODS = (BatchNorm, MeanOnlyBatchNorm, LayerNorm, InstanceNorm, GroupNorm)
