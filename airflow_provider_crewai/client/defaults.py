"""The default values, each in one place."""

from __future__ import annotations

CONN_ID = "crewai_default"
"""The Airflow connection."""

POLL_INTERVAL = 2.0
"""Seconds: the shortest wait between two looks at a run."""

MAX_POLL_INTERVAL = 60.0
"""Seconds: the longest wait between two looks at a run."""

UNREACHABLE_TIMEOUT = 900.0
"""Seconds for which the API may fail to answer before a task gives up."""

MAX_XCOM_BYTES = 1_048_576
"""Bytes of JSON: a larger answer goes to `result_path`, or the task warns of it."""

CALL_PATIENCE = 120.0
"""Seconds for which we try a one-shot call: a sleeping deployment takes a minute to wake."""

REQUEST_TIMEOUT = 30.0
"""Seconds for one request. Deployments sleep, and the first call after idle is slow."""

ON_HUMAN_TIMEOUT = "fail"
"""What happens when nobody responds to a question in time, unless an option is chosen then."""

WAIT = 86400.0
"""Seconds for which the operator waits for its run."""
