"""The tables of the database of runs. Both the server and the runs' processes write them."""

from __future__ import annotations

from airflow_provider_crewai.server.crew_process.run_states import FINAL, in_sql

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    position INTEGER PRIMARY KEY,
    kickoff_id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'PENDING',
    status TEXT,
    request TEXT NOT NULL,
    answer TEXT NOT NULL DEFAULT '{}',
    pid INTEGER,
    exit TEXT,
    lives INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    title TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state, position);
CREATE TABLE IF NOT EXISTS steps (
    kickoff_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    agent TEXT,
    started_at REAL NOT NULL,
    ended_at REAL,
    output TEXT,
    tokens INTEGER,
    PRIMARY KEY (kickoff_id, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS questions (
    question_id TEXT PRIMARY KEY,
    kickoff_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    step INTEGER NOT NULL,
    message TEXT NOT NULL,
    output TEXT NOT NULL,
    options TEXT,
    context TEXT,
    asked_at REAL NOT NULL,
    feedback TEXT,
    approved INTEGER,
    answered_at REAL
);
CREATE INDEX IF NOT EXISTS questions_by_run ON questions (kickoff_id, asked_at);
CREATE TABLE IF NOT EXISTS aliases (alias TEXT PRIMARY KEY, kickoff_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wishes (kickoff_id TEXT PRIMARY KEY, webhooks TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    kickoff_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    type TEXT NOT NULL,
    at TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (kickoff_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chats (chat_id TEXT PRIMARY KEY, created_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS turns (
    chat_id TEXT NOT NULL, number INTEGER NOT NULL, kickoff_id TEXT NOT NULL, PRIMARY KEY (chat_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event_counts (
    kickoff_id TEXT NOT NULL, type TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (kickoff_id, type)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    position INTEGER PRIMARY KEY,
    kickoff_id TEXT NOT NULL,
    url TEXT NOT NULL,
    headers TEXT NOT NULL,
    body TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    delivered_at REAL,
    error TEXT
);
"""
_STATE_EVENT = """
BEGIN
    INSERT INTO events SELECT NEW.kickoff_id, coalesce(max(number), 0) + 1, 'state',
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), json_object('state', NEW.state, 'status', substr(NEW.status, 1, 1000))
    FROM events WHERE kickoff_id = NEW.kickoff_id;
END;
"""
# A wish may hold the password of a webhook, so it goes when its run ends. A trigger notes each change of a state, since
# both the server and the runs' processes change them.
_TRIGGERS = f"""
CREATE TRIGGER IF NOT EXISTS wishes_end AFTER UPDATE OF state ON runs WHEN NEW.state IN {in_sql(FINAL)}
BEGIN DELETE FROM wishes WHERE kickoff_id = NEW.kickoff_id; END;
CREATE TRIGGER IF NOT EXISTS state_begins AFTER INSERT ON runs {_STATE_EVENT}
CREATE TRIGGER IF NOT EXISTS state_changes AFTER UPDATE OF state ON runs WHEN NEW.state IS NOT OLD.state {_STATE_EVENT}
"""  # noqa: S608 - a constant

SCHEMA = _TABLES + _TRIGGERS
"""Creates the tables that are missing."""

TABLES = ("steps", "questions", "events", "event_counts", "turns", "aliases", "outbox", "wishes", "runs")
"""The tables that hold rows of a run, the run itself last."""
