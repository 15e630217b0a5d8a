"""JUnit XML: a build server shows what holds, what failed and what cannot be told."""

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as Xml

from hypothesis import given
from hypothesis import strategies as st

from trilemma.experiments.reports import render_junit

Json = dict[str, Any]


def condition(holds: bool | None, **other: Any) -> Json:
    return {
        "text": "confidence.auc.low > 0.6",
        "model": "natural",
        "metric": "confidence.auc.low",
        "holds": holds,
        "observed": None if holds is None else 0.61,
        "reason": "too few rows" if holds is None else "",
        **other,
    }


def suites(text: str) -> dict[str, Xml.Element]:
    root = Xml.fromstring(text.encode())
    assert root.tag == "testsuites"
    found = {suite.attrib["name"]: suite for suite in root}
    for count in ("tests", "failures", "errors", "skipped"):
        assert int(root.attrib[count]) == sum(int(s.attrib[count]) for s in found.values())
    for suite in found.values():
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[count]) == len(suite.findall(f"testcase/{tag}"))
        assert all(case.attrib["name"] and case.attrib["classname"] for case in cases)
    return found


def test_conditions(document: Json) -> None:
    found = suites(render_junit(document, [condition(True), condition(False), condition(None)]))
    holds, not_, unknown = found["conditions"].findall("testcase")
    failure = holds.find("failure")
    assert failure is not None
    assert failure.attrib["message"] == "model natural, confidence.auc.low is 0.61"
    assert len(not_) == 0
    error = unknown.find("error")
    assert error is not None
    assert error.attrib["message"].endswith("confidence.auc.low is not evaluable: too few rows")


def test_lost_stages_are_errors(named_document: Callable[[str], Json]) -> None:
    found = suites(render_junit(named_document("incomplete"), []))
    assert "conditions" not in found
    first, second = found["stages"].findall("testcase/error")
    assert first.attrib["message"].startswith("MemoryError: 2.0 GiB")
    assert first.text is not None
    assert "second line" in first.text
    assert second.attrib["message"] == "no scikit-learn"


def test_self_tests(named_document: Callable[[str], Json]) -> None:
    found = suites(render_junit(named_document("incomplete"), []))
    skipped = {
        case.attrib["name"]: skip.attrib["message"]
        for case in found["self-tests"].findall("testcase")
        if (skip := case.find("skipped")) is not None
    }
    assert skipped == {
        "blind": "not evaluable: failed",
        "duplicates": "warning: 12 rows are members and non-members",
    }
    assert int(found["self-tests"].attrib["tests"]) == 2 + 2 * 3


def test_any_document_is_valid_xml(any_document: Json) -> None:
    suites(render_junit(any_document, [condition(True), condition(None, model=None)]))


@given(st.text(), st.text())
def test_any_text_is_valid_xml(text: str, reason: str) -> None:
    document = {
        "name": text,
        "created": "2026-11-22T03:00:00Z",
        "failures": [{"stage": text, "error": reason}],
        "self_tests": {},
        "models": {},
    }
    root = Xml.fromstring(render_junit(document, [condition(None, reason=reason)]).encode())
    assert root.find("testsuite/testcase/error") is not None
