"""HPEditError: the error for bad user input.

Invalid input of any kind - a file, a recipe, a folder, a command line - raises `HPEditError`: what is wrong and where,
with a hint that says how to fix it. The command line prints the two lines and exits with 2. Any other exception is a
bug and keeps its traceback; invariants use `assert`.
"""

from __future__ import annotations


class HPEditError(ValueError):
    """Bad input. `message` says what is wrong and where in one sentence; `hint` (may be empty) says how to fix it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
