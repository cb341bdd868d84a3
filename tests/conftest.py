"""What all tests share."""

from __future__ import annotations

from support.effort import load_profile

load_profile()
