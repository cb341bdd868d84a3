"""Whether events are told again."""


def is_replaying() -> bool:
    return False
