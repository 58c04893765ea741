"""The one error a user can mend.

Whatever a user supplied - a file, a recipe, a folder, a command line - and we cannot take raises `HPEditError`: what
is wrong and where, with a hint that says how to mend it. The command line prints the two lines and exits with 2.
Everything else that is raised is a bug and keeps its traceback; invariants use `assert`.
"""

from __future__ import annotations


class HPEditError(ValueError):
    """Bad input. `message` names what and where in one sentence; `hint` (may be empty) says how to mend it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
