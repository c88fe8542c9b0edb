"""Normalization layers, one short class per paper.

Batch, Layer, RMS, Instance and Group Norm are torch's own modules with a row of the master table,
the formula as one line of code, and checks that say what is wrong. What torch lacks stands below
them, as its paper's equation. Class attributes are the row of the course's master table: the
tensor a method acts on, the axes it averages over, the statistic, what it learns and remembers.
"""

import functools
import math
import warnings

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from normlib.axes import check_count, check_number, dims, pool, transformed, wide
from normlib.norm import LAYOUTS, Norm, NormOverLastAxes, RunningNorm, align, checked, scaled


class BatchNorm(Norm, _BatchNorm):
    """Batch Normalization. Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithms 1 and 2.

    Statistics per channel over the batch and all positions; x is (N, C), (N, C, L), (N, C, H, W)
    or (N, C, D, H, W). In eval mode the running statistics take their place.

    >>> x, layer = torch.randn(8, 6, 4, 4), BatchNorm(6)
    >>> mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    >>> torch.allclose(layer(x), (x - mean) / (var + layer.eps).sqrt(), atol=1e-5)
    True
    """

    over = "NHW"
    remembers = "running mean and variance"
    __init__ = checked(_BatchNorm.__init__)


class LayerNorm(NormOverLastAxes, nn.LayerNorm):
    """Layer Normalization. Ba, Kiros & Hinton 2016, arXiv:1607.06450, Equation 3.

    Statistics per example over the trailing axes `normalized_shape`: (C, H, W) of an image, or C
    of each token in (N, L, C). The weight has that shape too, one number per element.

    >>> x, layer = torch.randn(8, 6, 4, 4), LayerNorm((6, 4, 4))
    >>> mean, var = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), correction=0, keepdim=True)
    >>> torch.allclose(layer(x), (x - mean) / (var + layer.eps).sqrt(), atol=1e-5)
    True
    """

    learns = "weight, bias per element"
    __init__ = checked(nn.LayerNorm.__init__)

    def forward(self, x):
        self.check(x)
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def statistics(self, x):
        return x.numel() // math.prod(self.normalized_shape)


class RMSNorm(NormOverLastAxes, nn.RMSNorm):
    """Root Mean Square Layer Norm. Zhang & Sennrich 2019, arXiv:1910.07467, Equation 4.

    Layer Norm without the mean: x is divided by the root of its mean square over the trailing axes
    `normalized_shape`. As in torch, eps=None stands for the smallest step of the dtype above 1.

    >>> x, layer = torch.randn(8, 6, 4, 4), RMSNorm((6, 4, 4), eps=1e-5)
    >>> square = x.square().mean((1, 2, 3), keepdim=True)
    >>> torch.allclose(layer(x), x / (square + layer.eps).sqrt(), atol=1e-5)
    True
    """

    statistic = "root mean square"
    learns = "weight per element"
    mixes_dtypes = True
    __init__ = checked(nn.RMSNorm.__init__)

    def forward(self, x):
        self.check(x)
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def statistics(self, x):
        return 0  # a single value has a root mean square


class InstanceNorm(Norm, _InstanceNorm):
    """Instance Normalization. Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022.

    Statistics per example and channel over the positions; x is (N, C, L), (N, C, H, W) or
    (N, C, D, H, W), with its batch axis: x[None] adds it. A tensor (N, C) has no positions and is
    refused; torch's InstanceNorm1d takes it for one sequence, and what comes out is Layer Norm.
    As in torch, there is no weight and no running statistic unless asked for.

    >>> x, layer = torch.randn(8, 6, 4, 4), InstanceNorm(6)
    >>> mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
    >>> torch.allclose(layer(x), (x - mean) / (var + layer.eps).sqrt(), atol=1e-5)
    True
    """

    over = "HW"
    learns = "nothing, or weight, bias per channel"
    ranks = (3, 4, 5)
    __init__ = checked(_InstanceNorm.__init__)

    def forward(self, x):
        self.check(x)
        measure, momentum = self.training or not self.track_running_stats, self.momentum
        running = self.running_mean, self.running_var
        affine = self.weight, self.bias
        return F.instance_norm(x, *running, *affine, measure, momentum or 0.0, self.eps)

    def check_shape(self, x, name):
        super().check_shape(x, name)
        if x.dim() == 3 and x.shape[0] == x.shape[1] and not torch.compiler.is_compiling():
            warnings.warn(
                f"{name} reads {tuple(x.shape)} as sequences (N, C, L). If it is one image "
                "(C, H, W) without its batch axis, add the axis: x[None]",
                stacklevel=4,
            )
        if self.momentum is None and self.track_running_stats:
            raise ValueError(f"{name} keeps no plain average of all batches: set its momentum")

    def statistics(self, x):
        return x.shape[0] * x.shape[1] if self.training or not self.track_running_stats else 0


class GroupNorm(Norm, nn.GroupNorm):
    """Group Normalization. Wu & He 2018, arXiv:1803.08494, Equation 7.

    Layer Norm inside each of num_groups groups of consecutive channels; x is (N, C) and any
    positions. One group has Layer Norm's statistics, one channel per group Instance Norm's.

    >>> x, layer = torch.randn(8, 6, 4, 4), GroupNorm(2, 6)
    >>> g = x.unflatten(1, (2, 3))
    >>> mean, var = g.mean((2, 3, 4), keepdim=True), g.var((2, 3, 4), correction=0, keepdim=True)
    >>> torch.allclose(layer(x), ((g - mean) / (var + layer.eps).sqrt()).flatten(1, 2), atol=1e-5)
    True
    """

    over = "CHW"
    ranks = tuple(range(2, 26))
    __init__ = checked(nn.GroupNorm.__init__)

    @property
    def num_features(self):
        return self.num_channels

    def forward(self, x):
        self.check(x)
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def statistics(self, x):
        return x.shape[0] * self.num_groups


class GhostBatchNorm(BatchNorm):
    """Batch Norm with statistics from groups of examples. Hoffer et al. 2017, arXiv:1705.08741.

    In training every `size` consecutive examples are normalised by themselves, as on devices that
    do not talk to each other; the running statistics are averaged over the groups. In eval mode it
    is Batch Norm. Raises ValueError where `size` does not divide the batch.
    """

    @checked
    def __init__(
        self, num_features, size, eps=1e-5, momentum=0.1, affine=True, device=None, dtype=None
    ):
        super().__init__(num_features, eps, momentum, affine, device=device, dtype=dtype)
        self.size = int(size)

    def forward(self, x):
        self.check(x)
        if not self.training or x.shape[0] == 0:
            return super().forward(x)
        share = self.count_batch() if self.track_running_stats else 0.0
        running, affine = (self.running_mean, self.running_var), (self.weight, self.bias)
        parts, moved = [], []
        for part in x.split(self.size):
            moved.append([None if kept is None else kept.clone() for kept in running])
            parts.append(F.batch_norm(part, *moved[-1], *affine, True, share, self.eps))
        if self.track_running_stats:
            for kept, of_parts in zip(running, zip(*moved, strict=True), strict=True):
                kept.copy_(torch.stack(of_parts).mean(0))
        return torch.cat(parts)

    def statistics(self, x):
        if not self.training:
            return super().statistics(x)
        if x.shape[0] % self.size:
            raise ValueError(f"groups of {self.size} do not divide a batch of {len(x)} examples")
        return self.num_features * (x.shape[0] // self.size)


class MeanOnlyBatchNorm(RunningNorm):
    """Mean-only Batch Normalization. Salimans & Kingma 2016, arXiv:1602.07868, section 4.

    y = x − mean + bias: Batch Norm without the division and without a weight. Meant for layers
    with Weight Norm, whose g is the scale. The mean is per channel over the batch and all
    positions, with its gradient; in eval mode the running mean takes its place.
    x as for BatchNorm. momentum: weight of the newest batch.
    """

    over = "NHW"
    statistic = "mean"
    learns = "bias per channel"
    remembers = "running mean"

    @checked
    def __init__(self, num_features, momentum=0.1, bias=True, device=None, dtype=None):
        super().__init__(num_features, 0.0, momentum, False, True, device, dtype)
        self.running_var = None
        if bias:
            self.bias = nn.Parameter(torch.zeros_like(self.running_mean))

    def forward(self, x):
        self.check(x)
        y, mean = wide(x), self.running_mean
        if self.measures(x):
            mean = y.mean(dims(self.over, LAYOUTS[x.dim()]))
            self.move(running_mean=mean)
        shift = -mean if self.bias is None else self.bias - mean
        return (y + align(shift, y)).to(x.dtype)


class BatchRenorm(RunningNorm):
    """Batch Renormalization. Ioffe 2017, arXiv:1702.03275, Algorithm 1.

    y = weight * (x_hat * r + d) + bias, with x_hat of Batch Norm, r = std / running_std and
    d = (mean − running_mean) / running_std. Where nothing is clipped, training computes what eval
    mode computes. r and d are constants for the gradient, which is Batch Norm's times r.
    r_max, d_max: r stays in [1 / r_max, r_max], d in [−d_max, d_max]; 1 and 0 are Batch Norm.
    warmup: (start, end) in batches. Up to `start` the limits are 1 and 0, then they grow linearly.
    momentum: weight of the newest batch. std is sqrt(var + eps) with the biased variance, and that
    is what is averaged. Where a checkpoint runs a batch again, r and d see averages that have moved
    since. Raises ValueError for r_max below 1 or d_max below 0.
    """

    over = "NHW"
    remembers = "running mean and std"

    @checked
    def __init__(
        self, num_features, r_max=3.0, d_max=5.0, eps=1e-5, momentum=0.01, affine=True, warmup=None,
        device=None, dtype=None,
    ):  # fmt: skip
        warmup = (0, 0) if warmup is None else warmup
        pair = isinstance(warmup, (tuple, list)) and all(isinstance(n, int) for n in warmup)
        if not (pair and len(warmup) == 2 and 0 <= warmup[0] <= warmup[1]):
            raise ValueError(f"warmup is (start, end) with 0 <= start <= end, got {warmup}")
        if not eps > 0:
            raise ValueError(f"BatchRenorm divides by a deviation and needs eps above 0, got {eps}")
        super().__init__(num_features, eps, momentum, affine, True, device, dtype)
        self.r_max, self.d_max, self.warmup = r_max, d_max, tuple(warmup)
        self.running_var = None
        self.register_buffer("running_std", torch.ones_like(self.running_mean))

    def __setattr__(self, name, value):
        if name in ("r_max", "d_max"):
            check_number(name, value, 1 if name == "r_max" else 0)
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

    def forward(self, x):
        self.check(x)
        y = wide(x)
        if not self.measures(x):
            return self.eval_pass(y, self.running_mean, self.running_std.square()).to(x.dtype)
        with torch.no_grad():
            axes = dims(self.over, LAYOUTS[x.dim()])
            mean = y.detach().mean(axes)  # detached, for forward mode does not mind no_grad
            std = ((y.detach() - align(mean, y)).square_().mean(axes) + self.eps).sqrt()
            r, d = self.correction(mean, std)
            self.move(running_mean=mean, running_std=std)
        if self.weight is not None:  # (x_hat * r + d) * weight + bias, in one go
            weight, bias = self.weight.to(y.dtype), self.bias.to(y.dtype)
            r, d = r * weight, torch.addcmul(bias, d, weight)
        return F.batch_norm(y, None, None, r, d, True, eps=self.eps).to(x.dtype)


class BatchInstanceNorm(RunningNorm):
    """Batch-Instance Normalization. Nam & Kim 2018, arXiv:1805.07925, Equation 4.

    y = weight * (rho * batch_norm + (1 − rho) * instance_norm) + bias, with one learned rho per
    channel: 1 is Batch Norm, 0 Instance Norm. rho stays in [0, 1]: what an optimizer's step has
    moved out is put back before it is used or saved. The paper learns rho with ten times the
    learning rate and without weight decay. Running statistics serve the batch part in eval mode.
    x as for InstanceNorm. A rho outside [0, 1] is not loaded.
    """

    over = "NHW"
    learns = "weight, bias, rho per channel"
    ranks = (3, 4, 5)

    @checked
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, device=None, dtype=None):
        super().__init__(num_features, eps, momentum, affine, True, device, dtype)
        self.rho = nn.Parameter(torch.ones_like(self.running_mean))

    def forward(self, x):
        self.check(x)
        share = self.count_batch() if self.measures(x) else 0.0
        if self.training and isinstance(self.rho, nn.Parameter) and not transformed(x):
            self.put_rho_back()
        # A copy, so that another forward pass may put rho back before this one's backward pass.
        rho = self.rho.clone().clamp(0, 1)
        of_batch, of_instance = rho, 1 - rho
        if self.weight is not None:
            of_batch, of_instance = of_batch * self.weight, of_instance * self.weight
        running = self.running_mean, self.running_var
        y = F.batch_norm(x, *running, of_batch, self.bias, self.training, share, self.eps)
        # Group Norm with a group per channel is Instance Norm, by a faster kernel.
        return y.add_(torch.group_norm(x, self.num_features, of_instance, None, self.eps))

    def statistics(self, x):
        return x.shape[0] * x.shape[1]

    def put_rho_back(self):
        self.rho.detach().clamp_(0, 1)

    def _save_to_state_dict(self, *args):
        self.put_rho_back()
        super()._save_to_state_dict(*args)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        rho = state_dict.get(prefix + "rho", self.rho)
        if rho.is_meta or ((rho >= 0) & (rho <= 1)).all():
            return super()._load_from_state_dict(state_dict, prefix, *args)
        args[-1].append(
            f"{prefix}rho must lie in [0, 1], but reaches from {rho.min():.3g} to "
            f"{rho.max():.3g}: clamp it with rho.clamp(0, 1), or load another file"
        )


class SwitchableNorm(RunningNorm):
    """Switchable Normalization. Luo et al. 2018, arXiv:1806.10779, Equations 3 to 5.

    mean and var are mixtures of Instance, Layer and Batch Norm's, with weights
    softmax(mean_weight) and softmax(var_weight): six learned numbers in a layer. The (N, C) table
    of moments is measured once; pooled, it gives Layer and Batch Norm's.
    x as for BatchNorm; (N, C) has no positions and needs pools=("LN", "BN").
    pools: the methods mixed. With a batch of one image BN's statistics are those of IN; for
    training so, the paper leaves BN out. Running statistics serve the batch part in eval mode.
    """

    over = "HW, CHW, NHW"
    learns = "weight, bias per channel, weights of the mixture"

    @checked
    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=True, pools=("IN", "LN", "BN"),
        device=None, dtype=None,
    ):  # fmt: skip
        known = isinstance(pools, (tuple, list)) and all(p in ("IN", "LN", "BN") for p in pools)
        if not (pools and known) or len(set(pools)) < len(pools):
            raise ValueError(f"pools are some of 'IN', 'LN' and 'BN', each once, got {pools}")
        super().__init__(num_features, eps, momentum, affine, "BN" in pools, device, dtype)
        self.pools = tuple(pools)
        self.mean_weight = nn.Parameter(torch.ones(len(pools), device=device, dtype=dtype))
        self.var_weight = nn.Parameter(torch.ones(len(pools), device=device, dtype=dtype))

    def forward(self, x):
        self.check(x)
        if x.numel() == 0:
            return x.clone()
        rows = wide(x).reshape(*x.shape[:2], -1)  # (N, C, positions)
        count = rows.shape[2]
        if count == 1:
            mean, var = rows, torch.zeros_like(rows)
        else:
            mean = rows.sum(2, keepdim=True) / count  # (N, C, 1), of every example and channel
            c = rows + -mean  # so, and with sums, it takes fewer passes back than rows − mean
            var = c.square().sum(2, keepdim=True) / count
        mixed_mean = mixed_var = 0  # the first as a difference: shares add up to 1 only nearly
        shares = zip(self.mean_weight.softmax(0), self.var_weight.softmax(0), strict=True)
        for name, (mean_share, var_share) in zip(self.pools, shares, strict=True):
            pooled_mean, pooled_var = self.pooled(name, mean, var, count * x.shape[0])
            mixed_mean = mixed_mean + mean_share * (pooled_mean - mean)
            mixed_var = mixed_var + var_share * pooled_var
        scale = (mixed_var + self.eps).rsqrt().expand_as(mean)
        shift = -mixed_mean * scale
        if self.weight is not None:
            weight, bias = align(self.weight, rows), align(self.bias, rows)
            scale, shift = scale * weight, shift * weight + bias
        y = shift  # c * scale + shift, and c is 0 where a value is its own mean
        if count > 1:
            y = scaled(c.reshape(1, -1, count), scale.flatten(), shift.flatten())
        return y.view(x.shape).to(x.dtype)

    def pooled(self, name, mean, var, count):
        """The moments of one of the pools, from the table; Batch Norm's are remembered too."""
        if name == "IN":
            return mean, var
        if name == "LN":
            return pool(mean, var, "C", layout="NCL")
        if not self.training:
            running = self.running_mean, self.running_var
            return [kept.to(mean.dtype).view(1, -1, 1) for kept in running]
        mean, var = pool(mean, var, "N", layout="NCL")
        self.move(running_mean=mean.flatten(), running_var=var.flatten() * (count / (count - 1)))
        return mean, var

    def statistics(self, x):
        if "IN" in self.pools and x.numel() and math.prod(x.shape[2:]) < 2:
            raise ValueError(
                f"SwitchableNorm got {tuple(x.shape)}, where Instance Norm would have one value "
                "per statistic: make the layer with pools=('LN', 'BN')"
            )
        if "LN" in self.pools:
            check_count(x, x.shape[0], "SwitchableNorm")
        return self.num_features if "BN" in self.pools and self.training else 0


class StreamingNorm(RunningNorm):
    """Streaming Normalization. Liao, Kawaguchi & Poggio 2016, arXiv:1610.06160, section 4.

    y = weight * (x − mean) / (E|x − mean|^p + eps)^(1/p) + bias. Both statistics, per channel, mix
    a long-term average with the exact mean of all batches since the last change of the weights.
    Call after_step() after every step of the optimizer: it moves the short-term averages into
    the long-term ones. Their gradients are mixed in the same way. In eval mode nothing is updated.
    stat_weights: for (long, short), two shares; grad_weights: for (long, short, this batch); keep:
    the share of the long-term average that an update keeps; p: the paper recommends 1.
    Works with one example at a time, once it has seen a few. Let it see some before training.
    """

    over = "NHW"
    statistic = "mean, Lp deviation"
    remembers = "long and short averages, and their gradients"

    @checked
    def __init__(
        self, num_features, p=1, stat_weights=(0.7, 0.3), grad_weights=(0.7, 0.0, 0.3), keep=0.7,
        eps=1e-5, affine=True, device=None, dtype=None,
    ):  # fmt: skip
        check_number("p", p, 1)
        check_number("keep", keep, 0, 1 - 1e-12)
        for count, weights in ((2, stat_weights), (3, grad_weights)):
            if not isinstance(weights, (tuple, list)) or len(weights) != count:
                raise ValueError(f"stat_weights are 2 numbers and grad_weights 3, got {weights}")
            for weight in weights:
                check_number("every one of stat_weights and grad_weights", weight, 0, 1)
        if abs(sum(stat_weights) - 1) > 1e-6:
            raise ValueError(f"stat_weights are shares that add up to 1, got {stat_weights}")
        super().__init__(num_features, eps, None, affine, False, device, dtype)
        del self.running_mean, self.running_var, self.num_batches_tracked  # it keeps others
        self.p, self.keep = p, keep
        self.stat_weights, self.grad_weights = tuple(stat_weights), tuple(grad_weights)
        history = torch.zeros(2, num_features, device=device, dtype=dtype)  # rows (long, short)
        count = torch.tensor(0, device=device)
        for name in ("mean", "power"):
            self.register_buffer(f"{name}_average", history.clone())
            self.register_buffer(f"{name}_gradient", history.clone())
            self.register_buffer(f"{name}_gradient_count", count.clone())
        self.register_buffer("batches", count.clone())  # since the last update
        self.register_buffer("updates", count.clone())
        self.reset_running_stats()

    def forward(self, x):
        self.check(x)
        c, axes = wide(x), dims(self.over, LAYOUTS[x.dim()])
        if not self.measures(x):
            var = (self.remembered("power") + self.eps).pow(2 / self.p)
            return self.eval_pass(c, self.remembered("mean"), var).to(x.dtype)
        self.batches.add_(1)
        count = c.numel() // c.shape[1]
        c = c + align(-self.stream("mean", c.sum(axes) / count), c)
        distance = c.abs() if self.p == 1 else c.abs().pow(self.p)
        scale = (self.stream("power", distance.sum(axes) / count) + self.eps).pow(-1 / self.p)
        scale = scale if self.weight is None else scale * self.weight
        return scaled(c, scale, self.bias).to(x.dtype)

    def statistics(self, x):
        return 0  # one value is enough, beside what is remembered

    def remembered(self, name):
        """The mixture of a statistic's averages; one of them alone while the other is empty."""
        long, short = getattr(self, f"{name}_average")
        for_long, for_short = self.stat_weights
        mixed = torch.where(self.updates > 0, for_long * long + for_short * short, short)
        return torch.where(self.batches > 0, mixed, long)

    def stream(self, name, now):
        """That mixture with this batch's value in it, which gets the gradient."""
        short = getattr(self, f"{name}_average")[1]
        with torch.no_grad():
            short += (now.detach().to(short.dtype) - short) / self.batches
            missing = self.remembered(name).to(now.dtype) - now.detach()
        now = now + missing
        if now.requires_grad:
            now.register_hook(functools.partial(self.mix_gradient, name))
        return now

    def mix_gradient(self, name, grad):
        """On the way back: the gradient of a statistic, mixed with the averages of earlier ones."""
        if grad is None:  # nothing reached the statistic
            return None
        long, short = getattr(self, f"{name}_gradient")
        # A batch of gradients at once measures a Jacobian, and is not remembered.
        if not transformed(grad):
            with torch.no_grad():
                count = getattr(self, f"{name}_gradient_count").add_(1)
                short += (grad.to(short.dtype) - short) / count
        for_long, for_short, for_now = self.grad_weights
        return (for_long * long + for_short * short).to(grad.dtype) + for_now * grad

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
    BatchNorm, MeanOnlyBatchNorm, LayerNorm, RMSNorm, InstanceNorm, GroupNorm,
    BatchRenorm, BatchInstanceNorm, SwitchableNorm, StreamingNorm,
)  # fmt: skip
