"""Recorded predictions as .npz: what is legitimate is read with its values unchanged."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.experiments.recorded import answers, correct, losses, read_recorded, scores

RNG = np.random.default_rng(0)


def probabilities(n, k, dtype=np.float64):
    return RNG.dirichlet(np.full(k, 0.3), n).astype(dtype)


def form(n=7, m=5, k=4, dtype=np.float64):
    return {
        "output_train": probabilities(n, k, dtype),
        "output_test": probabilities(m, k, dtype),
        "train_label": np.arange(n) % k,
        "test_label": np.arange(m) % k,
    }


@pytest.fixture
def save(tmp_path):
    def save(name="recorded.npz", *, compressed=False, **arrays):
        path = tmp_path / name
        with path.open("wb") as file:
            (np.savez_compressed if compressed else np.savez)(file, **arrays)
        return path

    return save


@pytest.mark.parametrize(
    ("file", "benign", "adversarial"), [("natural", "55.85", "54.27"), ("pgd", "61.69", "68.83")]
)
def test_table_2_of_song_et_al_follows_from_their_recorded_outputs(
    fixtures_folder, file, benign, adversarial
):
    recorded = read_recorded(fixtures_folder / f"yale_{file}.npz")
    assert (recorded.name, recorded.classes) == (f"yale_{file}", 38)
    assert (recorded.members, recorded.nonmembers, recorded.notes) == (1900, 514, ())
    for which, published in (("benign", benign), ("adversarial", adversarial)):
        members, nonmembers = scores(recorded, which)
        assert members.dtype == nonmembers.dtype == np.float32
        thresholds = np.unique(np.concatenate([members, nonmembers]))
        best = max((members >= t).mean() + (nonmembers < t).mean() for t in thresholds) / 2
        assert f"{100 * best:.2f}" == published


def test_scores_losses_and_correctness_are_those_of_the_definition(save):
    arrays = form()
    recorded = read_recorded(save(**arrays))
    for side, index in (("train", 0), ("test", 1)):
        table, labels = arrays[f"output_{side}"], arrays[f"{side}_label"]
        own = np.array([row[label] for row, label in zip(table, labels, strict=True)])
        np.testing.assert_array_equal(scores(recorded, "benign")[index], own)
        np.testing.assert_allclose(losses(recorded, "benign")[index], -np.log(own))
        np.testing.assert_array_equal(correct(recorded, "benign")[index], table.argmax(1) == labels)


def test_the_uniform_answer_is_right_about_class_0_only(save):
    arrays = form() | {"output_train": np.full((7, 4), 0.25)}
    members, _ = correct(read_recorded(save(**arrays)), "benign")
    np.testing.assert_array_equal(members, arrays["train_label"] == 0)


def test_a_probability_of_0_is_an_infinite_loss_and_of_1_none(save):
    arrays = form(n=2, k=2) | {"output_train": np.array([[0.0, 1.0], [0.0, 1.0]])}
    members, _ = losses(read_recorded(save(**arrays)), "benign")
    np.testing.assert_array_equal(members, [np.inf, 0.0])
    assert not np.signbit(members[1])


def test_long_and_short_names_mean_the_same(save):
    short = form()
    long = {
        f"{name}_benign" if name.startswith("output") else name: array
        for name, array in short.items()
    }
    first, second = read_recorded(save("a.npz", **short)), read_recorded(save("b.npz", **long))
    for which in ("member", "label", "probabilities"):
        np.testing.assert_array_equal(
            answers(first, "benign")[which], answers(second, "benign")[which]
        )
    assert first.adversarial is None
    assert first.fingerprint != second.fingerprint  # of the bytes


def test_adversarial_answers_are_read_and_are_not_needed(save):
    arrays = form()
    arrays["output_train_adversarial"] = probabilities(7, 4)
    arrays["output_test_adversarial"] = probabilities(5, 4)
    recorded = read_recorded(save(**arrays))
    np.testing.assert_array_equal(recorded.adversarial.members, arrays["output_train_adversarial"])
    with pytest.raises(BadInput, match="no adversarial answers were recorded"):
        scores(read_recorded(save("benign.npz", **form())), "adversarial")


def test_confidences_alone_are_enough_for_scores_but_not_for_accuracy(save):
    train, test = np.array([0.9, 1.0, 0.5], np.float32), np.array([[0.25], [0.0]], np.float32)
    recorded = read_recorded(
        save(
            confidence_train=train,
            confidence_test=test,
            confidence_adversarial_train=train / 2,
            confidence_adversarial_test=test / 2,
        )
    )
    assert recorded.classes is None
    assert recorded.labels is None
    assert correct(recorded, "benign") is None
    members, nonmembers = scores(recorded, "benign")
    np.testing.assert_array_equal(members, train)
    np.testing.assert_array_equal(nonmembers, test[:, 0])
    np.testing.assert_array_equal(scores(recorded, "adversarial")[0], train / 2)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
def test_precision_and_byte_order_of_the_file_do_not_change_a_value(save, dtype):
    arrays = form(k=30)
    arrays["output_train"] = arrays["output_train"].astype(dtype)
    arrays["output_test"] = arrays["output_test"].astype(dtype)
    recorded = read_recorded(save(**arrays))
    np.testing.assert_array_equal(recorded.benign.members, arrays["output_train"])
    assert recorded.benign.members.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(np.asfortranarray, id="Fortran order"),
        pytest.param(lambda a: a[:, None, :], id="(n, 1, k)"),
        pytest.param(lambda a: a[:, :, None, None], id="(n, k, 1, 1)"),
        pytest.param(lambda a: a[None], id="(1, n, k)"),
    ],
)
def test_layout_of_outputs_does_not_matter(save, change):
    arrays = form()
    recorded = read_recorded(save(**arrays | {"output_train": change(arrays["output_train"])}))
    np.testing.assert_array_equal(recorded.benign.members, arrays["output_train"])
    assert answers(recorded, "benign")["probabilities"].flags.c_contiguous


LABEL_FORMS = [
    *(np.dtype(t) for t in ("u1", "i1", "i2", "<i4", ">i4", ">i8", "u8", "f2", "f4", ">f8")),
    lambda y: y[:, None],
    lambda y: y[None],
    lambda y: np.eye(4)[y],
    lambda y: np.eye(4, dtype=bool)[y],
    lambda y: np.eye(4, dtype=np.float32)[y][:, None],
]


@pytest.mark.parametrize("change", LABEL_FORMS)
def test_labels_of_any_whole_form_are_the_same_labels(save, change):
    arrays = form()
    stored = (
        arrays["train_label"].astype(change)
        if isinstance(change, np.dtype)
        else change(arrays["train_label"])
    )
    recorded = read_recorded(save(**arrays | {"train_label": stored}))
    np.testing.assert_array_equal(recorded.labels.members, arrays["train_label"])
    assert recorded.labels.members.dtype == np.int64


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 6), m=st.integers(1, 6), k=st.sampled_from([2, 3, 10, 1000]), data=st.data()
)
def test_any_shape_comes_back_as_it_was_saved(tmp_path_factory, n, m, k, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    arrays = form(n, m, k, dtype)
    path = tmp_path_factory.mktemp("any") / "any.npz"
    np.savez_compressed(path, **arrays)
    recorded = read_recorded(path)
    assert (recorded.members, recorded.nonmembers, recorded.classes) == (n, m, k)
    np.testing.assert_array_equal(recorded.benign.nonmembers, arrays["output_test"])
    np.testing.assert_array_equal(recorded.labels.nonmembers, arrays["test_label"])


def test_the_two_classes_of_booleans_and_hard_answers_are_distributions_too(save):
    arrays = form(k=2)
    arrays["output_train"] = np.eye(2, dtype=np.int64)[arrays["train_label"]]
    arrays["train_label"] = arrays["train_label"].astype(bool)
    recorded = read_recorded(save(**arrays))
    assert correct(recorded, "benign")[0].all()
    arrays["output_test"] = np.eye(2, dtype=bool)[arrays["test_label"]]
    members, nonmembers = scores(read_recorded(save(**arrays)), "benign")
    assert members.dtype == np.float64
    assert members.min() == nonmembers.min() == 1


def test_sides_of_different_precision_meet_in_the_finer_one(save):
    arrays = form()
    arrays["output_test"] = arrays["output_test"].astype(np.float32)
    members, nonmembers = scores(read_recorded(save(**arrays)), "benign")
    assert members.dtype == nonmembers.dtype == np.float64
    own = arrays["output_test"][np.arange(5), arrays["test_label"]]
    np.testing.assert_array_equal(nonmembers, own)


def test_rows_that_were_rounded_are_read_and_said_so(save):
    arrays = form(n=400, k=10)
    arrays["output_train"] = np.round(arrays["output_train"], 3).astype(np.float32)
    assert "output_train was rounded to 3 decimals" in read_recorded(save(**arrays)).notes[0]


@pytest.mark.parametrize("digits", [4, 5, 6])
def test_rows_printed_with_a_few_digits_are_read(save, digits):
    arrays = form(n=50, k=38)
    arrays["output_train"] = np.round(arrays["output_train"], digits)
    assert read_recorded(save(**arrays)).members == 50


def test_a_softmax_in_float32_may_end_just_above_1(save):
    arrays = form(n=2, k=2, dtype=np.float32)
    arrays["output_train"] = np.array([[1.0000001, 0], [0, 1]], np.float32)
    assert read_recorded(save(**arrays)).benign.members.max() > 1


def test_unknown_arrays_are_not_read_but_told_with_what_was_perhaps_meant(save):
    arrays = form() | {
        "output_trian_adversarial": probabilities(7, 4),
        "comment": np.array({"python": "object"}, dtype=object),
    }
    assert read_recorded(save(**arrays)).notes[0] == (
        "Ignored in the file: comment, output_trian_adversarial"
        " (did you mean output_train_adversarial for output_trian_adversarial?)."
    )


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda a: {"output_test": a["output_train"], "test_label": a["train_label"]}, "identical"),
        (
            lambda a: {
                "output_train_adversarial": a["output_train"],
                "output_test_adversarial": a["output_test"],
            },
            "Adversarial answers equal the benign ones",
        ),
        (
            lambda a: {"train_label": a["output_train"].argmin(1)},
            "Only 0.0% of the members are classified correctly",
        ),
    ],
)
def test_what_is_allowed_but_most_likely_a_mistake_is_noted(save, change, note):
    arrays = form()
    arrays["train_label"] = arrays["output_train"].argmax(1)
    assert any(note in each for each in read_recorded(save(**arrays | change(arrays))).notes)


def test_neither_the_name_nor_the_suffix_of_the_file_matters(save):
    arrays = form()
    recorded = read_recorded(save("model.v2.bin", compressed=True, **arrays))
    assert recorded.name == "model.v2"
    assert read_recorded(save("x.npz", **arrays), name="mine").name == "mine"
    assert read_recorded(str(save("y.npz", **arrays))).name == "y"
    with pytest.raises(BadInput, match="Give the model a name"):
        read_recorded(save("z.npz", **arrays), name=" ")


def test_reading_and_the_null_run_need_no_torch(save):
    code = (
        "import sys; from trilemma.experiments.recorded import read_recorded, scores;"
        "from trilemma.experiments.selftests import null_run;"
        f"null_run(scores(read_recorded({str(save(**form(m=40)))!r}), 'benign')[1], 0);"
        "print(sorted({'torch', 'sklearn', 'jaxtyping', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.xfail(strict=True, reason="negative control: sides must not be exchanged")
def test_exchanged_sides_are_noticed(save):
    arrays = form()
    exchanged = {
        "output_train": arrays["output_test"],
        "output_test": arrays["output_train"],
        "train_label": arrays["test_label"],
        "test_label": arrays["train_label"],
    }
    recorded = read_recorded(save(**exchanged))
    np.testing.assert_array_equal(recorded.benign.members, arrays["output_train"])
