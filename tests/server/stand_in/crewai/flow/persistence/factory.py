"""Where flows keep their states: there is none."""

from collections.abc import Callable


def set_flow_persistence_factory(_: Callable[[], object]) -> None:
    pass
