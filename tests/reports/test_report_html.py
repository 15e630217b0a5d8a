"""The page: every number without JavaScript, nothing from the network, nothing unescaped."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import TrilemmaError
from trilemma.experiments.reports import html as page_module
from trilemma.experiments.reports import render_html
from trilemma.experiments.reports.html import plain, script_json
from trilemma.experiments.reports.quantities import accuracies, quantity, shown

Json = dict[str, Any]
LOADING = ("src", "srcset", "href", "action", "data", "poster", "formaction", "xlink:href")


class Page(HTMLParser):
    """Tags with their attributes, scripts, and the text that is read without JavaScript."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.text = ""
        self.open = ""
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.open == "style":
            self.styles.append(data)
        else:
            self.text += f" {data}"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(any_document: Json) -> Page:
    return Page(render_html(any_document))


def numbers(document: Json) -> Iterator[str]:
    """Every number of the document as it must be printed."""
    for model in document["models"].values():
        for name, metric in model["accuracy"].items():
            for each in (metric, *metric.get("seeds", [])):
                yield from vars(shown(each, accuracies(document)[name])).values()
        for metrics in model["membership"].values():
            for name, metric in metrics.items():
                for each in (metric, *metric.get("seeds", [])):
                    yield from vars(shown(each, quantity(name))).values()
        for curve in model["curves"].values():
            for part in ("loss", "histogram"):
                yield from (f"{count:g}" for count in curve[part]["members"])


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def test_every_number_is_there_without_javascript(any_document: Json) -> None:
    text = Page(render_html(any_document)).text
    for number in set(numbers(any_document)):
        assert " ".join(number.split()) in text, number


def test_every_text_is_there(any_document: Json) -> None:
    text = Page(render_html(any_document)).text
    provenance = any_document["provenance"]
    parts = [
        *texts(any_document["verdict"]),
        *texts(any_document["failures"]),
        *texts(provenance["data"]),
        *texts(provenance["packages"]),
        *texts(any_document["methods"]),
        *(each["title"] for each in any_document["models"].values()),
        *(str(seed) for seed in provenance["seeds"]),
    ]
    for part in filter(None, parts):
        assert " ".join(part.split()) in text, part
    for model in any_document["models"].values():
        for check in model["self_tests"].values():
            summary = check["summary"]
            assert " ".join((summary[:1].upper() + summary[1:]).split()) in text
    assert "EDPB Opinion 28/2024" in text
    assert "MITRE ATLAS" in text
    assert "NIST AI 100-2" in text


def test_the_first_thing_said_is_what_is_missing(named_document: Callable[[str], Json]) -> None:
    document = named_document("incomplete")
    text = render_html(document)
    body = text[text.index("<main") :]
    assert Page(body).text.startswith(document["verdict"]["headline"])
    assert document["verdict"]["sentences"][0] in Page(body).text
    assert "<title>Incomplete audit of digits" in text


def test_an_audit_that_lost_everything(named_document: Callable[[str], Json]) -> None:
    document = named_document("incomplete") | {"models": {}}
    text = Page(render_html(document)).text
    assert "No model is left to be shown" in text
    assert "MemoryError" in text


def test_nothing_from_outside_is_markup(named_document: Callable[[str], Json]) -> None:
    plain_page = Page(render_html(named_document("incomplete")))
    hostile = Page(render_html(named_document("hostile")))
    assert len(hostile.scripts) == len(plain_page.scripts) == 4
    assert not hostile.all("img")
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain_page.tags]
    names = {name for _, attributes in hostile.tags for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    assert "</script><script>alert(1)" in hostile.text


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_script_json_is_json_that_ends_no_script(value: Any) -> None:
    text = str(script_json(value))
    assert not set("<>&") & set(text)
    assert text.isascii()
    assert json.loads(text) == value


def test_the_whole_document_travels_with_the_page(any_document: Json) -> None:
    scripts = {a.get("id"): body for a, body in Page(render_html(any_document)).scripts}
    assert json.loads(scripts["document"]) == any_document


def test_nothing_is_loaded(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name in LOADING:
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
        assert "url(" not in (attributes.get("style") or "")
    for style in page.styles:
        assert "url(" not in style
        assert "@import" not in style


def test_the_policy_lets_in_these_scripts_and_nothing_else(page: Page) -> None:
    (policy,) = (m["content"] for m in page.all("meta") if m.get("http-equiv"))
    rules = dict(rule.split(maxsplit=1) for rule in str(policy).split("; "))
    assert rules["default-src"] == "'none'"
    for name, sources in rules.items():
        assert "http" not in sources, name
    run = [body for attributes, body in page.scripts if "type" not in attributes]
    hashes = {base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in run}
    assert rules["script-src"] == " ".join(
        source for source in rules["script-src"].split() if source.startswith("'sha256-")
    )
    assert {source[8:-1] for source in rules["script-src"].split()} == hashes


def test_structure_for_screen_readers(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert all(len(page.all(tag)) == 1 for tag in ("h1", "main", "header", "nav", "footer"))
    assert len(page.all("caption")) == len(page.all("table")) > 0
    assert all(cell.get("scope") in ("col", "row", "rowgroup") for cell in page.all("th"))
    first_link = page.all("a")[0]
    assert first_link["href"] == "#main"
    labelled = {a.get("aria-labelledby") for a in page.all("section")}
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert labelled <= ids


def test_the_same_document_makes_the_same_page(document: Json) -> None:
    assert render_html(document) == render_html(document)


def test_the_page_is_not_heavier_than_its_plots(document: Json) -> None:
    text = render_html(document)
    assert len(text) - len(page_module._plotly()) < 600_000


def test_no_torch_no_plotly_no_rich_for_a_page() -> None:
    code = (
        "import sys; from trilemma.experiments.reports import html; html._plotly();"
        "heavy = ('torch', 'plotly', 'rich', 'scipy.stats', 'jaxtyping');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_says_when_plotly_is_not_there(monkeypatch: pytest.MonkeyPatch, document: Json) -> None:
    monkeypatch.setattr(page_module, "find_spec", lambda name: None)
    with pytest.raises(TrilemmaError, match="pip install --force-reinstall plotly"):
        render_html(document)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (0.1, "0.1"),
        (3, "3"),
        ({"a": 1, "b": [1, 2]}, "a: 1, b: 1, 2"),
        ({"kind": "Linf", "REVISION": 2, "radius": 0.25, "x": None}, "Linf(radius=0.25)"),
        ({}, "none"),
        ([], "none"),
    ],
)
def test_values_in_words(value: object, text: str) -> None:
    assert plain(value) == text


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", ["page.css", "dark.css"])
def test_what_is_drawn_stands_out(theme: str, page_file: Callable[[str], str]) -> None:
    """WCAG 2.2, 1.4.11: graphics at 3 to 1 against what they are drawn on."""
    colours = dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]{6})", page_file(theme)))
    drawn = ["--members", "--nonmembers", "--focus", *(f"--series-{i}" for i in range(1, 9))]
    surface = luminance(colours["--surface"])
    for name in drawn:
        low, high = sorted((luminance(colours[name]), surface))
        assert (high + 0.05) / (low + 0.05) >= 3, name
