"""The terminal's summary fits the terminal and drives it nowhere."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from trilemma.experiments.reports import render_text
from trilemma.experiments.reports.quantities import shown
from trilemma.experiments.reports.text import METRICS, quantity

Json = dict[str, Any]


def printed(document: Json, width: int = 100, *, colour: bool = False) -> str:
    out = StringIO()
    system = "standard" if colour else None
    console = Console(file=out, width=width, force_terminal=colour, color_system=system)
    console.print(render_text(document))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_fits(any_document: Json, width: int) -> None:
    lines = printed(any_document, width).splitlines()
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [80, 200])
def test_every_number_of_the_table_is_whole(
    width: int, named_document: Callable[[str], Json]
) -> None:
    for name in ("digits", "crowd"):
        document = named_document(name)
        text = printed(document, width)
        for model in document["models"].values():
            for metrics in model["membership"].values():
                for metric in METRICS:
                    each = shown(metrics[metric], quantity(metric))
                    assert f"{each.value}  {each.interval}" in text


def test_says_first_what_is_missing(named_document: Callable[[str], Json]) -> None:
    lines = printed(named_document("incomplete"), 200).splitlines()
    assert lines[0].startswith("This audit is incomplete")
    assert lines[1] == "  failed: blind classifier: no scikit-learn"
    assert "n/a: the attack failed with seed 1; see failures" in lines
    assert "! 2 stages failed: the numbers below rest on what is left." in lines


def test_outside_text_is_neither_markup_nor_control(document: Json) -> None:
    document["models"]["natural"]["title"] = "[bold]x[/bold]\x1b[31m"
    document["verdict"]["headline"] = "[link=http://e.vil]go[/link] \x1b]0;title\x07"
    text = printed(document)
    assert "[bold]x[/bold]" in text
    assert "[link=http://e.vil]go[/link]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_colour_only_where_it_is_wanted(document: Json) -> None:
    assert "\x1b[" in printed(document, colour=True)
    assert "\x1b[" not in printed(document)


def test_without_models(document: Json) -> None:
    assert document["verdict"]["headline"] in printed(document | {"models": {}}, 300)
