"""The account of what an oracle was asked, which survives a kill (Li et al. 2023, section 2).

Extraction is judged by its queries, so that what was sent counts whatever becomes of the process
that sent it: each call is written down before it is sent, and its answer as soon as it is there.
"""

import hashlib
import sqlite3
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from trilemma.core.errors import BadInput, BudgetExceeded
from trilemma.core.types import Probs, Rows
from trilemma.oracles.protocol import Oracle

_TABLES = """
CREATE TABLE IF NOT EXISTS account (
    one INTEGER PRIMARY KEY CHECK (one = 1), spent INTEGER, first INTEGER, spent_before INTEGER);
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY, question BLOB, answer BLOB, spent_until INTEGER);
CREATE TABLE IF NOT EXISTS known (question BLOB PRIMARY KEY, answer BLOB, since INTEGER);
INSERT OR IGNORE INTO account VALUES (1, 0, 0, 0);
"""


class Ledger:
    """An oracle that answers `limit` rows in all, over all processes that ever use its file.

    A process that was killed and starts again at a `mark` asks the same questions again; those that
    had been answered since are answered from the file and cost nothing. A call that was sent and
    whose answer was lost is paid for twice.

    Args:
        inner: what answers.
        limit: rows, at least 0.
        path: the file; made if absent. None keeps the account in memory.
        once: an input that was asked about before is answered from memory and counted once.

    Attributes:
        mark: how many calls were answered; see `rewind`.

    Raises:
        BadInput: a negative limit; a file that is no account.
        BudgetExceeded: on a call that would pass the limit; nothing of it is sent.

    Example:
        >>> import torch
        >>> from trilemma.oracles import Local
        >>> oracle = Ledger(Local(torch.nn.Linear(2, 3), classes=3), limit=10, once=True)
        >>> _ = oracle(torch.zeros(4, 2))
        >>> oracle.spent
        1
    """

    def __init__(
        self, inner: Oracle, limit: int, path: Path | None = None, *, once: bool = False
    ) -> None:
        if limit < 0:
            raise BadInput("limit", f"is {limit}", "Give a number of rows >= 0")
        self.inner, self.limit, self.once = inner, limit, once
        self._file = _opened(path)
        self.mark = self._first

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    @property
    def spent(self) -> int:
        """Rows sent so far."""
        return int(self._file.execute("SELECT spent FROM account").fetchone()[0])

    @property
    def left(self) -> int:
        """Rows that may still be sent; after a `rewind`, as it was at that mark."""
        row = self._file.execute("SELECT 1 FROM calls WHERE number = ?", (self.mark,)).fetchone()
        return self.limit - (self.spent if row is None else self._spent_before())

    def payable(self, x: Rows) -> Bool[Tensor, " n"]:
        """Which rows a call may have within the limit: the first `left` that are not known, and
        with `once` all that are.
        """
        if not self.once:
            return torch.arange(len(x)) < self.left
        left, free = self.left, set[bytes]()
        found = []
        for question in map(_digest, x):
            if question not in free and not self._knew(question):
                if left == 0:
                    found.append(False)
                    continue
                left -= 1
                free.add(question)
            found.append(True)
        return torch.tensor(found, dtype=torch.bool)

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities; what is sent is added to `spent`."""
        question = _digest(x)
        row = self._file.execute(
            "SELECT answer FROM calls WHERE number = ? AND question = ?", (self.mark, question)
        ).fetchone()
        answer = self._asked(x) if row is None else self._read(row[0])
        if row is None:
            with self._file:
                self._file.execute("BEGIN")
                # the calls from here on belonged to another continuation
                self._file.execute("DELETE FROM calls WHERE number >= ?", (self.mark,))
                kept = (self.mark, question, _bytes(answer), self.spent)
                self._file.execute("INSERT INTO calls VALUES (?, ?, ?, ?)", kept)
        self.mark += 1
        return answer

    def rewind(self, mark: int) -> None:
        """Go back to an earlier `mark`, from which on the same questions are answered again.

        What was answered before it is forgotten.

        Raises:
            BadInput: there was no such mark, or what followed it is forgotten.
        """
        last = self._file.execute("SELECT max(number) FROM calls").fetchone()[0]
        end = self._first if last is None else last + 1
        if not self._first <= mark <= end:
            raise BadInput(
                "query ledger",
                f"can go on at calls {self._first} to {end}, and is asked to at {mark}",
            )
        self.mark = mark

    def forget(self) -> None:
        """Give up the answers before `mark`, once nothing will go back behind it."""
        with self._file:
            self._file.execute("BEGIN")
            here = (self.mark, self._spent_before())
            self._file.execute("UPDATE account SET first = ?, spent_before = ?", here)
            self._file.execute("DELETE FROM calls WHERE number < ?", (self.mark,))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def _first(self) -> int:
        """The earliest mark that it can go back to."""
        return int(self._file.execute("SELECT first FROM account").fetchone()[0])

    def _spent_before(self) -> int:
        """Rows sent by the calls before `mark`."""
        found = "SELECT spent_until FROM calls WHERE number = ?"
        row = self._file.execute(found, (self.mark - 1,)).fetchone()
        row = row or self._file.execute("SELECT spent_before FROM account").fetchone()
        return int(row[0])

    def _asked(self, x: Rows) -> Probs:
        if not self.once:
            return self._sent(x)
        questions = [_digest(row) for row in x]
        unknown = {q: place for place, q in reversed([*enumerate(questions)]) if not self._knows(q)}
        if unknown:
            fresh = sorted(unknown.values())
            answers = self._sent(x[fresh])
            rows = [
                (questions[place], _bytes(a), self.mark)
                for place, a in zip(fresh, answers, strict=True)
            ]
            with self._file:
                self._file.execute("BEGIN")
                self._file.executemany("INSERT OR IGNORE INTO known VALUES (?, ?, ?)", rows)
        found = [self._known(question) for question in questions]
        return torch.cat(found) if found else self._sent(x)

    def _sent(self, x: Rows) -> Probs:
        """What the oracle answers, counted before it is asked."""
        with self._file:
            self._file.execute("BEGIN IMMEDIATE")  # no other process spends meanwhile
            spent = self.spent
            if spent + len(x) > self.limit:
                raise BudgetExceeded(asked=len(x), spent=spent, limit=self.limit)
            self._file.execute("UPDATE account SET spent = spent + ?", (len(x),))
        return self.inner(x)

    def _knows(self, question: bytes) -> bool:
        return bool(
            self._file.execute("SELECT 1 FROM known WHERE question = ?", (question,)).fetchone()
        )

    def _knew(self, question: bytes) -> bool:
        """Whether it was known before the call at `mark`, which may be one that is made again."""
        made = self._file.execute("SELECT 1 FROM calls WHERE number = ?", (self.mark,)).fetchone()
        until = self.mark if made else self.mark + 1  # what a kill cut off is paid for
        found = "SELECT 1 FROM known WHERE question = ? AND since < ?"
        return bool(self._file.execute(found, (question, until)).fetchone())

    def _known(self, question: bytes) -> Probs:
        row = self._file.execute("SELECT answer FROM known WHERE question = ?", (question,))
        return self._read(row.fetchone()[0])

    def _read(self, answer: bytes) -> Probs:
        numbers = np.frombuffer(answer, dtype="<f8").reshape(-1, self.classes)
        return torch.from_numpy(numbers.copy())


def _opened(path: Path | None) -> sqlite3.Connection:
    # transactions are begun by name
    file = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
    try:
        file.execute("PRAGMA synchronous = FULL")  # on the disk before it counts as done
        file.executescript(_TABLES)
        file.execute("SELECT spent, first FROM account").fetchone()
    except sqlite3.DatabaseError as error:
        file.close()
        raise BadInput(f"query ledger {path}", f"cannot be used: {error}") from None
    return file


def _digest(x: Tensor) -> bytes:
    """Of the numbers of a tensor, their type and its shape."""
    about = f"{x.dtype} {tuple(x.shape)}".encode()
    numbers = x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.blake2b(about + numbers.tobytes(), digest_size=16).digest()


def _bytes(answer: Tensor) -> bytes:
    return answer.detach().double().cpu().contiguous().numpy().astype("<f8").tobytes()
