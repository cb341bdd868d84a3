"""`@task.crew`: a function gives the crew its inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_crewai.in_airflow.compat import Context
from airflow_provider_crewai.in_airflow.dag_arguments import check_names, check_values
from airflow_provider_crewai.operators import CrewKickoffOperator
from airflow_provider_crewai.wire.model import JSON, Kickoff

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import TaskDecorator

UNTIL_IT_RUNS = "{}"
"""The inputs of a task whose function was not called yet."""


class CrewDecoratedOperator(DecoratedOperator, CrewKickoffOperator):
    """Call a function in the worker, and start a run with the inputs that it returns.

    The function may also return a `Kickoff`: what that sets replaces the task's own arguments. A retry calls the
    function again; if it returns other inputs then, `on_changed_inputs` decides.
    """

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *CrewKickoffOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **CrewKickoffOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.crew"
    # The function sets the inputs, so the rendered ones are stored again after it.
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if "inputs" in kwargs:
            raise TypeError(f"@task.crew takes no inputs: {python_callable.__name__}() returns them.")
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, inputs=UNTIL_IT_RUNS, **kwargs
        )

    def execute(self, context: Context) -> JSON:
        """Call the function, start the run, and wait for it.

        :return: the crew's answer, or the kickoff_id if `wait_for_completion` is False.
        """
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        self._take(self.python_callable(*self.op_args, **arguments))
        return CrewKickoffOperator.execute(self, context)

    def _take(self, returned: Any) -> None:
        if not isinstance(returned, Kickoff):
            self.inputs = returned
            return
        for field in fields(Kickoff):
            if (value := getattr(returned, field.name)) is not None:
                setattr(self, field.name, value)


def crew_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool = False, **kwargs: Any
) -> TaskDecorator:
    """Turn a function into a task that runs a crew with the inputs that the function returns: `@task.crew`.

    :param python_callable: the function. It returns the inputs as an object, or a `Kickoff`.
    :param multiple_outputs: whether each value of the crew's answer becomes an XCom of its own.
    :param kwargs: the arguments of `CrewKickoffOperator`, all but `inputs`.
    """
    task_id = str(kwargs.get("task_id", getattr(python_callable, "__name__", "crew")))
    check_names(CrewDecoratedOperator, task_id, kwargs)
    check_values(task_id, kwargs)
    # Said here, since Airflow would guess it from the function's return type: that is the type of the inputs.
    decorator: TaskDecorator = task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=CrewDecoratedOperator,
        **kwargs,
    )
    return decorator
