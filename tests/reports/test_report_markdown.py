"""Markdown for a pull request: the same numbers, and nothing that outside text could turn on."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from trilemma.experiments.reports import render_markdown
from trilemma.experiments.reports.markdown import METRICS, escaped
from trilemma.experiments.reports.quantities import ACCURACIES, quantity, shown

Json = dict[str, Any]
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]


def test_table_has_a_cell_for_every_number(any_document: Json) -> None:
    table = rows(render_markdown(any_document))
    models = any_document["models"]
    assert {len(row) for row in table} == {len(models) + 1}
    cells = {cell.strip() for row in table for cell in row}
    for model in models.values():
        printed = [shown(model["accuracy"][name], kind) for name, kind in ACCURACIES.items()]
        for metrics in model["membership"].values():
            printed += [shown(metrics[name], quantity(name)) for name in METRICS]
        for each in printed:
            numbers = f"**{each.value}** ({each.interval})"
            assert (f"n/a: {escaped(each.reason)}" if each.reason else numbers) in cells


def test_says_first_what_is_missing(named_document: Callable[[str], Json]) -> None:
    lines = render_markdown(named_document("incomplete")).splitlines()
    assert lines[0] == "## Audit of digits"
    assert lines[2].startswith("**This audit is incomplete")
    assert any(line.startswith("- Failed: blind classifier: no scikit-learn") for line in lines)


def test_provenance(named_document: Callable[[str], Json]) -> None:
    text = render_markdown(named_document("recorded"))
    assert "1900 members, 514 non-members. Seeds: none (recorded predictions)" in text


def tags(text: str) -> list[str]:
    return re.findall(r"</?[a-z0-9]+", READER.render(text))


def test_outside_text_turns_nothing_on(named_document: Callable[[str], Json]) -> None:
    hostile, tame = (render_markdown(named_document(name)) for name in ("hostile", "incomplete"))
    assert tags(hostile) == tags(tame)
    assert "<img" not in hostile
    assert "http://" not in hostile


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zs", "Zl", "Zp"])))
def test_escaped_text_reads_as_it_was(text: str) -> None:
    line = escaped(text)
    assert "\n" not in line
    inline = READER.render(f"a {line} z")
    assert re.findall(r"</?[a-z0-9]+", inline) == ["<p", "</p"]


@pytest.mark.parametrize("start", ["- a", "+ a", "# a", "1. a", "2) a", "=== a"])
def test_a_line_starts_no_block(start: str) -> None:
    assert tags(f"{escaped(start)}") == ["<p", "</p"]


def test_mentions_and_addresses_stay_text() -> None:
    line = escaped("@team see https://e.vil and www.e.vil")
    assert "@team" not in line
    assert "://" not in line
    assert "www." not in line
