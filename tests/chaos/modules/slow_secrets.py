"""A secrets backend that takes its time, or is away: what it does stands in a file, and changes with it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from airflow.secrets import BaseSecretsBackend


class SlowSecrets(BaseSecretsBackend):
    """Knows the connections in its file, an object with `seconds`, `away` and `connections`."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)

    def get_conn_value(self, conn_id: str, *_: Any, **__: Any) -> str | None:
        told = json.loads(self._file.read_text())
        connection = told["connections"].get(conn_id)
        if connection is None:
            return None
        time.sleep(told["seconds"])
        if told["away"]:
            raise ConnectionError("the vault is sealed")
        return json.dumps(connection)
