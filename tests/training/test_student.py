"""A student: each lesson is one step of its optimiser, from drawn weights or given ones."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.training import MLP, SmallCNN, Steps, Student
from trilemma.training.schedule import SGD


def recipe(**changes):
    return MLP(hidden=(6,), optimiser=SGD(learning_rate=0.2, momentum=0.0), **changes)


def lesson(n=7, k=3):
    rng = seeded(3)
    return torch.rand(n, 4, generator=rng), torch.rand(n, k, generator=rng).softmax(1)


def test_a_lesson_is_a_step_of_gradient_descent():
    student, twin = (Student(recipe(), (4,), 3, 5) for _ in range(2))
    x, targets = lesson()
    loss = F.cross_entropy(twin.model(x), targets)
    slopes = torch.autograd.grad(loss, list(twin.model.parameters()))
    assert student.learn(x, targets, seeded(0)) == pytest.approx(loss.item())
    for now, before, slope in zip(
        student.model.parameters(), twin.model.parameters(), slopes, strict=True
    ):
        torch.testing.assert_close(now, before - 0.2 * slope)
    assert not student.model.training


def test_weights_count_as_they_are_and_need_not_add_up_to_one():
    student = Student(recipe(), (4,), 3, 5)
    x, targets = lesson()
    weighed = targets * torch.linspace(0, 2, 7).view(-1, 1)
    wanted = -(weighed * student.model(x).log_softmax(1)).sum(1).mean().item()
    assert student.learn(x, weighed, seeded(0)) == pytest.approx(wanted, rel=1e-5)


def test_the_rate_follows_the_recipes_course():
    student = Student(recipe(course=Steps(at=(2, 3))), (4,), 3, 5)
    found = []
    for epoch in range(4):
        student.begin(epoch)
        found.append(student.optimiser.param_groups[0]["lr"])
    assert found == pytest.approx([0.2, 0.2, 0.02, 0.002])


def test_it_begins_with_given_weights_but_for_layers_of_another_shape():
    teacher = Student(recipe(), (4,), 5, 9).model.state_dict()
    student, drawn = Student(recipe(), (4,), 3, 5, start=teacher), Student(recipe(), (4,), 3, 5)
    own = student.model.state_dict()
    names = list(own)
    for name in names[:2]:
        assert torch.equal(own[name], teacher[name])
    for name in names[2:]:
        assert torch.equal(own[name], drawn.model.state_dict()[name])


def test_what_it_cannot_begin_with_is_refused():
    other = nn.Linear(4, 3).state_dict()
    with pytest.raises(BadInput, match="are not in both"):
        Student(recipe(), (4,), 3, 5, start=other)
    apart = Student(recipe(), (9,), 2, 5).model.state_dict()
    with pytest.raises(BadInput, match=r"has shape \(6, 9\), where the student's has \(7, 4\)"):
        Student(MLP(hidden=(7,)), (4,), 3, 5, start=apart)


def test_an_architecture_that_does_not_fit_is_refused():
    with pytest.raises(BadInput):
        Student(SmallCNN(), (4,), 3, 5)


def test_a_module_of_ones_own_is_taught_as_a_recipes_would_be():
    recipe = MLP(hidden=(), optimiser=SGD(learning_rate=0.1), epochs=4)
    built = Student(recipe, (3,), 2, seed=0)
    own = nn.Sequential(nn.Linear(3, 2))
    own[0].load_state_dict({"weight": built.model[1].weight, "bias": built.model[1].bias})
    student = Student.of(own, recipe)
    assert student.model is own
    first = own[0].weight.clone()
    x, y = torch.rand(6, 3, generator=seeded(1)), torch.eye(2)[[0, 1, 0, 1, 1, 0]]
    for each in (built, student):
        each.begin(1)
        each.learn(x, y, seeded(2))
    assert torch.equal(own[0].weight, built.model[1].weight)
    assert not torch.equal(own[0].weight, first)
    student.afresh()
    assert torch.equal(own[0].weight, first)
