"""From the audit document to pages, tables and test results: no torch, no network."""

from trilemma.experiments.reports.document import Document, schema, validate
from trilemma.experiments.reports.html import render_html
from trilemma.experiments.reports.junit import render_junit
from trilemma.experiments.reports.markdown import render_markdown
from trilemma.experiments.reports.text import render_text
from trilemma.experiments.reports.verdict import verdict

__all__ = [
    "Document",
    "render_html",
    "render_junit",
    "render_markdown",
    "render_text",
    "schema",
    "validate",
    "verdict",
]
