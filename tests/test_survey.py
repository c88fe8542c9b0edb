"""survey on models that nobody here designed: their structure, copied as facts, in small."""

import copy
import random
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from normlib import layers
from normlib.survey import survey


class Block(nn.Module):
    """x + branch(x), or with a norm after the sum."""

    def __init__(self, *branch, after=None):
        super().__init__()
        self.branch, self.after = nn.Sequential(*branch), after

    def forward(self, x):
        y = x + self.branch(x)
        return self.after(y) if self.after else y


class RMS(nn.Module):
    """An RMSNorm as people write it, half of it in float32."""

    def __init__(self, width, one_plus=False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width) if one_plus else torch.ones(width))
        self.one_plus = one_plus

    def forward(self, hidden_states):
        x = hidden_states * (hidden_states.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        return x * (1 + self.weight if self.one_plus else self.weight)


class ChannelsFirst(nn.Module):
    """ConvNeXt's Layer Norm over the channels of every pixel."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        x = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class GRN(nn.Module):
    """Of ConvNeXt V2: it adds its input, and starts with gamma 0."""

    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x):
        length = x.square().sum((2, 3), keepdim=True).sqrt()
        return self.gamma * x * length / (length.mean(1, keepdim=True) + 1e-6) + x


class Attention(nn.Module):
    """With softmax, and with norms of queries and keys if asked for."""

    def __init__(self, width, heads, norm=None):
        super().__init__()
        self.heads, size = heads, width // heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.q_norm, self.k_norm = (norm(size), norm(size)) if norm else (nn.Identity(),) * 2
        self.softmax = nn.Softmax(-1)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        shares = self.softmax(self.q_norm(q) @ self.k_norm(k).mT / q.shape[-1] ** 0.5)
        return self.out((shares @ v).transpose(1, 2).flatten(2))


class Standardized(nn.Conv2d):
    """ResNetV2's and NFNet's convolution: Weight Standardization in forward."""

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        w = w / (w.square().mean((1, 2, 3), keepdim=True) + 1e-10).sqrt()
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class Gate(nn.Module):
    """Squeeze and excitation: uses every position, and is no norm."""

    def __init__(self, width):
        super().__init__()
        self.to_gate = nn.Linear(width, width)

    def forward(self, x):
        return x * self.to_gate(x.mean((2, 3))).sigmoid()[:, :, None, None]


class Gated(nn.Module):
    """Mamba 2's RMSNorm, which takes the gate as a second argument."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.split = RMS(width), width

    def forward(self, x):
        return self.norm(hidden_states=x * F.silu(x.roll(1, -1)))


def conv(c, bias=False, kind=nn.Conv2d):
    return kind(c, c, 3, padding=1, bias=bias)


def mlp(width, act=nn.GELU):
    return nn.Sequential(nn.Linear(width, 2 * width), act(), nn.Linear(2 * width, width))


def zero(norm):
    nn.init.zeros_(norm.weight)
    return norm


def old_weight_norm(module):
    with warnings.catch_warnings(action="ignore"):
        return nn.utils.weight_norm(module)


IMAGES, TOKENS = torch.randn(3, 4, 4, 4), torch.randn(2, 3, 8)
NHW, CHW, LAST = (0, 2, 3), (1, 2, 3), (2,)
MODELS = {  # name: model, input, axes of every row
    "ResNet, branches start at zero": (
        Block(conv(4), nn.BatchNorm2d(4), nn.ReLU(True), conv(4), zero(nn.BatchNorm2d(4))),
        IMAGES, [NHW, NHW],
    ),
    "ResNetV2 with Group Norm": (
        Block(nn.GroupNorm(2, 4), nn.ReLU(), conv(4, kind=Standardized)), IMAGES, [CHW, CHW],
    ),
    "ConvNeXt": (Block(conv(4, True), ChannelsFirst(4), nn.Conv2d(4, 4, 1)), IMAGES, [(1,)]),
    "ConvNeXt V2": (Block(ChannelsFirst(4), nn.GELU(), GRN(4)), IMAGES, [(1,), CHW]),
    "EfficientNet": (
        Block(conv(4), nn.BatchNorm2d(4, eps=1e-3), nn.SiLU(), Gate(4)), IMAGES, [NHW],
    ),
    "PoolFormer": (Block(nn.GroupNorm(1, 4), nn.AvgPool2d(3, 1, 1)), IMAGES, [CHW]),
    "U-Net of a diffusion model": (
        Block(nn.GroupNorm(2, 4), nn.SiLU(), conv(4, True), nn.Dropout(0.1)), IMAGES, [CHW],
    ),
    "style transfer": (Block(conv(4), nn.InstanceNorm2d(4), nn.ReLU()), IMAGES, [(2, 3)]),
    "GAN's critic": (
        nn.Sequential(parametrizations.spectral_norm(conv(4)), nn.LeakyReLU(0.2)),
        IMAGES, [(0, 1, 2, 3)],
    ),
    "vocoder": (parametrizations.weight_norm(nn.Conv1d(4, 4, 3)), IMAGES[0], [(1, 2)]),
    "vocoder of before": (old_weight_norm(nn.Conv1d(4, 4, 3)), IMAGES[0], [(1, 2)]),
    "ViT": (
        nn.Sequential(Block(nn.LayerNorm(8), Attention(8, 2)), Block(nn.LayerNorm(8), mlp(8))),
        TOKENS, [LAST, LAST],
    ),
    "BERT": (Block(Attention(8, 2), after=nn.LayerNorm(8)), TOKENS, [LAST]),
    "Llama": (Block(RMS(8), mlp(8, nn.SiLU)), TOKENS, [LAST]),
    "Gemma 3, around the branch": (Block(RMS(8, True), mlp(8), RMS(8, True)), TOKENS, [LAST, LAST]),
    "Qwen3, queries and keys": (Block(RMS(8), Attention(8, 2, RMS)), TOKENS, [LAST, (3,), (3,)]),
    "Mamba 2": (Block(nn.Linear(8, 8), Gated(8)), TOKENS, [LAST]),
    "recurrent": (nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Tanh()), TOKENS, [LAST]),
    "no norm at all": (
        nn.Sequential(nn.Linear(8, 8), nn.Softmax(-1), nn.Tanh(), mlp(8)), TOKENS, [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_axes_are_those_of_finite_differences(name):
    torch.manual_seed(0)
    model, x, axes = MODELS[name]
    rows = survey(model, x)
    assert [row.axes for row in rows] == axes
    for row in rows:
        x = torch.randn(row.shape, generator=torch.Generator().manual_seed(5)).double()
        fn = copy.deepcopy(row.fn)
        for part in (*fn.args, *fn.keywords.values()):
            part.double() if isinstance(part, nn.Module) else None
        if row.acts_on == "w":
            continue  # seen in their own test
        at = tuple(size // 2 for size in row.shape)
        steps = 1e-4 * torch.eye(x.numel(), dtype=x.dtype).view(-1, *row.shape)
        with torch.no_grad():
            change = torch.stack([(fn(x + step) - fn(x))[at].abs() for step in steps])
        moves = (change > 1e-8).view(row.shape).nonzero()
        assert len(moves) == row.count
        assert tuple(i for i, used in enumerate(moves.T) if used.unique().numel() > 1) == row.axes


def test_weights_have_rows_of_what_their_making_shares():
    model = nn.Sequential(
        parametrizations.weight_norm(conv(4)), parametrizations.spectral_norm(conv(4)),
        conv(4, kind=Standardized), conv(4),
    )  # fmt: skip
    rows = survey(model, IMAGES)
    assert [(row.name, row.kind, row.count, row.statistic) for row in rows] == [
        ("0.weight", "WeightNorm", 36, "scale"),
        ("1.weight", "SpectralNorm", 144, "scale"),
        ("2.weight", "Standardized", 36, "mean, std"),
    ]


def test_a_row_says_what_it_is():
    model = nn.Sequential(conv(4), nn.BatchNorm2d(4), RMS(4))
    batch_norm, rms = survey(model, IMAGES)
    assert batch_norm.cells() == [
        "1", "BatchNorm2d", "x", "(3*, 4, 4*, 4*)", "48", "mean, std", "weight, bias",
        "running_mean, running_var", "train",
    ]  # fmt: skip
    assert (rms.statistic, rms.learns, rms.remembers) == ("scale", "weight", "")
    model(IMAGES)
    remembered = survey(model.eval(), IMAGES)[0]
    assert (remembered.statistic, remembered.count, remembered.mode) == ("remembered", 1, "eval")


def test_every_layer_of_the_course_is_found():
    makers = {"LayerNorm": lambda c: c((4, 4, 4)), "RMSNorm": lambda c: c((4, 4, 4)),
              "GroupNorm": lambda c: c(2, 4)}  # fmt: skip
    for method in layers.METHODS:
        made = makers.get(method.__name__, lambda c: c(4))(method)
        (row,) = survey(nn.Sequential(conv(4), made), IMAGES)
        assert row.kind == method.__name__


def test_the_model_stays_as_it_is():
    heard = []
    model = nn.Sequential(conv(4), nn.BatchNorm2d(4), nn.Dropout(0.5), layers.BatchRenorm(4))
    model[0].register_forward_hook(lambda module, inputs, output: heard.append(output))
    model[1].eval()
    model(IMAGES).sum().backward()
    state, heard_before = copy.deepcopy(model.state_dict()), len(heard)
    grads = [p.grad.clone() for p in model.parameters()]
    chance = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    survey(model, IMAGES)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
    assert [module.training for module in model] == [True, False, True, True]
    assert torch.equal(torch.get_rng_state(), chance[0])
    assert random.getstate() == chance[1]
    assert (np.random.get_state()[1] == chance[2]).all()
    assert len(heard) == heard_before
    assert len(model[0]._forward_hooks) == 1
    assert not model[1]._forward_hooks


def trained(*modules):
    model = nn.Sequential(*modules)
    model(IMAGES)
    return model


def frozen(model):
    return model.requires_grad_(False)


def half_in_eval(model):
    model[1].eval()
    return model


BN = nn.BatchNorm2d
SPEAKS = {  # a word of the warning: a model where it speaks, and one where it is silent
    "mostly chance": (
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64)), nn.Sequential(BN(4)),
    ),
    "takes out the bias of 0": (
        trained(conv(4, True), BN(4)), trained(conv(4, True), nn.GroupNorm(1, 4)),
    ),
    "never seen a batch": (nn.Sequential(BN(4)).eval(), trained(BN(4)).eval()),
    "has frozen parameters": (frozen(trained(BN(4))), frozen(trained(BN(4))).eval()),
    "looks like the width": (trained(conv(4), nn.LayerNorm(4)), trained(conv(4), ChannelsFirst(4))),
    "is 0 in torch.float16": (nn.LayerNorm(4, eps=1e-9).half(), nn.LayerNorm(4).half()),
    "hides a part of itself": (trained(layers.BatchRenorm(4)), trained(layers.BatchNorm(4))),
    "feel each other in eval": (
        trained(BN(4, track_running_stats=False)).eval(), trained(BN(4)).eval(),
    ),
    "some in eval mode": (half_in_eval(trained(BN(4), BN(4))), trained(BN(4), BN(4))),
}  # fmt: skip


@pytest.mark.parametrize("words", SPEAKS)
def test_a_warning_speaks_and_is_silent(words):
    speaks, silent = SPEAKS[words]
    x = IMAGES.half() if "float16" in words else IMAGES
    said = survey(speaks, x).warnings
    assert sum(words in text for text in said) == 1, said
    assert not any(words in text for text in survey(silent, x).warnings)


def test_it_is_a_table_in_words_and_in_a_page():
    found = survey(trained(conv(4, True), nn.BatchNorm2d(4)), IMAGES)
    text, page = repr(found), found._repr_html_()
    assert "1     BatchNorm2d  x        (3*, 4, 4*, 4*)" in text
    assert text.splitlines()[-1].startswith("1 (BatchNorm2d) takes out the bias of 0")
    assert "<b>3*</b>, 4, <b>4*</b>" in page
    assert page.count("<tr>") == 2
    assert page.count("<li>") == 2
    nothing = survey(nn.Linear(8, 8), TOKENS)
    assert list(nothing) == []
    assert "No module of this model normalises" in repr(nothing)


def test_models_take_more_than_a_tensor():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.norm = nn.Embedding(10, 8), nn.LayerNorm(8)

        def forward(self, ids, shift=None):
            return self.norm(self.words(ids) + shift)

    ids = torch.tensor([[1, 2, 3]])
    for x in ((ids, torch.ones(8)), {"ids": ids, "shift": torch.ones(8)}):
        assert [row.axes for row in survey(Two(), x)] == [LAST]


class Scripted(nn.Module):
    def forward(self, x):
        return x


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("make", "x", "error", "says"),
    [
        (
            lambda: nn.Linear(4, 4),
            TOKENS,
            ValueError,
            "The model fails on this input: RuntimeError",
        ),
        (lambda: nn.Linear(8, 8), TOKENS.to("meta"), ValueError, "on the model's device"),
        (lambda: nn.LazyLinear(8), TOKENS, ValueError, "run it once on a batch"),
        (lambda: torch.jit.script(Scripted()), TOKENS, TypeError, "before torch.jit"),
        (lambda: F.layer_norm, TOKENS, TypeError, "got function"),
        (lambda: nn.LayerNorm, TOKENS, TypeError, "got type"),
    ],
)
def test_bad_input_gets_a_sentence(make, x, error, says):
    with pytest.raises(error, match=says):
        survey(make(), x)


def test_a_hundred_norms_take_forty_forward_passes_and_a_little():
    blocks = [Block(conv(16), nn.BatchNorm2d(16), nn.ReLU()) for _ in range(100)]
    model, x = nn.Sequential(*blocks), torch.randn(4, 16, 16, 16)
    with torch.no_grad():
        model(x)
        start = time.perf_counter()
        model(x)
        once = time.perf_counter() - start
    start = time.perf_counter()
    assert len(survey(model, x)) == 100
    assert time.perf_counter() - start < 40 * once + 5
