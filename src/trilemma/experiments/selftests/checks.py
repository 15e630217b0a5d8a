"""What a self-test says: `status`, one sentence, and the numbers behind it, as in the document."""

from typing import Any, TypeAlias

Check: TypeAlias = dict[str, Any]


def passed(summary: str, **details: Any) -> Check:
    """Nothing wrong was found.

    Example:
        >>> passed("No duplicates.", across=0)
        {'status': 'pass', 'summary': 'No duplicates.', 'details': {'across': 0}}
    """
    return {"status": "pass", "summary": summary, "details": details}


def warned(summary: str, **details: Any) -> Check:
    """Something that a reader of the audit must know."""
    return {"status": "warn", "summary": summary, "details": details}


def not_evaluable(why: str) -> Check:
    """The question cannot be answered from what there is.

    Example:
        >>> not_evaluable("No inputs were recorded.")
        {'status': 'not_evaluable', 'summary': 'No inputs were recorded.'}
    """
    return {"status": "not_evaluable", "summary": why}
