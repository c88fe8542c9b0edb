"""Normalization layers, one short class per paper, drop-in for their torch.nn counterparts.

Every layer computes y = weight * (x − mean) / sqrt(var + eps) + bias; a class says where its mean
and variance come from. Its class attributes are the row of the course's master table: the tensor
it acts on, the axes it averages over, the statistic, what it learns, what it remembers.
"""

import torch
from torch import nn

from normlib.axes import check_groups, layout_of, moments, split_groups


class _ScaleShift(torch.autograd.Function):
    """(x − mean) * scale + bias, keeping only x for the backward pass (half of torch's memory)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, mean, scale, bias):
        y = (x - mean).mul_(scale)
        return y if bias is None else y.add_(bias)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.bias_shape = None if inputs[3] is None else inputs[3].shape

    @staticmethod
    def backward(ctx, grad):
        x, mean, scale = ctx.saved_tensors
        grad_x = grad * scale
        return (
            grad_x,
            -grad_x.sum_to_size(mean.shape),
            (grad * (x - mean)).sum_to_size(scale.shape),
            None if ctx.bias_shape is None else grad.sum_to_size(ctx.bias_shape),
        )


class Norm(nn.Module):
    """What all layers share: the checks, the formula, the affine parameters.

    Subclasses define `statistics(x, layout)`, which returns mean and variance in shapes that
    broadcast against x. Inputs: floating point, finite or not (NaN passes through, as in torch).
    Half-precision inputs are normalised in float32. Raises TypeError for integer input and
    ValueError for a wrong rank, wrong channels, or fewer than two values per statistic.
    """

    acts_on = "x"
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

    def moments(self, x, over, layout):
        """Mean and biased variance, refused where there is only one value to average."""
        mean, var = moments(x, over, layout=layout)
        if x.numel() < 2 * mean.numel():
            raise ValueError(
                f"{type(self).__name__} expected more than 1 value per statistic in training, got "
                f"input size {tuple(x.shape)}: one value has variance 0, so every output would be "
                "the bias. Use more examples or positions per statistic"
            )
        return mean, var

    def per_channel(self, parameter, x):
        """Give a (C,) parameter trailing axes of size 1, so that it broadcasts against x."""
        return parameter.view(-1, *[1] * (x.dim() - 2))

    def forward(self, x):
        layout = self.check(x)
        wide = x.float() if x.element_size() < 4 else x
        mean, var = self.statistics(wide, layout)
        scale = (var + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.per_channel(self.weight, x)
        bias = None if self.bias is None else self.per_channel(self.bias, x)
        return _ScaleShift.apply(wide, mean, scale, bias).to(x.dtype)


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

    def statistics(self, x, layout):
        self.check_channels(x, self.num_features)
        if not self.training and self.running_mean is not None:
            return self.per_channel(self.running_mean, x), self.per_channel(self.running_var, x)
        mean, var = self.moments(x, self.over, layout)
        if self.training and self.track_running_stats:
            self.update(mean.detach(), var.detach(), x.numel() // mean.numel())
        return mean, var

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

    def statistics(self, x, layout):
        trailing = layout[-len(self.normalized_shape) :]
        return self.moments(x, trailing, layout)

    def per_channel(self, parameter, x):
        return parameter  # one number per element: it broadcasts as it is

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}, affine={self.weight is not None}"


class InstanceNorm(RunningNorm):
    """Instance Normalization. Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022.

    Statistics per example and channel over the positions; x is (N, C, L) or (N, C, H, W).
    As in torch, there is no weight and no running statistic unless asked for.
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

    def statistics(self, x, layout):
        self.check_channels(x, self.num_channels)
        grouped, grouped_layout = split_groups(x, self.num_groups, layout)
        ones = [1] * (x.dim() - 2)
        size = self.num_channels // self.num_groups
        return tuple(
            s.expand(-1, -1, size, *ones).reshape(len(x), self.num_channels, *ones)
            for s in self.moments(grouped, self.over, grouped_layout)
        )

    def extra_repr(self):
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
            f"affine={self.weight is not None}"
        )


METHODS = (BatchNorm, LayerNorm, InstanceNorm, GroupNorm)
