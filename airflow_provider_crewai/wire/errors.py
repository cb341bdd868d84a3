"""All errors of this package. The type alone says whether money may have been spent.

CrewError
  CrewConfigError               the connection cannot be used; nothing was sent
    CrewConnectionUnreadable    Airflow cannot read it
    CrewCallbackRefused         a question names a URL where no feedback may go
  CrewTaskKilled                this process was told to end before it sent the kickoff
  CrewTooLate                   the deadline passed before the kickoff was sent
  CrewTransportError(sent)      no answer; `sent` says whether the request may have arrived
  CrewProtocolError             a 2xx that is not what the API promises
    CrewNotACrew                a page, or another API's answer: the URL is not a crew's
    CrewAnswerTooLarge          larger than we read into memory here
  CrewApiError(status)          an answer that is an error
    CrewAuthError               401, 403
    CrewInputError              400, 422
    CrewNotFound                404, 410
      CrewUnknownRun            the deployment does not know the run that we want to stop
    CrewRateLimited             429
    CrewQuotaError              any 4xx that mentions a limit or quota
    CrewServerError             5xx, 408
  CrewRunError(kickoff_id)      a run exists, or may
    CrewRunFailed               the crew ended it with an error
    CrewRunStopped              somebody stopped it
    CrewRunTimedOut             we stopped waiting; it is probably still going
      CrewRunUnanswered         it asked a person, and nobody answered in time; it still waits
    CrewRunUnreachable          the API stopped answering; it may go on
    CrewRunLost                 the deployment no longer knows it
    CrewRunAuthLost             our token stopped working; it may go on
    CrewRunUnwatchable          the connection is wrong, or does not lead to a crew; it may go on
    CrewAnswerNotFetched        we saw it end, but could not fetch its answer
    CrewAnswerMismatch          it succeeded, but its answer is not what the author expects
    CrewAnswerNotStored         it succeeded, but its answer could not be written to where the author wants it
    CrewBatchFailed             more items of a batch have no answer than its author allows
    CrewMayHaveStarted          we lost the answer to a kickoff, or its record
    CrewNothingAsked            it does not ask what a person's feedback is about
    CrewFeedbackInDoubt         we sent a person's feedback, and cannot see whether it arrived
  CrewLedgerError               our own record of the run cannot be read or written; an earlier run may go on
  CrewChangedInputs             the inputs changed since the run began, and the author said to fail
  CrewChangedFeedback           another feedback to the same question was sent, or may have been
"""

from __future__ import annotations


class CrewError(Exception):
    """Base of all errors of this package. It does not derive from an Airflow error, because the core has no Airflow.

    A task that fails sets `said`: the lines that its log shows, for callbacks and notifications, too.
    """

    said: tuple[str, ...] = ()


class CrewConfigError(CrewError):
    """The connection or an argument cannot be used. Nothing was sent."""


class CrewConnectionUnreadable(CrewConfigError):
    """Airflow cannot read the connection. It is missing or out of reach; Airflow does not say which."""


class CrewCallbackRefused(CrewConfigError):
    """A question's `callback_url` is no URL, or leads to a host where no feedback may go. Nothing was sent there."""


class CrewTaskKilled(CrewError):
    """The task was ended, so its process no longer sends a kickoff or waits for a run."""


class CrewTooLate(CrewError):
    """The task's deadline passed before the kickoff was sent. No run was started."""


class CrewTransportError(CrewError):
    """No answer came.

    :param sent: whether the request may have arrived. False only where the connection was never made.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class CrewProtocolError(CrewError):
    """A 2xx whose body is not what the API promises."""


class CrewNotACrew(CrewProtocolError):
    """A 2xx that no crew gives, such as a page or another API's JSON: the URL is not a crew's."""


class CrewAnswerTooLarge(CrewProtocolError):
    """An answer that is larger than we read into memory here. A worker reads more than a triggerer."""


class CrewApiError(CrewError):
    """The API answered with an error.

    :param status: the HTTP status.
    :param detail: the server's own words, shortened, without markup.
    :param retry_after: the `Retry-After` header as the server sent it, or None.
    """

    def __init__(self, message: str, *, status: int, detail: str = "", retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


class CrewAuthError(CrewApiError):
    """401 or 403: the token is missing, wrong or revoked."""


class CrewInputError(CrewApiError):
    """400 or 422: the request itself was refused."""


class CrewNotFound(CrewApiError):
    """404 or 410: no such path on this deployment."""


class CrewUnknownRun(CrewNotFound):
    """The deployment knows the path, but not the run that we want to stop."""


class CrewRateLimited(CrewApiError):
    """429: too many requests just now."""


class CrewQuotaError(CrewApiError):
    """A 4xx that mentions a limit or quota: the plan's executions are used up."""


class CrewServerError(CrewApiError):
    """5xx or 408: the service, or a gateway before it, is in trouble."""


class CrewRunError(CrewError):
    """A run exists, or may exist, and it did not end well, or did not end while we looked.

    Its attribute `retry_helps` says whether a retry would look at this same run again, and might end better.

    :param kickoff_id: the run, or None if we lost the answer that named it.
    """

    retry_helps = True

    def __init__(self, message: str, *, kickoff_id: str | None) -> None:
        super().__init__(message)
        self.kickoff_id = kickoff_id


class CrewRunFailed(CrewRunError):
    """The crew ended the run with an error. It is over.

    :param reason: the crew's own words, or None if it gave none.
    """

    def __init__(self, message: str, *, kickoff_id: str | None, reason: str | None = None) -> None:
        super().__init__(message, kickoff_id=kickoff_id)
        self.reason = reason


class CrewRunStopped(CrewRunError):
    """Somebody stopped the run. It is over."""


class CrewRunTimedOut(CrewRunError):
    """We stopped waiting at the deadline. The run is probably still going."""


class CrewRunUnanswered(CrewRunTimedOut):
    """The run asked a person, and nobody answered within `human_timeout`. The run still waits for an answer."""


class CrewRunUnreachable(CrewRunError):
    """The API did not answer for longer than we were told to wait. The run may go on."""


class CrewRunLost(CrewRunError):
    """The deployment does not know the run, or no longer knows it, or hides it while it waits for a human."""


class CrewRunAuthLost(CrewRunError):
    """The token stopped working while we waited. The run may go on."""


class CrewRunUnwatchable(CrewRunError):
    """The connection is wrong, or does not lead to a crew, so we cannot look at the run. It may go on."""


class CrewAnswerNotFetched(CrewRunError):
    """We saw the run end, but could not fetch its answer. The run is over."""


class CrewAnswerMismatch(CrewRunError):
    """The run succeeded, but its answer does not fit the task's `output_type`. The run is over.

    Its attribute `rerun` says whether the author of the Dag wants a new run then.
    """

    rerun = False


class CrewAnswerNotStored(CrewRunError):
    """The run succeeded, but its answer could not be written to the task's `result_path`. The run is over."""


class CrewBatchFailed(CrewRunError):
    """More items of a batch have no answer than its author allows. The others' answers are kept for a retry.

    Its attribute `retry_helps` says whether a retry starts or reads at least one of them again, and no other; `reason`
    holds the crew's own words about the runs that failed, a line each, or None if none did.
    """

    reason: str | None = None


class CrewMayHaveStarted(CrewRunError):
    """A kickoff was sent and its answer was lost: there may be a paid run whose kickoff_id nobody knows.

    Its attribute `rerun` says whether the author of the Dag accepts a second run beside it.
    """

    rerun = False


class CrewNothingAsked(CrewRunError):
    """The run does not ask what a person's feedback is about: not yet, no more, or never. Nothing was sent."""

    def __init__(self, message: str, *, kickoff_id: str | None, retry_helps: bool = True) -> None:
        super().__init__(message, kickoff_id=kickoff_id)
        self.retry_helps = retry_helps


class CrewFeedbackInDoubt(CrewRunError):
    """A person's feedback was sent, its answer was lost, and the run does not show whether it arrived.

    It is not sent again: a retry only looks again.
    """


class CrewLedgerError(CrewError):
    """Our own record of this task's run cannot be read or written. That does not mean "there is no record".

    No run is started then. A run that this task started earlier may go on.
    """


class CrewChangedInputs(CrewError):
    """The inputs differ from those of the run that an earlier try started, and the author chose to fail then."""


class CrewChangedFeedback(CrewError):
    """Another feedback to the same question was sent, or may have been. Nothing was sent now."""
