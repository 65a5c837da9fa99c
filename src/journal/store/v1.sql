-- One row: where the journal stands.
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- What stands before every id. Empty until the first opening is over.
    epoch TEXT NOT NULL,
    -- What the mark beside the file must hold for this file to be the one that went on last.
    token TEXT NOT NULL,
    -- Or, while the mark is being made anew, may hold.
    next_token TEXT NOT NULL,
    -- The last sequence given, to a commit with events or without.
    seq INTEGER NOT NULL,
    -- The last event's number.
    no INTEGER NOT NULL,
    -- Every event after this place is kept, and is numbered without a gap.
    floor INTEGER NOT NULL,
    floor_no INTEGER NOT NULL
) STRICT;

INSERT INTO head VALUES (1, '', '', '', 0, 0, 0, 0);

CREATE TABLE vms (
    vm_id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

-- The last commit of each VM, without its events.
CREATE TABLE last_commits (
    vm_id TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL,
    -- The record's version.
    v INTEGER NOT NULL,
    lease_rev INTEGER NOT NULL,
    n INTEGER NOT NULL,
    cursors TEXT NOT NULL,
    tracker_state TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    -- The commit's sequence times 65536, plus the index within the commit.
    place INTEGER PRIMARY KEY,
    -- Counts events, so that those between two places are counted by two look-ups.
    no INTEGER NOT NULL,
    -- When it was committed, epoch seconds.
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    vm TEXT NOT NULL,
    vm_id TEXT NOT NULL,
    run TEXT,
    data TEXT NOT NULL
) STRICT;

CREATE INDEX events_of_run ON events (run, kind, place) WHERE run IS NOT NULL;

CREATE TABLE runs (
    -- The place of its `run_started`.
    started INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    vm TEXT NOT NULL,
    vm_id TEXT NOT NULL,
    source TEXT NOT NULL,
    -- The place of its newest event.
    newest INTEGER NOT NULL,
    started_at REAL NOT NULL,
    open INTEGER NOT NULL,
    -- All of it, as JSON.
    summary TEXT NOT NULL
) STRICT;

CREATE INDEX runs_of_vm ON runs (vm, started);
CREATE INDEX runs_of_log ON runs (vm_id, source, started);
CREATE INDEX runs_by_newest ON runs (newest);

-- Where a writer whose disk was full tries whether there is room again. Empty but for that.
CREATE TABLE room (bytes BLOB NOT NULL) STRICT;
