"""The server's own log: a printable line for each event, whatever texts of crews, webhooks and requests are in it."""

from __future__ import annotations

import logging

from airflow_provider_crewai.wire.words import line, printable

_LONGEST = 600


class OneLine(logging.Formatter):
    """Writes a record as one line, which no text in it can break or forge. The lines of a traceback are indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Write the line."""
        record.message = line(record.message, _LONGEST)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802 - the same
        """Write a traceback."""
        return "\n".join(f"    {printable(each[:_LONGEST])}" for each in super().formatException(ei).splitlines())  # type: ignore[arg-type]


def one_line_handler() -> logging.Handler:
    """Return a handler that writes to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    return handler
