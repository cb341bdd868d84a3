"""What all tests share."""

from __future__ import annotations

import os
import signal

import pytest
from support.effort import leave_out, load_profile
from watcher import MARK, new_mark, watch

load_profile()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs deaf to Ctrl-C, and what tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" not in os.environ:
    # What tests start bears a mark, by which it is found and ended when they are over, even if they were killed.
    os.environ |= {MARK: new_mark(), "SPT_NOENV": "1"}
    watch(os.environ[MARK])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out(config, items, lambda item: item.get_closest_marker("left_to_ci") is not None)
