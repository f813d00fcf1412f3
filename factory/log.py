"""Structured logging: one line per event, on standard error."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from factory.redact import shown

_logger = logging.getLogger("factory")
# A library is silent unless the program that uses it says where events go.
_logger.addHandler(logging.NullHandler())


class _EventFormatter(logging.Formatter):
    """Formats `time level event key=value ...` as a single line, whatever the values contain."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        text = record.getMessage().replace("\n", "\\n")
        return f"{time} {record.levelname.lower():<7} {text}"


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Context manager: events go to standard error, unless the program says where they go."""
    handlers = [*_logger.handlers, *logging.getLogger().handlers]
    if any(not isinstance(handler, logging.NullHandler) for handler in handlers):
        yield
        return
    before = _logger.handlers[:], _logger.level, _logger.propagate
    start_log()
    try:
        yield
    finally:
        _logger.handlers[:], _logger.level, _logger.propagate = before


def start_log(level: str = "INFO") -> None:
    """Send events of `level` and above to standard error. Calling it again changes the level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_EventFormatter())
    _logger.handlers[:] = [handler]
    _logger.setLevel(level)
    _logger.propagate = False


def log_event(event: str, /, *, level: int = logging.INFO, **facts: object) -> None:
    """Log an event with key-value pairs, in the given order."""
    words = " ".join(f"{key}={_quoted(value)}" for key, value in facts.items())
    _logger.log(level, "%s", f"{event} {words}".rstrip())


def _quoted(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else shown(value)
    return repr(text) if " " in text or not text else text
