"""The audit as JUnit XML: what a build server shows as tests."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as Xml

from trilemma.experiments.reports.document import Document

Condition = Mapping[str, Any]

# What XML 1.0 cannot carry, not even escaped.
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(document: Document, conditions: Sequence[Condition]) -> str:
    """One test case a condition, a failed stage and a self-test.

    A condition that holds is a failure; one that cannot be evaluated is an error, as is a stage
    that failed; a self-test that warns or cannot be evaluated is skipped, with its summary.

    Args:
        document: a valid audit document (see `validate`).
        conditions: of `--fail-if`: `{"text", "model", "metric", "holds", "observed", "reason"}`,
            where `holds` is None when the sample cannot say.

    Returns:
        An XML document.
    """
    suites = [
        _suite("conditions", [_condition(condition) for condition in conditions]),
        _suite("stages", [_failure(failure) for failure in document["failures"]]),
        _suite("self-tests", [_check(*check) for check in _checks(document)]),
    ]
    kept = [suite for suite in suites if len(suite)]
    root = Xml.Element("testsuites", {"name": _text(f"audit of {document['name']}")})
    for suite in kept:
        suite.set("timestamp", _text(str(document["created"]).removesuffix("Z")))
        root.append(suite)
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in kept)))
    root.set("time", "0")
    Xml.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"
    )


def _suite(name: str, cases: Sequence[Xml.Element]) -> Xml.Element:
    suite = Xml.Element("testsuite", {"name": name, "tests": str(len(cases)), "time": "0"})
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(sum(case.find(tag) is not None for case in cases)))
    suite.extend(cases)
    return suite


def _case(group: str, name: str) -> Xml.Element:
    place = {"classname": _text(f"trilemma.{group}"), "name": _text(name), "time": "0"}
    return Xml.Element("testcase", place)


def _condition(condition: Condition) -> Xml.Element:
    case = _case("conditions", str(condition["text"]))
    about = f"model {condition.get('model') or 'any'}, {condition.get('metric')}"
    if condition["holds"] is None:
        reason = condition.get("reason") or "the sample cannot say"
        _outcome(case, "error", "not evaluable", f"{about} is not evaluable: {reason}")
    elif condition["holds"]:
        observed = condition.get("observed")
        _outcome(case, "failure", "condition holds", f"{about} is {observed}")
    return case


def _failure(failure: Mapping[str, Any]) -> Xml.Element:
    case = _case("stages", str(failure["stage"]))
    _outcome(case, "error", str(failure.get("kind") or "failed"), str(failure["error"]))
    return case


def _checks(document: Document) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for name, check in document["self_tests"].items():
        yield "self-tests", name, check
    for model, about in document["models"].items():
        for name, check in about["self_tests"].items():
            yield f"self-tests.{model}", name, check


def _check(group: str, name: str, check: Mapping[str, Any]) -> Xml.Element:
    case = _case(group, name)
    if check["status"] != "pass":
        kind = "warning" if check["status"] == "warn" else "not evaluable"
        _outcome(case, "skipped", kind, f"{kind}: {check['summary']}")
    return case


def _outcome(case: Xml.Element, tag: str, kind: str, message: str) -> None:
    first = message.strip().splitlines()[0] if message.strip() else kind
    attributes = {"message": _text(first)}
    if tag != "skipped":
        attributes["type"] = _text(kind)
    Xml.SubElement(case, tag, attributes).text = _text(message)


def _text(text: str) -> str:
    return FORBIDDEN.sub("�", text)
