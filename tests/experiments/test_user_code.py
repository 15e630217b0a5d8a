"""The fingerprint of a user's code changes with what the model may depend on, and only then."""

import subprocess
import sys

import pytest

from trilemma.core.errors import BadInput
from trilemma.experiments.user_code import parse, user_model_fingerprint

FILES = {
    "unit_models/__init__.py": "",
    "unit_models/net.py": "import torch, numpy\nfrom . import layers\nfrom unit_extra import *\n",
    "unit_models/layers.py": "from .deep.block import Block\n",
    "unit_models/deep/__init__.py": "",
    "unit_models/deep/block.py": "import unit_models.net\nclass Block: ...\n",
    "unit_models/other.py": "",
    "unit_extra.py": "x = 1\n",
    "unit_alone.py": "",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("changed", FILES)
def test_a_change_counts_where_the_model_may_depend_on_it(here, changed):
    before = user_model_fingerprint("unit_models.net:build", None)
    assert user_model_fingerprint("unit_models.net:build", None) == before
    (here / changed).write_text("changed = True\n")
    unrelated = changed in {"unit_models/other.py", "unit_alone.py"}
    assert (user_model_fingerprint("unit_models.net:build", None) == before) == unrelated


def test_the_attribute_and_the_weights_count_but_not_where_they_lie(here):
    plain = user_model_fingerprint("unit_alone:build", None)
    assert user_model_fingerprint("unit_alone:other", None) != plain
    (here / "a").write_bytes(b"1")
    (here / "b").write_bytes(b"1")
    first = user_model_fingerprint("unit_alone:build", here / "a")
    assert first not in (plain, user_model_fingerprint("unit_models:build", here / "a"))
    assert first == user_model_fingerprint("unit_alone:build", here / "b")
    (here / "b").write_bytes(b"2")
    assert first != user_model_fingerprint("unit_alone:build", here / "b")


def test_code_that_cannot_be_parsed_has_a_fingerprint_too(here):
    (here / "unit_alone.py").write_text("def broken(:\n")
    assert len(user_model_fingerprint("unit_alone:build", None)) == 32


def test_an_installed_package_is_found_without_importing_it(here):
    code = (
        "import sys; from trilemma.experiments.user_model import user_model_fingerprint as f;"
        "f('torch.nn:Identity', None); f('unit_models.net:build', None);"
        "print(sorted({'torch', 'unit_models'} & set(sys.modules)), '' in sys.path)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"


def test_the_import_path_is_left_as_it_was(here):
    before = list(sys.path)
    user_model_fingerprint("unit_alone:build", None)
    with pytest.raises(BadInput):
        user_model_fingerprint("unit_missing:build", None)
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("unit_alone", "has no colon. Write package.module:factory"),
        ("unit_alone:", "is no module and attribute"),
        (":build", "is no module and attribute"),
        ("unit alone:build", "is no module and attribute"),
        ("", "has no colon"),
        ("unit_models/net.py:build", "names a file. Write unit_models.net:build"),
        ("./net.py", "names a file. Write net:factory"),
        ("unit_missing:build", "there is no module 'unit_missing' in "),
        ("unit_models.missing:build", "there is no module 'unit_models.missing'"),
        ("unit_alone.net:build", "there is no module 'unit_alone.net'"),
    ],
)
def test_specs_that_name_no_module_are_refused(here, spec, message):
    with pytest.raises(BadInput, match=message.replace(".", r"\.")) as caught:
        user_model_fingerprint(spec, None)
    assert repr(spec) in str(caught.value)
    assert caught.value.fix


def test_weights_that_cannot_be_read(here):
    with pytest.raises(BadInput, match=r"none\.safetensors: cannot be read"):
        user_model_fingerprint("unit_alone:build", here / "none.safetensors")


def test_a_spec_is_a_module_and_an_attribute():
    assert parse(" a.b:c.d ") == ("a.b", "c.d")
