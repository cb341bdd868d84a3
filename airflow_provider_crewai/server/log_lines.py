"""The server's own log: one printable line per event, even if it quotes texts of crews, webhooks and requests."""

from __future__ import annotations

import logging

from airflow_provider_crewai.wire.words import line, printable

_LONGEST = 600


class OneLine(logging.Formatter):
    """Writes a record as one line, so that no text in it can forge another. Indents the lines of a traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Format the line."""
        record.message = line(record.message, _LONGEST)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802 - the same
        """Format a traceback."""
        return "\n".join(f"    {printable(each[:_LONGEST])}" for each in super().formatException(ei).splitlines())  # type: ignore[arg-type]


def one_line_handler() -> logging.Handler:
    """Return a handler that writes to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    return handler
