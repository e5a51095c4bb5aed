-- The time that everything goes by, in milliseconds since the epoch. Tests that move time put another function here.
CREATE FUNCTION seaworthy_now() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- One number for each handle that was opened, so that it knows its own notifications.
CREATE SEQUENCE handles;

-- A log's head. Deleted logs keep their row as a tombstone. Ids rise in the order of creation.
CREATE SEQUENCE log_ids;
CREATE TABLE logs (
    id bigint PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    sealed boolean NOT NULL,
    deleted boolean NOT NULL,
    labels text COLLATE "C" NOT NULL,
    append_id text COLLATE "C",
    UNIQUE (kind, name)
) WITH (fillfactor = 70);
CREATE INDEX logs_by_kind ON logs (kind, id) WHERE NOT deleted;

-- One row for each append: its bodies end to end. `last` is the sequence of the last one; `lengths`, 4 bytes each, is
-- null where there is one. Bodies lie in the row as long as they fit, and are not compressed: that costs more than it saves.
CREATE TABLE appends (
    log bigint NOT NULL,
    last bigint NOT NULL,
    lengths bytea,
    bodies bytea NOT NULL,
    PRIMARY KEY (log, last)
) WITH (toast_tuple_target = 8160);
ALTER TABLE appends ALTER bodies SET STORAGE EXTERNAL;

-- The labels of every head once more, to find heads by them.
CREATE TABLE labels (
    log bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    PRIMARY KEY (log, name)
);
CREATE INDEX labels_by_value ON labels (kind, name, value, log);

CREATE TABLE documents (
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    writer text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (kind, name, path)
);
ALTER TABLE documents ALTER value SET STORAGE EXTERNAL;

-- state: 0 due, 1 leased, 2 parked, 3 finished. at: when time makes it claimable: the due time, the lease's expiry, the
-- wake time; null where time does not.
CREATE TABLE runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text COLLATE "C" NOT NULL UNIQUE,
    session text COLLATE "C",
    queue text COLLATE "C" NOT NULL,
    state smallint NOT NULL,
    at bigint,
    worker text COLLATE "C",
    fence bigint,
    deliveries integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    waiting integer NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE INDEX runs_due ON runs (at, id) WHERE state IN (0, 2) AND at IS NOT NULL;
CREATE INDEX runs_due_by_queue ON runs (queue, at, id) WHERE state IN (0, 2) AND at IS NOT NULL;
CREATE INDEX runs_leased ON runs (at) WHERE state = 1;
CREATE INDEX runs_leased_by_queue ON runs (queue) WHERE state = 1;
-- Of a session at most one run is leased, whoever claims.
CREATE UNIQUE INDEX runs_leased_by_session ON runs (session) WHERE state = 1 AND session IS NOT NULL;
CREATE SEQUENCE fences;

-- A consumed signal keeps its row, without payload, so that sending it again is a duplicate.
CREATE TABLE signals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL,
    signal text COLLATE "C" NOT NULL,
    payload bytea,
    UNIQUE (run_id, signal)
);
ALTER TABLE signals ALTER payload SET STORAGE EXTERNAL;
CREATE INDEX signals_waiting ON signals (run_id, id) WHERE payload IS NOT NULL;

CREATE TABLE queue_limits (
    queue text COLLATE "C" PRIMARY KEY,
    most bigint NOT NULL CHECK (most > 0)
);

CREATE TABLE checkpoints (
    run text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    session text COLLATE "C",
    size bigint NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (run, seq, kind)
);
CREATE INDEX checkpoints_by_kind ON checkpoints (run, kind, seq);
ALTER TABLE checkpoints ALTER content SET STORAGE EXTERNAL;
