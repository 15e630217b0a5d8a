"""What a test run promises: isolation, one thread, checked shapes, a count of the skipped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_store_and_cache_are_this_tests_own(tmp_path: Path) -> None:
    assert Path(os.environ["TRILEMMA_STORE"]).is_relative_to(tmp_path)
    assert Path(os.environ["TRILEMMA_CACHE"]).is_relative_to(tmp_path)
    assert "TRILEMMA_DATA" not in os.environ


def test_the_variable_names_the_data_folder(data_folder: Path) -> None:
    assert os.environ["TRILEMMA_DATA"] == str(data_folder)


def test_torch_has_one_thread() -> None:
    import torch

    assert torch.get_num_threads() == 1


def test_shapes_are_checked_on_every_call() -> None:
    import torch
    from jaxtyping import TypeCheckError

    from trilemma.core.balls import Linf

    delta = torch.tensor([[0.5, -0.5]])
    torch.testing.assert_close(Linf(0.1).project(delta), torch.tensor([[0.1, -0.1]]))
    with pytest.raises(TypeCheckError):
        Linf(0.1).project(delta.long())


@pytest.mark.parametrize(("there", "line"), [(True, "data: 0"), (False, "data: 1")])
def test_missing_data_are_counted(tmp_path: Path, there: bool, line: str) -> None:
    folder = tmp_path if there else tmp_path / "none"
    test = f"{__file__}::test_the_variable_names_the_data_folder"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={**os.environ, "TRILEMMA_DATA": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"skipped for missing {line}" in run.stdout
