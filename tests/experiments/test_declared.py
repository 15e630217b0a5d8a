"""Reading declared experiments: strict YAML, paths from the file's own folder."""

from pathlib import Path

import pytest

from trilemma.core.errors import BadInput
from trilemma.experiments.declared import (
    DEMO,
    Own,
    choose,
    from_model,
    from_predictions,
    portable,
    read,
)


def test_paths_are_read_from_the_files_folder_and_the_name_from_its_stem(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("models: {a: {predictions: sub/p.npz}, b: {weights: w.safetensors}}\n")
    table = read(file)
    assert table["name"] == "mine"
    assert table["models"]["a"]["predictions"] == str(tmp_path / "sub" / "p.npz")
    assert table["models"]["b"]["weights"] == str(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: [", "is not YAML"),
        ("- a\n- b\n", "holds list, not a mapping"),
        ("", "holds NoneType, not a mapping"),
        ("name: a\nname: b\n", "key 'name' stands twice, again in line 2"),
        ("models: {a: {x: 1, x: 2}}\n", "key 'x' stands twice"),
        ("models: {no: {predictions: p.npz}}\n", "write 'no' in quotes"),
        ("models: {1: {predictions: p.npz}}\n", "write '1' in quotes"),
        ("a: !!python/object/apply:os.system ['true']\n", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, content, said):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=said):
        read(file)


def test_no_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        read(tmp_path / "none.yaml")
    with pytest.raises(BadInput, match="is a folder"):
        read(tmp_path)


def test_the_demo_is_declared():
    assert set(read(DEMO)["models"]) == {"natural", "robust"}


def test_recorded_models_are_named_by_their_files_or_by_name():
    files = [Path("a.npz"), Path("deep/b.csv")]
    assert list(from_predictions(files, [])["models"]) == ["a", "b"]
    assert list(from_predictions(files, ["x", "y"])["models"]) == ["x", "y"]
    with pytest.raises(BadInput, match="1 names for 2 models"):
        from_predictions(files, ["x"])
    with pytest.raises(BadInput, match="a names two models"):
        from_predictions([Path("a.npz"), Path("deep/a.csv")], [])


def test_a_models_table_needs_both_kinds_of_rows():
    def table(names=(), **changes):
        given = {"members": Path("m.npz"), "nonmembers": Path("n.npz"), "eps": "8/255"}
        own = Own(factory="pkg.mod:factory", weights=Path("w.safetensors"), **(given | changes))
        return from_model(own, list(names))

    built = table()
    assert list(built["models"]) == ["w"]
    assert Path(built["data"]["members"]).is_absolute()
    assert built["attacks"]["confidence_adversarial"]["attack"]["ball"]["radius"] == "8/255"
    assert list(table(eps=None)["attacks"]) == ["confidence"]
    assert list(table(names=["mine"])["models"]) == ["mine"]
    for missing in ("members", "nonmembers"):
        with pytest.raises(BadInput, match=f"--{missing}: is missing"):
            table(**{missing: None})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "got none of them"),
        ({"file": Path("x.yaml"), "predictions": [Path("p.npz")]}, "FILE and --predictions"),
        ({"predictions": [Path("p.npz")], "own": Own(eps="0.1")}, "--eps: does not apply"),
        ({"predictions": [Path("p.npz")], "own": Own(seed=0)}, "--seed: does not apply"),
        ({"file": Path("x.yaml"), "names": ["a"]}, "--name: does not apply to FILE"),
    ],
)
def test_an_option_of_another_form_is_refused_not_ignored(given, said):
    asked = {"file": None, "own": Own(), "predictions": [], "names": [], **given}
    with pytest.raises(BadInput, match=said):
        choose(**asked)


def test_a_report_names_files_not_places():
    table = {"models": {"a": {"weights": "/deep/in/w.safetensors"}}, "name": "/not/a/path"}
    assert portable(table) == {"models": {"a": {"weights": "w.safetensors"}}, "name": "/not/a/path"}
