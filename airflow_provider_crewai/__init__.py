"""Run CrewAI crews as first-class Apache Airflow tasks.

Who answers which question
--------------------------
What authors of Dags import:

    hooks                         talks to one crew, over an Airflow connection
    operators                     starts a run, or one for each item of a list, exactly once, and waits for its answer;
                                  gives a run a person's feedback
    decorators                    `@task.crew`, `@task.crew_batch`: starts runs with the inputs that a function returns
    sensors                       waits for a run that something else started
    triggers                      waits for a run, or for those of a batch, without a worker slot
    answers                       reads an answer in the next task, typed and from its file
    retries                       decides after a failed try whether the task is tried again (an author may choose it)

`awaiting` is what the operator and the sensor share, `starting` what the operators that start runs share, and
`polling` what all of them do. `resuming` has the operator that gives feedback, `batches` the one of many runs.
`triggering` is what the triggers share, and `batch_trigger` has the one of a batch.
`provider_info` is what Airflow reads about this package.

`in_airflow` knows Airflow, and no author of a Dag imports it:

    compat                        which Airflow is this?
    config                        which defaults has an admin set for all tasks?
    limits                        how long may a task wait?
    people                        who may respond to a question, how long may it take, and who is told?
    asking, listening             what does a worker do about questions? what does a trigger?
    required_action               how is a person asked in Airflow?
    connection_form               what does the connection form show?
    webhook_connections           where does a webhook go that names a connection?
    unreadable                    why does Airflow not give a connection?
    dag_arguments, batch_arguments
                                  which arguments are wrong, as far as the Dag file shows?
    ledger_store                  where is the record of a task's run kept?
    batch_store                   where is the record of a batch kept?
    batch_endings                 how does a batch end, and what does its task leave behind?
    traces                        what does a task leave behind about its run?
    signed_urls                   which URL of this Airflow may a deployment call, and about which run?
    own_webhooks                  which webhooks of a run lead to this Airflow?
    mailbox                       what have calls of a deployment brought for a task?
    xcom                          what is the next task given of the answer?
    output_type                   is the answer what the author expects?
    answer_files                  where is an answer kept that is too large for XCom?
    object_storage                how is a file in object storage replaced in one step?
    returning                     how does a task return its run's answer?
    metrics                       what is counted about runs?
    tracing                       what does the task's span say of its run?
    lineage                       what does the task's lineage say of its run?
    link                          where does a task's link "Crew run" lead?
    failing                       may Airflow retry after this error?
    killed_in_worker              a worker is told to end: what becomes of the run?
    killed_in_triggerer           a trigger is cancelled: what becomes of the run?

`client` decides, and knows no Airflow:

    defaults                      what holds where nobody says otherwise?
    settings, fields              what does a connection say? what are its fields called?
    addresses, proxies, trust     is this the same URL? which proxy? which certificates?
    rendered, inputs, webhooks    what did a template make of an argument? a misspelt input? a webhook?
    feedback, meant               how is a person's feedback given once? to which question?
    callbacks                     where may a question's own URL lead?
    begin, ledger                 how is a run begun once? start, adopt or refuse on this try?
    waits                         which run is waited for?
    batch_record                  what is on record of a batch?
    batch_taking_up               what does a try do with the batch of an earlier one?
    batch_results                 what does a batch return?
    batch_messages                what does a person read about a batch?
    batch_waits                   how does a worker wait for the runs of a batch?
    batch_wave                    in which order are the items of a batch started and read?
    batch_pace                    when does the worker of a batch wake?
    batch_aio                     how are many runs waited for in an event loop?
    dialogue, questions           is what a run asks news for its task? what does a person see, and what is sent?
    watch                         when is the next look, and when do we give up?
    policy                        may this request be sent again, and when?
    killing, held                 is the run of a killed task still wanted? which runs does it hold?
    flows                         in which order are requests sent?
    sync, sync_sockets            sends for a worker: blocking, with `requests`
    aio                           sends for a triggerer: in an event loop, with `aiohttp`
    shell                         what do both do alike?
    lookups                       one look-up for all who ask at the same time
    summary                       what does a task leave behind about its run?
    journal, messages             what does a person read while a run goes on, and at its end?
    batch_journal                 what does a person read while the runs of a batch go on?

`wire` knows the API, and nothing else:

    codec, body                   what do the bytes of a request and an answer mean?
    refusals                      what does a server say when it does not do what we asked?
    webhook_calls                 what does the call of a webhook say?
    model, errors                 which values and errors are there?
    values, words, headers        what can JSON hold? what can be shown to a person? what does a header ask for?
    secret_names                  which inputs are secrets, by their names?
    times, beginnings             how does a person read times and durations? the beginning of a large value?

`run_page` makes the page of a run, `in_airflow/api_server` shows it in Airflow, and `cli` is the command line; their
docstrings have tables. `server` is the local server: the first line of each module says what it does.

The words
---------
    crew, deployment              a CrewAI program, and where it runs: one URL, one token
    kickoff                       the request that starts a run and costs money; once it may have arrived, it is
                                  never sent again
    run, kickoff_id               one execution of a crew, and its name
    look                          one question about a run's state
    sight                         what a look showed, and when
    watch, patience               the object that decides about looks; how long and how closely it looks
    verdict, ending               how our waiting ended; the verdict with all that it rests on
    said                          the short lines that a person reads about a run: log, XCom and page show the same
    claim                         what this try of a task wants to start
    record, ledger                what an earlier try wrote down; all that is decided by it
    intent                        a record without a kickoff_id: a kickoff may have been sent
    move, decision                start, adopt or refuse; the move and why
    plan, begun                   what to start and by which rules; the run that this try now waits for
    wait                          a run to wait for, with all that must survive a deferral
    flow, step, attempt           a generator of steps that a client carries out; one of them; a flow that tries once
    bond, judgement               what a trigger knows of its task; whether the task gave its run up

This module imports nothing: a Dag file is parsed again and again, and `wire` must be usable without Airflow.
"""

__version__ = "0.1.0"
