"""Tells the author of a batch, when the Dag is parsed, which of its arguments is wrong."""

from __future__ import annotations

from typing import Literal, get_args

OnItemFailure = Literal["fail", "fail_fast"]


def check_batch(task_id: str, max_concurrency: object, on_item_failure: object, allow_failures: object) -> None:
    """Refuse arguments that a batch cannot have.

    :raises ValueError: names the task and the argument.
    """
    if not isinstance(max_concurrency, int) or isinstance(max_concurrency, bool) or max_concurrency < 1:
        raise ValueError(
            f"Task {task_id!r}: max_concurrency is {max_concurrency!r}; set it to a number of runs from 1."
        )
    if on_item_failure not in get_args(OnItemFailure):
        either = " or ".join(map(repr, get_args(OnItemFailure)))
        raise ValueError(f"Task {task_id!r}: on_item_failure is {on_item_failure!r}; set it to {either}.")
    is_share = isinstance(allow_failures, float) and 0 <= allow_failures < 1
    is_number = isinstance(allow_failures, int) and not isinstance(allow_failures, bool) and allow_failures >= 0
    if not (is_share or is_number):
        raise ValueError(
            f"Task {task_id!r}: allow_failures is {allow_failures!r}; set it to a number of items, or to a share "
            "below 1."
        )
