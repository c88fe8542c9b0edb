"""Which inputs an output of a function really uses: measured, with what the measurement knows."""

from dataclasses import dataclass

import torch

from normlib.axes import check_floating
from normlib.private import fixed_chance, private_copy

MOST_PROBES = 30


@dataclass
class Footprint:
    """What `examine` finds. All on the CPU.

    mask: True where the gradient of an output to an input is not zero, at one probe at least;
        shape (*output.shape, *input.shape), or the input's shape for one output.
    hidden: per output, True where moving the input a little changes the output by something else
        than the gradient foretells: a part of the function is hidden from it (`detach`, `no_grad`).
    varies: per output, True where probes disagreed about which inputs count (max, median, ReLU).
    What one output shows at some probes only, is said of all of them.
    """

    mask: torch.Tensor
    hidden: torch.Tensor
    varies: torch.Tensor


def footprint(fn, x, *, at=None, probes=None):
    """Which inputs an output of `fn` depends on, measured: where its gradient is not zero.

    fn: any differentiable function or module of one tensor, returning one tensor.
    x: gives the shape and the device; its values matter only with probes=0.
    at: index of one output. The result is then a boolean mask of the input's shape; without it,
        one mask per output, shape (*output.shape, *input.shape).
    probes: the number of random inputs, or 0 for x itself: for a function such as max, where the
        values decide who counts. By default they go on until three in a row add nothing.

    `examine` says, too, where this is not the whole truth. The gradient is taken in float64, on a
    copy of the function and of the modules and tensors it uses, so that looking changes nothing.
    (What a student's own class reaches through globals is not copied.)
    Raises TypeError for inputs or outputs that are not floating-point tensors, and ValueError for
    an output without a gradient, or a function on another device than x.
    """
    return examine(fn, x, at=at, probes=probes).mask


@torch.inference_mode(False)
@torch.enable_grad()
def examine(fn, x, *, at=None, probes=None):
    """The footprint of `fn`, and how sure it is: a Footprint. Arguments as for `footprint`."""
    check_floating(x)
    if isinstance(fn, type):
        raise TypeError(f"{fn.__name__} is a class: pass a layer made from it, {fn.__name__}(...)")
    if probes is not None and not probes >= 0:
        raise ValueError(f"probes must be 0 (at x itself) or more, got {probes}")
    run, some, quiet, has_gradient = Runner(fn, x), None, 0, False
    for number in range(MOST_PROBES if probes is None else max(probes, 1)):
        leaf = run.probe(number) if probes != 0 else x.detach().double().clone()
        out = _chosen(run(leaf.requires_grad_(), number), at)
        same = some is None or len(some) == out.numel()
        if not x.numel() or not out.numel() or not same:
            raise ValueError(
                f"input {tuple(x.shape)}, output {tuple(out.shape)}: a footprint needs values in "
                "both, and an output whose shape does not depend on the values"
            )
        gradient, has_gradient = _jacobian(out, leaf), has_gradient or out.requires_grad
        size = gradient.abs()
        largest = size.nan_to_num(posinf=0.0).amax(1, keepdim=True)
        # More than rounding error; NaN and infinity count as dependence.
        used = ~(size <= torch.maximum(1e-12 * largest, 1e-15 * largest.max()))
        hides = _disagrees(run, leaf, out, gradient, number, at)
        if number == 0:
            some, always, hidden, steadily = used, size != 0, hides, hides
            continue
        quiet = 0 if (used & ~some).any() else quiet + 1
        some, always = some | used, always & (size != 0)
        hidden, steadily = hidden | hides, steadily & hides
        # A branch that is rarely open needs many probes, where many are cheap; and an output that
        # nothing has moved yet may be a ReLU that was never open.
        enough = number >= (11 if some.numel() < 1e6 else 3)
        if probes is None and quiet >= 3 and enough and some.any(1).all():
            break
    if not has_gradient:
        raise ValueError(
            "the output has no gradient to follow: compute it from the input with torch "
            "operations, without .detach(), .numpy() or no_grad"
        )
    # What one output does for some inputs only, another may do without having shown it yet.
    varies = (some & ~always).any().expand(len(some))
    hidden, shape = hidden | (hidden & ~steadily).any(), out.shape
    return Footprint(
        some.reshape([*shape, *x.shape]).cpu(),
        hidden.view(shape).cpu(),
        varies.reshape(shape).cpu(),
    )


def _disagrees(run, leaf, out, gradient, number, at):
    """Per output, whether moving the input tells another slope than the gradient.

    A smaller step must tell the same slope, and the same on both sides, and a larger one must not
    tell the gradient's: else it is a kink, a sharp bend or single precision that disagrees.
    """
    direction, before = run.random(), out.detach().flatten()
    foretold = gradient @ direction.flatten()
    scale = gradient.abs() @ direction.abs().flatten()

    def slopes(step):
        ends = [leaf.detach() + sign * step * direction for sign in (1, -1)]
        ends = [_chosen(run(end.requires_grad_(), number), at).detach().flatten() for end in ends]
        return (ends[0] - before) / step, (before - ends[1]) / step

    seen = sum(slopes(1e-5)) / 2
    error = (seen - foretold).abs()
    suspicious = ~(error <= 3e-5 * scale + 1e-9 * before.abs()) & seen.isfinite()
    if not suspicious.any():
        return suspicious
    forwards, backwards = slopes(1e-7)
    unsteady = (seen - (forwards + backwards) / 2).abs() + (forwards - backwards).abs()
    agrees_far = (sum(slopes(1e-2)) / 2 - foretold).abs() < 0.5 * error
    return suspicious & ((unsteady <= 0.2 * error) & ~agrees_far | foretold.isnan())


def moved(fn, x):
    """Which outputs change when one input is moved a little, input after input, at x itself.

    The same shape as footprint(fn, x), but of values: what is hidden from the gradient is in it,
    and what only the gradient sees is not. One run of `fn` per input.
    """
    run, x, columns = Runner(fn, x), x.detach().double(), []
    before = run(x).detach()
    for i in range(x.numel()):
        step = torch.zeros_like(x).flatten()
        step[i] = 1e-3
        columns.append((run(x + step.view(x.shape)).detach() - before).abs().flatten())
    change = torch.stack(columns, 1)
    rounding = torch.maximum(1e-9 * change.amax(1, keepdim=True), 1e-12 * change.max())
    return (change > rounding).reshape([*before.shape, *x.shape]).cpu()


class Runner:
    """Runs copies of a function, each as fresh as the first and with the same random numbers."""

    def __init__(self, fn, x):
        self.fn, self.x = private_copy(fn), x
        self.devices = [x.device] if x.is_cuda else []
        self.generator = torch.Generator().manual_seed(0)

    def random(self):
        x = torch.randn(self.x.shape, generator=self.generator, dtype=torch.float64)
        return x.to(self.x.device)

    def probe(self, number):
        """A random input: small, its mirror image, large, its mirror image, and so on."""
        self.last = -self.last if number % 2 else self.random() * (2.5 if number % 4 else 1)
        return self.last.clone()

    def __call__(self, x, seed=0):
        try:
            with fixed_chance(seed, self.devices):
                y = private_copy(self.fn)(x.clone())  # the function may write into its input
        except Exception as error:
            raise ValueError(
                f"the function fails on a {x.dtype} tensor of shape {tuple(x.shape)} on "
                f"{x.device}: {type(error).__name__}: {error}. If it is on another device, "
                f"move one of them, layer.to({str(x.device)!r}); if it makes tensors of its "
                "own, make them with dtype=x.dtype, device=x.device"
            ) from error
        if not isinstance(y, torch.Tensor) or y.is_complex():
            kind = f"{y.dtype} tensor" if isinstance(y, torch.Tensor) else type(y).__name__
            raise TypeError(f"the function returned {kind}, not a tensor of real numbers")
        return y


def _chosen(y, at):
    """The output at an index, or all of them."""
    if at is None:
        return y
    fits = isinstance(at, (tuple, list)) and len(at) == y.dim()
    if not (fits and all(-n <= i < n for i, n in zip(at, y.shape, strict=True))):
        raise ValueError(f"at={at} is not the index of one output of {tuple(y.shape)}")
    return y[tuple(at)]


def spread(mask, layout):
    """The axes along which a mask has more than one index, as letters: "NHW" for Batch Norm."""
    used = mask.nonzero()
    return "".join(a for a, index in zip(layout, used.T, strict=True) if index.unique().numel() > 1)


def number_rows(masks):
    """Number equal rows alike, in order of appearance; and the first row of every number."""
    numbers, which, first = {}, [], []
    for i, row in enumerate(masks.numpy()):
        which.append(numbers.setdefault(row.tobytes(), len(numbers)))
        if len(numbers) > len(first):
            first.append(i)
    return which, first


def _jacobian(out, x):
    """d out / d x, (outputs, inputs); rows in batches where the operations allow it."""
    if not out.requires_grad:
        return torch.zeros(out.numel(), x.numel(), dtype=x.dtype, device=x.device)
    flat, keep = out.reshape(-1), {"retain_graph": True, "materialize_grads": True}
    rows = torch.eye(len(flat), dtype=flat.dtype, device=flat.device)
    try:
        parts = [
            torch.autograd.grad(flat, x, some, is_grads_batched=True, **keep)[0].expand(
                len(some), *x.shape
            )
            for some in rows.split(512)
        ]
    except RuntimeError:  # an operation that cannot be batched: one row at a time
        parts = [torch.autograd.grad(flat, x, row, **keep)[0][None] for row in rows]
    return torch.cat(parts).reshape(len(flat), x.numel())
