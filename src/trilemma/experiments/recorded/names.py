"""Telling what a file holds besides what was read, so that a mistyped name does not go unseen."""

import difflib
from collections.abc import Iterable


def ignored(unused: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """A note on the names that were not read; none if there are none."""
    names = sorted(unused)
    if not names:
        return ()
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return (f"Ignored in the file: {shown}{did_you_mean(names, known)}.",)


def did_you_mean(names: Iterable[str], known: Iterable[str]) -> str:
    """` (did you mean output_train for outptu_train?)`, or nothing where nothing is close."""
    known = list(known)
    pairs = []
    for name in names:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if close and close[0] != name:
            pairs.append(f"{close[0]} for {name}")
    return f" (did you mean {', '.join(pairs)}?)" if pairs else ""
