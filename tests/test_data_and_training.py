"""The bundled data, the training loop and its probes."""

import pytest
import torch
from torch import nn

from normlib import data, training
from normlib.layers import BatchNorm


def test_digits_are_real_and_split():
    split = data.digits()
    assert split.x.shape == (1198, 64)
    assert split.x_test.shape == (599, 64)
    assert 0 <= split.x.min() < split.x.max() == 1
    assert sorted(split.y.unique().tolist()) == list(range(10))
    assert data.digits(flat=False).x.shape == (1198, 1, 8, 8)
    assert not torch.equal(data.digits(seed=1).y, split.y)


def test_wine_is_whole():
    split = data.wine()
    assert split.x.shape[1] == 13
    assert len(split.x) + len(split.x_test) == 178


def test_photographs():
    photos = data.photographs(32)
    assert photos.shape == (2, 3, 32, 32)
    assert 0 <= photos.min() < 0.2 < 0.8 < photos.max() <= 1
    with pytest.raises(ValueError, match="1 to 427"):
        data.photographs(500)


def test_activations_are_reproducible():
    assert data.digit_activations().shape == (4, 6, 4, 4)
    assert torch.equal(data.digit_activations(), data.digit_activations())
    assert not torch.equal(data.digit_activations(seed=1), data.digit_activations())


def test_label_noise_changes_the_share_it_says():
    split = data.digits()
    noisy = data.with_label_noise(split, 0.3)
    changed = (noisy.y != split.y).float().mean().item()
    assert 0.22 < changed < 0.32  # a tenth of the redrawn labels comes out as it was
    assert torch.equal(noisy.y_test, split.y_test)
    assert torch.equal(data.with_label_noise(split, 0.0).y, split.y)
    with pytest.raises(ValueError, match="from 0 to 1"):
        data.with_label_noise(split, 30)


def test_training_learns_and_is_reproducible():
    split = data.digits()
    histories = [training.fit(training.mlp(64, 50, 10), split, epochs=3) for _ in range(2)]
    assert histories[0].loss == histories[1].loss
    assert histories[0].accuracy[-1] > 0.6
    assert histories[0].loss[-1] < histories[0].loss[0]
    assert not histories[0].diverged
    other = training.fit(training.mlp(64, 50, 10, seed=1), split, epochs=1, seed=1)
    assert other.loss[0] != histories[0].loss[0]


def test_a_run_that_diverges_stops_and_says_so():
    history = training.fit(training.mlp(64, 50, 50, 10), data.digits(), lr=1e20, epochs=5)
    assert history.diverged
    assert len(history.accuracy) < 5


def test_accuracy_is_measured_in_eval_mode_and_leaves_the_mode():
    model = training.mlp(64, 10, 10, norm=BatchNorm).train()
    split = data.digits()
    before = model[1].running_mean.clone()
    assert 0 <= training.accuracy(model, split.x_test, split.y_test) <= 1
    assert model.training
    assert torch.equal(model[1].running_mean, before)


def test_mlp_builds_what_it_says():
    model = training.mlp(64, 100, 10, norm=BatchNorm, activation=nn.Sigmoid, gain=2.0, dropout=0.5)
    kinds = [type(m) for m in model]
    assert kinds == [nn.Linear, BatchNorm, nn.Sigmoid, nn.Dropout, nn.Linear]
    assert abs(model[0].weight.std().item() / (2 * (2 / 64) ** 0.5) - 1) < 0.05


def test_gradients_by_layer_follow_the_gain():
    split = data.digits()
    model = training.mlp(64, *[50] * 10, 10, gain=0.5)
    profile = training.gradients_by_layer(model, split.x[:64], split.y[:64])
    assert profile.shape == (11,)
    assert profile[0] < profile[-2] / 50


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"optimizer": "sgdd"}, "adam"),
        ({"batch_size": 0}, "1 to 1198"),
        ({"batch_size": 5000}, "1"),
    ],
)
def test_fit_says_what_is_wrong(keywords, says):
    with pytest.raises(ValueError, match=says):
        training.fit(training.mlp(64, 10), data.digits(), **keywords)
    with pytest.raises(ValueError, match="input and an output"):
        training.mlp(64)


def test_fit_hands_its_settings_to_torch():
    for wrong in ({"lr": -1.0}, {"weight_decay": -1.0}):
        with pytest.raises(ValueError, match="Invalid"):
            training.fit(training.mlp(64, 10), data.digits(), **wrong)


def test_a_layer_where_a_class_belongs_is_refused():
    with pytest.raises(TypeError, match="pass BatchNorm itself"):
        training.mlp(64, 9, 10, norm=BatchNorm(9))
    with pytest.raises(TypeError, match="pass BatchNorm itself"):
        training.cnn(4, norm=BatchNorm(4))


def test_accuracy_leaves_every_mode_and_wants_one_label_each():
    split, model = data.digits(), training.mlp(64, 9, 10, norm=BatchNorm)
    model[1].eval()
    training.accuracy(model, split.x, split.y)
    assert model.training
    assert not model[1].training
    for y in (split.y[:, None], split.y[:1]):
        with pytest.raises(ValueError, match="expected 1198 labels"):
            training.accuracy(model, split.x, y)


def test_a_cnn_halves_the_image_where_channels_grow():
    model = training.cnn(4, 4, 8, norm=BatchNorm)
    x = data.digits(flat=False).x[:2]
    shapes = []
    for layer in model:
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            shapes.append(tuple(x.shape))
    assert shapes == [(2, 4, 8, 8), (2, 4, 8, 8), (2, 8, 4, 4)]
    assert x.shape == (2, 10)


def test_a_cnn_learns_and_its_seed_decides_its_weights():
    split = data.digits(flat=False)
    runs = [training.fit(training.cnn(8, 8, seed=s), split, epochs=1).loss for s in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][-1] < runs[0][0]


def test_a_cnn_needs_a_convolution():
    with pytest.raises(ValueError, match="at least one convolution"):
        training.cnn()


def test_rates_multiply_the_learning_rate_of_parameters_by_name():
    split = data.digits()
    once = split._replace(x=split.x[:64], y=split.y[:64])

    def moved(**settings):
        model = training.mlp(64, 8, 10, norm=BatchNorm)
        before = [p.detach().clone() for p in model.parameters()]
        training.fit(model, once, lr=0.01, epochs=1, **settings)
        names = [name for name, _ in model.named_parameters()]
        moves = zip(model.parameters(), before, strict=True)
        return {name: (p - b).detach() for name, (p, b) in zip(names, moves, strict=True)}

    plain, tenfold = moved(), moved(rates={"bias": 10})
    for name, move in plain.items():
        factor = 10 if name.endswith("bias") else 1
        torch.testing.assert_close(tenfold[name], factor * move, rtol=1e-3, atol=1e-7)
    decayed = moved(rates={"weight": 0}, weight_decay=0.5)
    assert decayed["0.weight"].eq(0).all()
    with pytest.raises(ValueError, match="no parameter of the model is called 'rho'"):
        moved(rates={"rho": 10})


def test_the_seeds_of_an_experiment_are_moved_by_one_variable(monkeypatch):
    assert training.seeds(3) == [0, 1, 2]
    monkeypatch.setenv("NORMLIB_SEEDS", "100")
    assert training.seeds(2) == [100, 101]
