-- Why at most one run of a session, and at most so many of a queue, are leased, although transactions that run at the same
-- time do not see each other:
--
-- * Only claim_runs makes a run leased, and a run that is leased stays so until somebody ends its lease: settle_run, or a
--   claim that finds its time over. Nobody has to compare times to know whether a lease counts.
-- * A claim takes a lock on the session's name before it looks whether the session is free, with a statement of its own:
--   what anybody who had the lock before did is committed, and seen. The lock is tried, never waited for. The unique index
--   runs_leased_by_session would refuse a second one all the same.
-- * A claim locks the row of a queue's limit before it counts the queue's leases, likewise. Limits are locked in the order
--   of their names, and a claim waits for nothing else, so claims cannot wait for each other in a circle.
-- * limit_queue locks the table of limits against all claims: one that did not see the limit has ended before it returns.
-- * An expired lease is ended, and a run is claimed, only if its row can be locked at once. A renewal locks the rows first
--   and reads the time afterwards: either it comes first, and the lease has not expired, or it finds another fence.

CREATE FUNCTION session_lock(a_session text) RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT hashtextextended(current_schema() || ' session ' || a_session, 0) $$;

-- The queues that have runs which time makes claimable, each found by one look into the index.
CREATE FUNCTION queues_with_times() RETURNS SETOF text LANGUAGE sql STABLE AS $$
    WITH RECURSIVE found AS (
        (SELECT r.queue FROM runs r WHERE r.state IN (0, 2) AND r.at IS NOT NULL ORDER BY r.queue LIMIT 1)
        UNION ALL
        SELECT (SELECT r.queue FROM runs r WHERE r.state IN (0, 2) AND r.at IS NOT NULL AND r.queue > f.queue
            ORDER BY r.queue LIMIT 1)
        FROM found f WHERE f.queue IS NOT NULL
    )
    SELECT f.queue FROM found f WHERE f.queue IS NOT NULL
$$;

-- Leases due runs: of every queue (a_queues and a_run null), of some queues, or one run. next_due is the next time at which
-- there may be something to claim, where nothing was; now is the time of the answer.
CREATE FUNCTION claim_runs(
    a_worker text, a_queues text[], a_run text, a_limit bigint, a_ttl bigint,
    OUT now bigint, OUT next_due bigint,
    OUT runs text[], OUT fences bigint[], OUT deliveries integer[], OUT expiries bigint[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    -- How many leases whose time is over one claim ends.
    most_ended CONSTANT integer := 1000;
    ended bigint[];
    -- When expired leases were looked for. One that expires later in this claim is for the next, which comes at once.
    looked bigint;
    limited text[];
    queues text[] := a_queues;
    rooms bigint[];
    counted text[];
    candidates bigint[];
    candidate_sessions text[];
    chosen bigint[];
    seen bigint[] := '{}';
    got_runs text[];
    got_fences bigint[];
    got_deliveries integer[];
    got_expiries bigint[];
    wanted bigint;
BEGIN
    runs := '{}';
    fences := '{}';
    deliveries := '{}';
    expiries := '{}';
    now := seaworthy_now();
    looked := now;

    ended := ARRAY(SELECT r.id FROM runs r WHERE r.state = 1 AND r.at <= now ORDER BY r.at LIMIT most_ended
        FOR UPDATE SKIP LOCKED);
    IF cardinality(ended) > 0 THEN
        UPDATE runs r SET state = 0, worker = NULL, fence = NULL WHERE r.id = ANY (ended);
    END IF;

    -- From here on the limits stay as they are.
    LOCK TABLE queue_limits IN ROW SHARE MODE;
    limited := ARRAY(SELECT q.queue FROM queue_limits q);
    IF a_run IS NOT NULL THEN
        queues := ARRAY(SELECT r.queue FROM runs r WHERE r.run = a_run);
    END IF;
    IF cardinality(limited) > 0 THEN
        counted := ARRAY(
            SELECT q.queue FROM queue_limits q
            WHERE (queues IS NULL OR q.queue = ANY (queues)) AND EXISTS (
                SELECT 1 FROM runs r WHERE r.queue = q.queue AND r.state IN (0, 2) AND r.at <= now)
            ORDER BY q.queue FOR UPDATE);
        IF queues IS NULL THEN
            queues := ARRAY(SELECT queues_with_times());
        END IF;
    END IF;
    -- Locks may have taken their time.
    now := seaworthy_now();

    LOOP
        wanted := a_limit - cardinality(runs);
        EXIT WHEN wanted <= 0;
        IF cardinality(limited) > 0 THEN
            SELECT array_agg(q.queue), array_agg(q.room) INTO queues, rooms FROM (
                SELECT u.queue, CASE WHEN u.queue <> ALL (limited) THEN wanted
                    WHEN u.queue = ANY (counted) THEN (SELECT l.most FROM queue_limits l WHERE l.queue = u.queue)
                        - (SELECT count(*) FROM runs r WHERE r.queue = u.queue AND r.state = 1)
                    ELSE 0 END AS room
                FROM unnest(queues) AS u (queue)) q
            WHERE q.room > 0;
        ELSIF queues IS NOT NULL THEN
            rooms := array_fill(wanted, ARRAY[cardinality(queues)]);
        END IF;

        IF a_run IS NOT NULL THEN
            SELECT array_agg(r.id), array_agg(r.session) INTO candidates, candidate_sessions FROM (
                SELECT r.id, r.session FROM runs r
                WHERE r.run = a_run AND r.state IN (0, 2) AND r.at <= now
                    AND r.queue = ANY (queues) AND r.id <> ALL (seen)
                FOR UPDATE SKIP LOCKED) r;
        ELSIF queues IS NULL AND cardinality(limited) = 0 THEN
            SELECT array_agg(r.id), array_agg(r.session) INTO candidates, candidate_sessions FROM (
                SELECT r.id, r.session FROM runs r
                WHERE r.state IN (0, 2) AND r.at <= now AND r.id <> ALL (seen)
                    AND (r.session IS NULL OR NOT EXISTS (
                        SELECT 1 FROM runs o WHERE o.session = r.session AND o.state = 1))
                ORDER BY r.at, r.id LIMIT wanted
                FOR UPDATE OF r SKIP LOCKED) r;
        ELSE
            SELECT array_agg(f.id ORDER BY f.at, f.id), array_agg(f.session ORDER BY f.at, f.id)
            INTO candidates, candidate_sessions FROM (
                SELECT c.* FROM unnest(queues, rooms) AS q (queue, room) CROSS JOIN LATERAL (
                    SELECT r.id, r.session, r.at FROM runs r
                    WHERE r.queue = q.queue AND r.state IN (0, 2) AND r.at <= now AND r.id <> ALL (seen)
                        AND (r.session IS NULL OR NOT EXISTS (
                            SELECT 1 FROM runs o WHERE o.session = r.session AND o.state = 1))
                    ORDER BY r.at, r.id LIMIT least(q.room, wanted)
                    FOR UPDATE OF r SKIP LOCKED) c
                ORDER BY c.at, c.id LIMIT wanted) f;
        END IF;
        EXIT WHEN candidates IS NULL;
        seen := seen || candidates;

        -- The first of each session, if the session can be locked.
        WITH firsts AS MATERIALIZED (
            SELECT DISTINCT ON (coalesce(c.session, c.n::text), c.session IS NULL) c.id, c.session, c.n
            FROM unnest(candidates, candidate_sessions) WITH ORDINALITY AS c (id, session, n)
            ORDER BY coalesce(c.session, c.n::text), c.session IS NULL, c.n
        )
        SELECT array_agg(f.id ORDER BY f.n) INTO chosen FROM firsts f
        WHERE f.session IS NULL OR pg_try_advisory_xact_lock(session_lock(f.session));
        CONTINUE WHEN chosen IS NULL;

        WITH granted AS (
            UPDATE runs r SET state = 1, worker = a_worker, fence = nextval('fences'),
                at = seaworthy_now() + a_ttl, deliveries = r.deliveries + 1
            FROM unnest(chosen) WITH ORDINALITY AS c (id, n)
            WHERE r.id = c.id AND (r.session IS NULL OR NOT EXISTS (
                SELECT 1 FROM runs o WHERE o.session = r.session AND o.state = 1))
            RETURNING r.run, r.fence, r.deliveries, r.at, c.n
        )
        SELECT coalesce(array_agg(g.run ORDER BY g.n), '{}'), coalesce(array_agg(g.fence ORDER BY g.n), '{}'),
            coalesce(array_agg(g.deliveries ORDER BY g.n), '{}'), coalesce(array_agg(g.at ORDER BY g.n), '{}')
        INTO got_runs, got_fences, got_deliveries, got_expiries FROM granted g;
        runs := runs || got_runs;
        fences := fences || got_fences;
        deliveries := deliveries || got_deliveries;
        expiries := expiries || got_expiries;
    END LOOP;

    IF cardinality(runs) = 0 THEN
        next_due := CASE
            WHEN cardinality(ended) = most_ended THEN now
            WHEN a_run IS NOT NULL THEN (SELECT r.at FROM runs r WHERE r.run = a_run AND r.at > now)
            WHEN a_queues IS NOT NULL THEN (SELECT min(n.at) FROM unnest(a_queues) AS q (queue) CROSS JOIN LATERAL (
                SELECT r.at FROM runs r WHERE r.queue = q.queue AND r.state IN (0, 2) AND r.at > now
                ORDER BY r.at LIMIT 1) n)
            ELSE (SELECT r.at FROM runs r WHERE r.state IN (0, 2) AND r.at > now ORDER BY r.at LIMIT 1)
        END;
        next_due := least(next_due, (SELECT r.at FROM runs r WHERE r.state = 1 AND r.at > looked ORDER BY r.at LIMIT 1));
    END IF;
END $$;

-- Extends leases that are still held. The time is read once the rows are ours.
CREATE FUNCTION renew_runs(
    a_runs text[], a_fences bigint[], a_ttl bigint, OUT now bigint, OUT fences bigint[], OUT expiries bigint[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    held bigint[];
BEGIN
    held := ARRAY(SELECT r.id FROM unnest(a_runs, a_fences) AS u (run, fence)
        JOIN runs r ON r.run = u.run AND r.fence = u.fence AND r.state = 1
        ORDER BY r.id FOR NO KEY UPDATE OF r);
    now := seaworthy_now();
    WITH renewed AS (
        UPDATE runs r SET at = greatest(r.at, now + a_ttl) WHERE r.id = ANY (held) AND r.state = 1 AND r.at > now
        RETURNING r.fence, r.at
    )
    SELECT coalesce(array_agg(n.fence), '{}'), coalesce(array_agg(n.at), '{}') INTO fences, expiries FROM renewed n;
END $$;

-- Ends a lease: a_then is 0 due again after a_time, 2 parked until a_time (null: for a signal), 3 finished, 4 failed
-- (due again after the delay for its failures in a row), 5 released. False: the lease is gone, and nothing changed.
CREATE FUNCTION settle_run(
    a_run text, a_fence bigint, a_seen bigint, a_then integer, a_time bigint, a_consumed text[], a_delays bigint[],
    OUT settled boolean, OUT now bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    held runs%ROWTYPE;
    consumed bigint := 0;
    is_late boolean;
BEGIN
    SELECT r.* INTO held FROM runs r WHERE r.run = a_run AND r.fence = a_fence AND r.state = 1 FOR UPDATE;
    settled := FOUND;
    now := seaworthy_now();
    IF NOT settled THEN
        RETURN;
    END IF;
    IF cardinality(a_consumed) > 0 THEN
        UPDATE signals s SET payload = NULL
        WHERE s.run_id = held.id AND s.signal = ANY (a_consumed) AND s.payload IS NOT NULL;
        GET DIAGNOSTICS consumed = ROW_COUNT;
    END IF;
    -- Whoever sends a signal locks the run first, so this sees each that was accepted.
    is_late := a_then = 2 AND EXISTS (
        SELECT 1 FROM signals s WHERE s.run_id = held.id AND s.id > a_seen AND s.payload IS NOT NULL);
    UPDATE runs r SET worker = NULL, fence = NULL, waiting = held.waiting - consumed,
        failures = CASE a_then WHEN 4 THEN held.failures + 1 WHEN 5 THEN held.failures ELSE 0 END,
        state = CASE WHEN a_then IN (2, 3) AND NOT is_late THEN a_then ELSE 0 END,
        at = CASE
            WHEN is_late OR a_then = 5 THEN now
            WHEN a_then = 4 THEN now + a_delays[least(held.failures + 1, cardinality(a_delays))]
            WHEN a_then = 0 THEN now + least(a_time, 9000000000000000)
            WHEN a_then = 2 THEN a_time
        END
    WHERE r.id = held.id;
END $$;

-- 0 accepted, 1 a duplicate, 2 the run is finished, 3 there is no such run, 4 too many wait.
CREATE FUNCTION send_signal(a_run text, a_signal text, a_payload bytea, a_most integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    found_run runs%ROWTYPE;
BEGIN
    SELECT r.* INTO found_run FROM runs r WHERE r.run = a_run FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 3;
    END IF;
    IF found_run.state = 3 THEN
        RETURN 2;
    END IF;
    IF EXISTS (SELECT 1 FROM signals s WHERE s.run_id = found_run.id AND s.signal = a_signal) THEN
        RETURN 1;
    END IF;
    IF found_run.waiting >= a_most THEN
        RETURN 4;
    END IF;
    INSERT INTO signals (run_id, signal, payload) VALUES (found_run.id, a_signal, a_payload);
    UPDATE runs r SET waiting = r.waiting + 1,
        state = CASE r.state WHEN 2 THEN 0 ELSE r.state END,
        at = CASE r.state WHEN 2 THEN seaworthy_now() ELSE r.at END
    WHERE r.id = found_run.id;
    RETURN 0;
END $$;

-- Whether the run is known.
CREATE FUNCTION resubmit_run(a_run text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE runs r SET state = 0, at = seaworthy_now(), failures = 0 WHERE r.run = a_run AND r.state = 3;
    RETURN FOUND OR EXISTS (SELECT 1 FROM runs r WHERE r.run = a_run);
END $$;

CREATE FUNCTION forget_run(a_run text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    forgotten bigint;
BEGIN
    DELETE FROM runs r WHERE r.run = a_run RETURNING r.id INTO forgotten;
    DELETE FROM signals s WHERE s.run_id = forgotten;
END $$;

-- False: there are a_most_limits limits already.
CREATE FUNCTION limit_queue(a_queue text, a_most bigint, a_most_limits bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE queue_limits IN EXCLUSIVE MODE;
    IF a_most IS NULL THEN
        DELETE FROM queue_limits q WHERE q.queue = a_queue;
        RETURN true;
    END IF;
    UPDATE queue_limits q SET most = a_most WHERE q.queue = a_queue;
    IF FOUND THEN
        RETURN true;
    END IF;
    IF (SELECT count(*) FROM queue_limits) >= a_most_limits THEN
        RETURN false;
    END IF;
    INSERT INTO queue_limits (queue, most) VALUES (a_queue, a_most);
    RETURN true;
END $$;
