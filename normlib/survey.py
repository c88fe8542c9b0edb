"""The master table of any model: what each of its norms does to the input that it really gets."""

import functools
import html
import re
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from normlib.footprint import examine
from normlib.messages import SURVEY
from normlib.private import copied_module, fixed_chance, private_copy

NAMED = re.compile(r"norm|GRN", re.I)  # classes that say what they are
LAYERS = nn.Linear, nn.modules.conv._ConvNd
FEW = 8  # values behind a statistic in training


@dataclass
class Row:
    """One norm of a model. name: in the model; kind: its class.

    acts_on: "x", or "w" for a weight; shape: of that tensor; axes: those along which it shares a
    statistic; count: how many values stand behind each statistic, 1 where it reads what it
    remembers. statistic: "mean, std", "scale", or "remembered"; learns, remembers: the names of
    parameters and buffers; mode: "train" or "eval". fn(input) is what the norm did in the model;
    hidden: whether a part of that is hidden from the gradient.
    """

    name: str
    kind: str
    acts_on: str
    shape: tuple
    axes: tuple
    count: int
    statistic: str
    learns: str
    remembers: str
    mode: str
    fn: object = field(repr=False)
    input: torch.Tensor = field(repr=False)
    hidden: bool

    def cells(self):
        """The row in words; the axes that share a statistic are marked in the shape."""
        shape = ", ".join(f"{size}{'*' * (i in self.axes)}" for i, size in enumerate(self.shape))
        words = self.statistic, self.learns or "nothing", self.remembers or "nothing", self.mode
        return [self.name, self.kind, self.acts_on, f"({shape})", f"{self.count:,}", *words]

    def cropped(self, most=4096):
        """The input, halved along its longest axes where fn allows it, until it is small enough."""
        x, axes = self.input, list(range(self.input.dim()))
        while x.numel() > most and axes:
            axis = max(axes, key=lambda a: x.shape[a])
            half = x.narrow(axis, 0, (x.shape[axis] + 1) // 2)
            try:
                _made(self.fn, half)
                x = half
            except Exception:  # as many features as it has weights
                axes.remove(axis)
        return x


class Survey(list):
    """The rows of a model, and `warnings`: sentences on what to look at. Shown as a table."""

    def __init__(self, rows, warnings):
        super().__init__(rows)
        self.warnings = warnings
        self.lines = [SURVEY["columns"], *(row.cells() for row in self)]
        self.below = [SURVEY["legend" if self else "empty"], *warnings]

    def __repr__(self):
        widths = [max(map(len, column)) for column in zip(*self.lines, strict=True)]
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in self.lines]
        return "\n".join([*table, *self.below])

    def _repr_html_(self):
        rows = ["".join(f"<td>{html.escape(c)}</td>" for c in line) for line in self.lines]
        head, *rows = [re.sub(r"(\d+\*)", r"<b>\1</b>", row) for row in rows]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        inside = f"<thead><tr>{head.replace('td>', 'th>')}</tr></thead><tbody>{body}</tbody>"
        table = f'<table style="border-collapse:separate;border-spacing:12px 2px">{inside}</table>'
        words = "".join(f"<li>{html.escape(text)}</li>" for text in self.below)
        return f'<div style="overflow-x:auto">{table}</div><ul>{words}</ul>'


def survey(model, x):
    """The master table of a model: a Survey with one Row for each norm.

    model: any module, in the mode that you want to know about. Norms are found by their classes
    and, as not every norm says so, by what they do: the output keeps the input's shape and does
    not change when the input is multiplied by 3. A norm that is written inside the forward of a
    larger module is not seen. Weights that may be multiplied by 3 have rows too.
    x: what the model takes: a tensor, a tuple of arguments, or a dict of them.
    Axes are measured at one output by its gradient. The model stays as it is: a copy is run.
    Raises TypeError for what is no module or scripted, and ValueError for lazy modules and where
    the model fails on x.
    """
    twin, calls, makers, sizes = _record(model, x)
    names = {module: name or type(model).__name__ for name, module in twin.named_modules()}
    rows = {}
    for module in reversed(names):  # what is inside comes before what holds it
        inside = any(other in rows for other in module.modules())
        if module in calls and not (inside or ".parametrizations." in names[module]):
            row = _row_of_x(names[module], module, *calls[module])
            rows |= {module: row} if row else {}
    norms = {module: rows[module] for module in names if module in rows}
    weights = [row for m in calls if m not in rows for row in _rows_of_w(names[m], m, *calls[m])]
    return Survey([*norms.values(), *weights], _warnings(norms, makers, sizes, names))


def _record(model, x):
    """A copy of the model after one pass; {module: (how it was called, with which tensor)};
    {module: who made that tensor}; the sizes (C, H, W) of the images that convolutions made."""
    if isinstance(model, torch.jit.ScriptModule) or not isinstance(model, nn.Module):
        raise TypeError(SURVEY["no_module"].format(kind=type(model).__name__))
    held = [*model.parameters(), *model.buffers()]
    if any(map(nn.parameter.is_lazy, held)):
        raise ValueError(SURVEY["lazy"])
    twin, calls, makers, made, sizes = copied_module(model), {}, {}, {}, set()

    def look(module, args, kwargs, output):
        given = dict(enumerate(args)) | kwargs
        tensors = (k for k, t in given.items() if torch.is_tensor(t) and t.is_floating_point())
        key = next(tensors, None)
        if key is not None and module not in calls:
            makers[module] = made.get(id(given[key]), (None,))[0]
            x = _kept(given.pop(key))
            calls[module] = (key, _kept(given)), x
        if torch.is_tensor(output):
            made[id(output)] = module, output  # kept, so that no other tensor gets its id
        if isinstance(module, nn.Conv2d):
            sizes.add(tuple(output.shape[1:]))

    for module in twin.modules():
        module.register_forward_hook(look, with_kwargs=True)
    args, kwargs = ((), x) if isinstance(x, dict) else (x if isinstance(x, tuple) else (x,), {})
    try:
        with torch.no_grad(), fixed_chance(0, list({t.device for t in held if t.is_cuda})):
            twin(*map(_kept, args), **_kept(kwargs))
    except Exception as error:
        text = SURVEY["fails"].format(error=f"{type(error).__name__}: {error}")
        raise ValueError(text) from error
    for module in twin.modules():
        module._forward_hooks.clear()
        module._forward_hooks_with_kwargs.clear()
    return twin, calls, makers, sizes


def _kept(value):
    """The value with copies of its tensors, which what comes later in the model may write into."""
    if torch.is_tensor(value):
        return value.detach().clone()
    if isinstance(value, (tuple, list)):
        return tuple(map(_kept, value))
    return {k: _kept(v) for k, v in value.items()} if isinstance(value, dict) else value


def _again(module, call, x, weights=None):
    """The module as it was called, with x in place of the tensor, and maybe with other weights."""
    key, given = call
    given = {**given, key: x}
    args = tuple(given[i] for i in range(len(given)) if i in given)
    kwargs = {k: v for k, v in given.items() if isinstance(k, str)}
    output = functional_call(module, weights or {}, args, kwargs)
    return output[0] if isinstance(output, tuple) else output


def _weighed(module, call, x, name, w):
    return _again(module, call, x, {name: w})


@torch.no_grad()
def _made(fn, x):
    """What a private copy of fn makes of x, in float64, with the same chance every time."""
    with fixed_chance(0, [x.device] if x.is_cuda else []):
        return private_copy(fn)(x.double())


def _same(fn, x, change):
    """Whether fn makes the same of a random r like x and of change(r), but for eps."""
    draw = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r = 3 * draw.to(x.device)  # large enough that eps counts for little
    a, b = _made(fn, r), _made(fn, change(r))
    return a.shape == b.shape and bool(((a - b).abs() <= 2e-3 * a.std()).all())


def _awake(module):
    """A copy in which a weight that is all zero, as at the start of many branches, is one."""
    module = copied_module(module)
    for name, parameter in module.named_parameters():
        if "bias" not in name and not parameter.any():
            parameter.data.fill_(1.0)
    return module


def _row_of_x(name, module, call, x):
    """The Row of a module that normalises what it is given, or None."""
    remembered = not module.training and getattr(module, "running_var", None) is not None
    small = not any(list(child.parameters()) for child in module.children())
    known = remembered or (small and NAMED.search(type(module).__name__))
    fn = functools.partial(_again, _awake(module), call)
    try:
        alike = not isinstance(module, LAYERS) and _made(fn, x).shape == x.shape
        if not alike or not (known or _same(fn, x, lambda r: 3 * r)):
            return None
        row = _row(name, module, "x", fn, x)
    except Exception:  # a module that takes no such tensor by itself
        return None
    row.statistic = "remembered" if remembered else row.statistic
    return row if row.count > 1 or remembered else None


def _rows_of_w(name, module, call, x):
    """The Rows of weights that the module's output does not feel the scale of."""
    made = parametrize.is_parametrized(module) or module._forward_pre_hooks
    if type(module).__module__.startswith("torch.nn") and not made:
        return
    if isinstance(module, LAYERS):  # a few examples and positions are enough
        whole = x.dim() - 1 if isinstance(module, nn.Linear) else 1
        for axis in set(range(x.dim())) - {whole}:
            x = x.narrow(axis, 0, min(x.shape[axis], 16))
    for key, weight in module.named_parameters():
        if weight.dim() > 1 and ("." not in key or key.startswith("parametrizations.")):
            fn = functools.partial(_weighed, module, call, x, key)
            if _same(fn, weight, lambda r: 3 * r):
                row = _row(f"{name}.{key}", module, "w", fn, weight.detach())
                if "." in key:  # it belongs to a parametrization, and that to a weight
                    weight_name = key.split(".")[1]
                    chain = module.parametrizations[weight_name]
                    row.name, row.kind = (
                        f"{name}.{weight_name}",
                        type(chain[0]).__name__.lstrip("_"),
                    )
                    row.learns = ", ".join(n for n, _ in chain.named_parameters())
                yield row


def _row(name, module, acts_on, fn, x):
    """The Row with its axes: those along which the inputs of one output are spread."""
    shape = _made(fn, x).shape
    for part in (2, 3, 5):  # another output where this one has no gradient
        at = tuple(size // part for size in shape)
        found = examine(fn, x, at=at, probes=2 if acts_on == "x" else 1)
        if found.mask.any():
            break
    index = found.mask.nonzero()
    learns = ", ".join(n for n, _ in module.named_parameters())
    remembers = ", ".join(n for n, t in module.named_buffers() if t.is_floating_point())
    return Row(
        name=name,
        kind=type(module).__name__,
        acts_on=acts_on,
        shape=tuple(x.shape),
        axes=tuple(i for i, used in enumerate(index.T) if used.unique().numel() > 1),
        count=len(index),
        statistic="mean, std" if _same(fn, x, lambda r: 3 * r + 5) else "scale",
        learns=learns,
        remembers=remembers,
        mode="train" if module.training else "eval",
        fn=fn,
        input=x,
        hidden=bool(found.hidden),
    )


def _warnings(norms, makers, sizes, names):
    """What to look at in a model's norms, a sentence each."""
    found = []

    def say(key, row, **words):
        found.append(SURVEY[key].format(name=row.name, kind=row.kind, **words))

    for module, row in norms.items():
        maker, dtype, eps = makers[module], row.input.dtype, getattr(module, "eps", None)
        running = getattr(module, "running_mean", None) is not None
        learning = [p.requires_grad for p in module.parameters()]
        if row.mode == "train" and row.count < FEW:
            say("few", row, count=row.count)
        if isinstance(maker, LAYERS) and maker.bias is not None and _drops(module, row, maker):
            say("bias", row, layer=names[maker])
        if running and getattr(module, "num_batches_tracked", None) == 0:
            say("never", row)
        if running and row.mode == "train" and learning and not any(learning):
            say("frozen", row)
        if row.axes == (3,) and row.shape[1:] in sizes:
            say("width", row, shape=row.shape)
        if eps and torch.tensor(eps, dtype=dtype) == 0:
            say("eps", row, eps=eps, dtype=dtype)
        if row.hidden:
            say("hidden", row)
        if row.mode == "eval" and 0 in row.axes and len(row.shape) > 1:
            say("company", row)
    modes = {row.mode: row.name for row in reversed(norms.values())}
    return [*found, SURVEY["modes"].format(**modes)] if len(modes) == 2 else found


def _drops(module, row, maker):
    """Whether the norm, in training mode, takes out a bias of the layer before it."""
    fn = functools.partial(_again, _awake(module).train(), row.fn.args[1])
    shape = [1] * row.input.dim()
    shape[-1 if isinstance(maker, nn.Linear) else 1] = -1
    draw = torch.randn(len(maker.bias), generator=torch.Generator().manual_seed(1))
    return _same(fn, row.input, lambda r: r + draw.to(r).view(shape))
