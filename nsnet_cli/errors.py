"""Every error that the tool raises on purpose, and the exit codes of the command line."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes; where several apply, the highest precedence is listed first."""

    INTERRUPTED = 130
    BAD_WEIGHTS = 4
    USAGE = 2
    INTERNAL = 1
    SOME_UNREADABLE = 3
    FAIL_ON = 10
    OK = 0


class NsnetError(Exception):
    """Base class.  The message says which file, what was found, what was expected, what to do."""

    exit_code = ExitCode.INTERNAL


class UsageError(NsnetError):
    """The request cannot be met as it was put."""

    exit_code = ExitCode.USAGE


class WeightsError(NsnetError):
    """Weights are missing, damaged, or do not fit each other."""

    exit_code = ExitCode.BAD_WEIGHTS


class InputError(NsnetError):
    """One picture could not be read; becomes the ``error`` of its row, never the end of a batch.

    ``code`` is one of the error codes of the result document.
    """

    exit_code = ExitCode.SOME_UNREADABLE

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
