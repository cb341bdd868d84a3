"""`@task.crew` and `@task.crew_batch`: a function gives the crew its inputs."""

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

from airflow_provider_crewai.client.rendered import as_items
from airflow_provider_crewai.in_airflow.batch_store import XComStore
from airflow_provider_crewai.in_airflow.compat import Context
from airflow_provider_crewai.in_airflow.dag_arguments import check_names, check_values
from airflow_provider_crewai.operators import CrewBatchOperator, CrewKickoffOperator
from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.model import JSON, Kickoff

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import TaskDecorator

LISTED = "crew_batch_inputs"
"""The XCom that keeps the list of a batch's inputs for as long as a try lasts."""


class GetsInputs(DecoratedOperator):
    """Base of the tasks whose function returns the inputs. The function is called in the worker, once in each try."""

    inputs: Any
    custom_operator_name: str
    # The function sets the inputs, so the rendered ones are stored again after it.
    overwrite_rtif_after_execution = True
    until_it_runs: ClassVar[str] = "{}"
    """The inputs of a task whose function was not called yet."""

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if "inputs" in kwargs:
            raise TypeError(f"{self.custom_operator_name} takes no inputs: {python_callable.__name__}() returns them.")
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, inputs=self.until_it_runs, **kwargs
        )

    def _returned(self, context: Context) -> Any:
        """Call the function, and return what it returns."""
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        return self.python_callable(*self.op_args, **arguments)


class CrewDecoratedOperator(GetsInputs, CrewKickoffOperator):
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

    def execute(self, context: Context) -> JSON:
        """Call the function, start the run, and wait for it.

        :return: the crew's answer, or the kickoff_id if `wait_for_completion` is False.
        """
        self._take(self._returned(context))
        return CrewKickoffOperator.execute(self, context)

    def _take(self, returned: Any) -> None:
        if not isinstance(returned, Kickoff):
            self.inputs = returned
            return
        for field in fields(Kickoff):
            if (value := getattr(returned, field.name)) is not None:
                setattr(self, field.name, value)


class CrewBatchDecoratedOperator(GetsInputs, CrewBatchOperator):
    """Call a function in the worker, and run the crew once for each item of the list that it returns.

    A retry calls the function again. It keeps the answers of the items that are in the list again.
    """

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *CrewBatchOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **CrewBatchOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.crew_batch"
    until_it_runs: ClassVar[str] = "[]"

    def execute(self, context: Context) -> JSON:
        """Call the function, start the runs, and wait for all of them.

        :return: a list of results, or the manifest of the file that holds it.
        """
        self.inputs = self._returned(context)
        if self.deferrable:
            self._keep_the_list(context)
        return CrewBatchOperator.execute(self, context)

    def _keep_the_list(self, context: Context) -> None:
        """Keep the list for when the task comes back: a second call could return another one, of fewer rows."""
        try:
            items = as_items(self.inputs)
        except CrewConfigError:  # said by who starts the runs
            return
        XComStore(context["ti"], LISTED).save(list(items))

    def _come_back(self, context: Context, ended: Collection[Any] | None, idle: int) -> JSON:
        self.inputs = XComStore(context["ti"], LISTED).load()
        return super()._come_back(context, ended, idle)


def crew_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool = False, **kwargs: Any
) -> TaskDecorator:
    """Turn a function into a task that runs a crew with the inputs that the function returns: `@task.crew`.

    :param python_callable: the function. It returns the inputs as an object, or a `Kickoff`.
    :param multiple_outputs: whether each value of the crew's answer becomes an XCom of its own.
    :param kwargs: the arguments of `CrewKickoffOperator`, all but `inputs`.
    """
    return _decorator(CrewDecoratedOperator, "crew", python_callable, multiple_outputs=multiple_outputs, **kwargs)


def crew_batch_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Turn a function into a task that runs a crew for each item of the list that it returns: `@task.crew_batch`.

    :param python_callable: the function. It returns a list of inputs, an object for each run.
    :param kwargs: the arguments of `CrewBatchOperator`, all but `inputs`.
    """
    return _decorator(CrewBatchDecoratedOperator, "crew_batch", python_callable, multiple_outputs=False, **kwargs)


def _decorator(
    kind: Any, name: str, function: Callable[..., Any] | None, *, multiple_outputs: bool, **kwargs: Any
) -> TaskDecorator:
    task_id = str(kwargs.get("task_id", getattr(function, "__name__", name)))
    check_names(kind, task_id, kwargs)
    check_values(task_id, kwargs, kind.own_checks)
    # Said here, since Airflow would guess it from the function's return type: that is the type of the inputs.
    decorator: TaskDecorator = task_decorator_factory(
        python_callable=function, multiple_outputs=multiple_outputs, decorated_operator_class=kind, **kwargs
    )
    return decorator
