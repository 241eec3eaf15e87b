"""Optimisers and schedules: settings, clipping across types, state; their steps are Keras's."""

import json

import numpy as np
import pytest

from fastrnn import losses, metrics, ops, optimizers
from fastrnn.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from fastrnn.optimizers.schedules import (
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
    PolynomialDecay,
)
from reference import optimizers as reference

MAKERS = {
    "sgd": lambda **k: SGD(0.1, **k),
    "momentum": lambda **k: SGD(0.1, 0.9, **k),
    "nesterov": lambda **k: SGD(0.1, 0.9, nesterov=True, **k),
    "rmsprop": lambda **k: RMSprop(0.01, **k),
    "rmsprop, all": lambda **k: RMSprop(0.01, momentum=0.5, centered=True, epsilon=1e-3, **k),
    "adam": lambda **k: Adam(0.1, **k),
    "amsgrad": lambda **k: Adam(0.1, amsgrad=True, **k),
    "adamw": lambda **k: AdamW(0.1, 0.05, **k),
}
RULES = {
    "sgd": (reference.sgd, dict(lr=0.1, momentum=0.0, nesterov=False)),
    "momentum": (reference.sgd, dict(lr=0.1, momentum=0.9, nesterov=False)),
    "nesterov": (reference.sgd, dict(lr=0.1, momentum=0.9, nesterov=True)),
    "rmsprop": (reference.rmsprop, dict(lr=0.01, rho=0.9, momentum=0, eps=1e-7, centered=False)),
    "rmsprop, all": (
        reference.rmsprop,
        dict(lr=0.01, rho=0.9, momentum=0.5, eps=1e-3, centered=True),
    ),
    "adam": (reference.adam, dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-7, amsgrad=False)),
    "amsgrad": (reference.adam, dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-7, amsgrad=True)),
    "adamw": (reference.adam, dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-7, amsgrad=False)),
}


CLIPS = {
    "none": ({}, ("none", 0.0)),
    "each": ({"clipnorm": 0.7}, ("norm", 0.7)),
    "value": ({"clipvalue": 0.4}, ("value", 0.4)),
    "all": ({"global_clipnorm": 1.0}, ("global_norm", 1.0)),
}


def steps_of(optimizer, steps=4):
    """Parameters after a few steps, those at first, and the gradients taken."""
    rng = np.random.default_rng(0)
    parameters = {"a.weight": rng.normal(size=(3, 4)), "a.bias": rng.normal(size=5)}
    gradients = [{n: rng.normal(size=p.shape) for n, p in parameters.items()} for _ in range(steps)]
    start = {name: p.copy() for name, p in parameters.items()}
    for gradient in gradients:
        optimizer.apply(parameters, gradient)
    return start, gradients, parameters


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("name", MAKERS)
def test_a_step_is_kerass_formula(name, clip):
    start, gradients, actual = steps_of(MAKERS[name](**CLIPS[clip][0]))
    rule, arguments = RULES[name]
    decay = 0.05 if name == "adamw" else 0.0
    kept = {n: {} for n in start}
    for step, gradient in enumerate(gradients, 1):
        limited = reference.clipped(list(gradient.values()), *CLIPS[clip][1])
        clipped = dict(zip(gradient, limited, strict=True))
        for n in start:
            start[n] = rule(start[n], clipped[n], kept[n], step, weight_decay=decay, **arguments)
    for n, expected in start.items():
        # Some ten roundings of numbers up to 3.
        assert np.allclose(actual[n], expected, rtol=0, atol=1e-14)


def test_parameters_of_both_types_are_clipped_by_their_joint_norm():
    parameters = {"a": np.zeros(3, "float32"), "b": np.zeros(4, "float64")}
    gradients = {"a": np.full(3, 2, "float32"), "b": np.ones(4)}
    SGD(1.0, global_clipnorm=1.0).apply(parameters, gradients)
    # The norm is sqrt(3 * 4 + 4 * 1) = 4.
    assert np.allclose(parameters["a"], -2 / 4)
    assert np.allclose(parameters["b"], -1 / 4)


@pytest.mark.parametrize("again", [False, True])
def test_some_parameters_can_be_spared_weight_decay(again):
    optimizer = SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(["bias"])
    if again:
        optimizer = SGD.from_config(json.loads(json.dumps(optimizer.get_config())))
    parameters = {"a.weight": np.ones(2), "a.bias": np.ones(2)}
    optimizer.apply(parameters, {name: np.zeros(2) for name in parameters})
    assert np.allclose(parameters["a.weight"], 0.95)
    assert parameters["a.bias"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ("bias", TypeError, "var_names: expected a list of strings, got 'bias'"),
        (3, TypeError, "var_names: expected a list of strings, got 3"),
        ([3], TypeError, "var_names: expected strings, got 3"),
        (["bias", "("], ValueError, r"var_names: expected regular expressions, got '\('"),
    ],
)
def test_names_to_spare_weight_decay_that_are_none_are_refused_at_once(names, error, words):
    with pytest.raises(error, match=words):
        SGD().exclude_from_weight_decay(names)


@pytest.mark.parametrize("name", MAKERS)
def test_an_optimiser_goes_on_from_its_configuration_and_state(name):
    optimizer = MAKERS[name](clipvalue=0.8)
    _, _, parameters = steps_of(optimizer)
    optimizer.learning_rate = 0.05
    other = Optimizer.classes[type(optimizer).__name__].from_config(optimizer.get_config())
    other.load_state_dict(optimizer.state_dict())
    copy = {n: p.copy() for n, p in parameters.items()}
    gradients = {n: np.ones_like(p) for n, p in parameters.items()}
    for each, arrays in ((optimizer, parameters), (other, copy)):
        each.apply(arrays, gradients)
    assert all(copy[n].tobytes() == p.tobytes() for n, p in parameters.items())
    assert (other.iterations, other.learning_rate) == (5, 0.05)
    with pytest.raises(ValueError, match="third"):
        other.load_state_dict({"iterations": np.array(1), "third/a": np.zeros(1)})
    with pytest.raises(ValueError, match="iterations"):
        other.load_state_dict({})


def test_names_stand_for_kerass_defaults():
    adam, sgd, rmsprop, adamw = map(optimizers.get, ("adam", "SGD", "rmsprop", "AdamW"))
    assert (adam.learning_rate, adam.beta_1, adam.beta_2, adam.epsilon) == (0.001, 0.9, 0.999, 1e-7)
    assert (sgd.learning_rate, sgd.momentum, sgd.nesterov) == (0.01, 0.0, False)
    assert (rmsprop.learning_rate, rmsprop.rho, rmsprop.epsilon) == (0.001, 0.9, 1e-7)
    assert (adamw.learning_rate, adamw.weight_decay) == (0.001, 0.004)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Adam(-1), "learning_rate"),
        (lambda: Adam(float("nan")), "learning_rate"),
        (lambda: Adam(beta_1=1.0), "beta_1"),
        (lambda: SGD(momentum=1.5), "momentum"),
        (lambda: RMSprop(rho=1), "rho"),
        (lambda: SGD(clipnorm=-1), "clipnorm"),
        (lambda: SGD(clipnorm=1, global_clipnorm=1), "clipnorm, global_clipnorm: expected at most"),
        (lambda: optimizers.get("adagrad"), "optimizer"),
        (lambda: metrics.get("f1"), "metrics"),
        (lambda: losses.get("hinge"), "loss"),
        (lambda: ExponentialDecay(0.1, 0, 0.9), "decay_steps"),
        (lambda: CosineDecay(-0.1, 10), "initial_learning_rate"),
        (lambda: PiecewiseConstantDecay([1, 2], [0.1, 0.2]), "values: expected 3"),
        (lambda: PiecewiseConstantDecay([2, 1], [0.1, 0.2, 0.3]), "boundaries: expected them in"),
    ],
)
def test_a_wrong_setting_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ---- one's own -----------------------------------------------------------------------------------


class SignDescent(Optimizer):
    """Chen et al. 2023 without the momentum: each number moves by the rate."""

    slots = ("seen",)

    def update(self, params, grads, state, *, learning_rate, **options):
        for p, g, seen in zip(params, grads, state["seen"], strict=True):
            p -= learning_rate * np.sign(g)
            seen += 1


def test_an_optimiser_of_ones_own_overrides_one_method():
    optimizer = SignDescent(0.5)
    parameters = {"a": np.zeros(3)}
    optimizer.apply(parameters, {"a": np.array([2.0, -3.0, 0.0])})
    assert parameters["a"].tolist() == [-0.5, 0.5, 0.0]
    assert optimizer.state_dict()["seen/a"].tolist() == [1, 1, 1]


class HalfSGD(SGD):
    def update(self, params, grads, state, **options):
        super().update(params, [g / 2 for g in grads], state, **options)


def test_rows_of_a_gradient_become_an_array_for_an_optimiser_of_ones_own():
    rows = ops.RowGradient(np.array([2, 0]), np.array([[1.0], [2.0]]), 3)
    for optimizer in (HalfSGD(0.5), SGD(0.25)):
        table = {"a": np.zeros((3, 1))}
        optimizer.apply(table, {"a": rows})
        assert table["a"].ravel().tolist() == [-0.5, 0, -0.25]


# ---- schedules -----------------------------------------------------------------------------------

SCHEDULES = {
    ExponentialDecay(0.1, 10, 0.5): lambda t: 0.1 * 0.5 ** (t / 10),
    ExponentialDecay(0.1, 10, 0.5, staircase=True): lambda t: 0.1 * 0.5 ** (t // 10),
    InverseTimeDecay(0.1, 10, 2.0): lambda t: 0.1 / (1 + 2 * t / 10),
    InverseTimeDecay(0.1, 10, 2.0, staircase=True): lambda t: 0.1 / (1 + 2 * (t // 10)),
    PiecewiseConstantDecay([5, 20], [3, 2, 1]): lambda t: 3 if t <= 5 else 2 if t <= 20 else 1,
    PolynomialDecay(0.1, 20, 0.01, 2.0): lambda t: 0.09 * (1 - min(t, 20) / 20) ** 2 + 0.01,
    CosineDecay(0.1, 20, alpha=0.1): lambda t: (
        0.1 * (0.9 * (1 + np.cos(np.pi * min(t, 20) / 20)) / 2 + 0.1)
    ),
    CosineDecay(0.0, 20, warmup_target=0.1, warmup_steps=5): lambda t: (
        0.1 * t / 5 if t < 5 else 0.1 * (1 + np.cos(np.pi * min(t - 5, 20) / 20)) / 2
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_a_schedule_is_its_formula_and_is_made_again_from_its_description(schedule):
    again = LearningRateSchedule.from_description(schedule.describe())
    for step in (0, 1, 4, 5, 6, 10, 19, 20, 21, 100):
        assert schedule(step) == pytest.approx(SCHEDULES[schedule](step), rel=1e-12, abs=1e-15)
        assert again(step) == schedule(step)


def test_polynomial_decay_in_cycles_starts_again_lower():
    schedule = PolynomialDecay(1.0, 10, 0.0, cycle=True)
    assert [schedule(t) for t in (0, 5, 10, 11, 20)] == pytest.approx([1, 0.5, 0, 0.45, 0])


def test_an_optimiser_follows_its_schedule_from_step_0_and_after_a_restart():
    optimizer = SGD(PiecewiseConstantDecay([0, 1], [1.0, 0.1, 0.01]))
    parameters = {"a": np.zeros(1)}
    seen = []
    for _ in range(3):
        optimizer.apply(parameters, {"a": np.ones(1)})
        seen.append(-parameters["a"][0])
    assert np.allclose(seen, [1, 1.1, 1.11])
    other = SGD.from_config(optimizer.get_config())
    other.load_state_dict(optimizer.state_dict())
    assert other.learning_rate == 0.01
    with pytest.raises(TypeError, match="follows a schedule"):
        optimizer.learning_rate = 0.5
    optimizer.learning_rate = ExponentialDecay(0.5, 1, 1.0)
    assert optimizer.learning_rate == 0.5


def test_the_arguments_stand_in_kerass_order():
    first = dict(weight_decay=0.1, clipnorm=0.5, clipvalue=None, global_clipnorm=None)
    for made, expected in (
        (SGD(0.1, 0.9, True, *first.values()), dict(momentum=0.9, nesterov=True)),
        (
            RMSprop(0.1, 0.8, 0.5, 1e-3, True, *first.values()),
            dict(rho=0.8, momentum=0.5, epsilon=1e-3, centered=True),
        ),
        (
            Adam(0.1, 0.8, 0.7, 1e-3, True, *first.values()),
            dict(beta_1=0.8, beta_2=0.7, epsilon=1e-3, amsgrad=True),
        ),
        (
            AdamW(0.1, 0.1, 0.8, 0.7, 1e-3, True, 0.5, None, None),
            dict(beta_1=0.8, beta_2=0.7, epsilon=1e-3, amsgrad=True),
        ),
    ):
        name = type(made).__name__.lower()
        assert made.get_config() == {"learning_rate": 0.1, **first, **expected, "name": name}
        assert type(made).from_config(made.get_config()).get_config() == made.get_config()
    assert SGD(name="mine").get_config()["name"] == "mine"
    with pytest.raises(TypeError, match="name: expected a string, got 3"):
        SGD(name=3)


def test_a_learning_rate_may_be_a_function_that_is_asked_at_each_step():
    rates = iter([1.0, 0.1, 0.01])
    optimizer = SGD(lambda: next(rates))
    parameters = {"a": np.zeros(1)}
    for _ in range(3):
        optimizer.apply(parameters, {"a": np.ones(1)})
    assert parameters["a"][0] == pytest.approx(-1.11)
    assert "learning_rate" not in optimizer.state_dict()
    with pytest.raises(ValueError, match="learning_rate: a function cannot be saved"):
        optimizer.get_config()
    for wrong, words in ((lambda: "a", "the rate that learning_rate"), (SGD, "learning_rate: exp")):
        with pytest.raises(TypeError, match=words):
            _ = SGD(wrong).learning_rate
