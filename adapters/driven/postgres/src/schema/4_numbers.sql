-- append_batch, and the numbers of the logs it was about, in the order of the members (null: there is no such log). Whoever
-- knows a log's number can find its head without its name.
CREATE FUNCTION append_named(
    a_kinds text[], a_names text[], a_ids text[], a_expected bigint[], a_counts bigint[],
    a_lengths bytea[], a_bodies bytea[], a_labels text[], a_seals boolean[],
    OUT ords bigint[], OUT verdicts integer[], OUT heads bigint[], OUT numbers bigint[]
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT b.ords, b.verdicts, b.heads INTO ords, verdicts, heads
    FROM append_batch(a_kinds, a_names, a_ids, a_expected, a_counts, a_lengths, a_bodies, a_labels, a_seals) b;
    numbers := ARRAY(SELECT l.id FROM unnest(a_kinds, a_names) WITH ORDINALITY AS m (kind, name, ord)
        LEFT JOIN logs l ON l.kind = m.kind AND l.name = m.name ORDER BY m.ord);
END $$;

-- Appends to logs whose numbers and heads the client knows, at most one for each log, in the order of the logs' names, as in
-- append_batch: the two must take heads in the same order. Everything that changes a head moves its sequence, which never
-- goes back but to zero, when the log is deleted, so a head that is at the sequence that the client expects, and that is above
-- zero, is the head that the client knows: not deleted, with the labels and without the seal that it had then. Labels are
-- null where they stay. Returns the ordinals of the members that were appended, or null where all were. The others have
-- another head, or one that somebody else holds: they are to be appended by name.
CREATE FUNCTION append_numbered(
    a_logs bigint[], a_ids text[], a_expected bigint[], a_counts bigint[],
    a_lengths bytea[], a_bodies bytea[], a_labels text[], a_seals boolean[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    answered bigint[];
    relabelled bigint[];
    relabels text[];
    relabelled_kinds text[];
BEGIN
    WITH grown AS (
        UPDATE logs l SET seq = m.expected + m.count, sealed = m.seal, append_id = m.id,
            labels = coalesce(m.labels, l.labels)
        FROM unnest(a_logs, a_ids, a_expected, a_counts, a_lengths, a_bodies, a_labels, a_seals)
            WITH ORDINALITY AS m (log, id, expected, count, lengths, bodies, labels, seal, ord)
        WHERE l.id = m.log AND l.seq = m.expected
            -- In one expression with the member's, so that no planner looks through all logs for it.
            AND CASE
                WHEN l.sealed OR l.deleted OR m.expected < 1 THEN false
                WHEN l.xmax = '0'::xid THEN true
                ELSE NOT may_be_running(l.xmax)
            END
        RETURNING m.ord, l.id, l.seq, m.lengths, m.bodies, m.labels, l.kind
    ), written AS (
        INSERT INTO appends (log, last, lengths, bodies) SELECT g.id, g.seq, g.lengths, g.bodies FROM grown g
    )
    SELECT array_agg(g.ord), array_agg(g.id) FILTER (WHERE g.labels IS NOT NULL),
        array_agg(g.labels) FILTER (WHERE g.labels IS NOT NULL), array_agg(g.kind) FILTER (WHERE g.labels IS NOT NULL)
    INTO answered, relabelled, relabels, relabelled_kinds FROM grown g;

    IF relabelled IS NOT NULL THEN
        DELETE FROM labels b USING unnest(relabelled, relabels) AS c (log, labels)
        WHERE b.log = c.log AND c.labels::jsonb ->> b.name IS DISTINCT FROM b.value;
        INSERT INTO labels (log, name, kind, value)
        SELECT c.log, n.key, c.kind, n.value
        FROM unnest(relabelled, relabels, relabelled_kinds) AS c (log, labels, kind), jsonb_each_text(c.labels::jsonb) AS n
        ON CONFLICT (log, name) DO NOTHING;
    END IF;
    IF cardinality(answered) = cardinality(a_logs) THEN
        RETURN NULL;
    END IF;
    RETURN coalesce(answered, '{}');
END $$;

-- claim_runs, and of each run whether signals wait for it: whoever has claimed a run without any need not look for them.
CREATE FUNCTION claim_signalled(
    a_worker text, a_queues text[], a_run text, a_limit bigint, a_ttl bigint,
    OUT now bigint, OUT next_due bigint,
    OUT runs text[], OUT fences bigint[], OUT deliveries integer[], OUT expiries bigint[], OUT signalled boolean[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    SELECT c.now, c.next_due, c.runs, c.fences, c.deliveries, c.expiries
    INTO now, next_due, runs, fences, deliveries, expiries
    FROM claim_runs(a_worker, a_queues, a_run, a_limit, a_ttl) c;
    signalled := '{}';
    IF cardinality(runs) > 0 THEN
        signalled := ARRAY(SELECT coalesce(r.waiting > 0, true)
            FROM unnest(runs) WITH ORDINALITY AS u (run, n) LEFT JOIN runs r ON r.run = u.run ORDER BY u.n);
    END IF;
END $$;

-- Ends many leases of turns that consumed nothing and did not fail: a_thens and a_times are those of settle_run. Runs that
-- somebody else holds at the moment are left alone. Returns the ordinals of the members whose run was looked at, and of those
-- whose lease was ended; a lease that was looked at and not ended was gone.
CREATE FUNCTION settle_runs(
    a_runs text[], a_fences bigint[], a_seens bigint[], a_thens integer[], a_times bigint[],
    OUT now bigint, OUT looked bigint[], OUT settled bigint[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    looked := ARRAY(SELECT m.ord FROM unnest(a_runs) WITH ORDINALITY AS m (run, ord) JOIN runs r ON r.run = m.run
        FOR UPDATE OF r SKIP LOCKED);
    now := seaworthy_now();
    -- A statement of its own: it sees what was committed before the rows were ours.
    WITH ended AS (
        UPDATE runs r SET worker = NULL, fence = NULL, failures = 0,
            state = CASE WHEN m.next IN (2, 3) AND NOT (m.next = 2 AND EXISTS (
                SELECT 1 FROM signals s WHERE s.run_id = r.id AND s.id > m.seen AND s.payload IS NOT NULL))
                THEN m.next ELSE 0 END,
            at = CASE
                WHEN m.next = 0 THEN now + least(m.time, 9000000000000000)
                WHEN m.next = 2 AND EXISTS (
                    SELECT 1 FROM signals s WHERE s.run_id = r.id AND s.id > m.seen AND s.payload IS NOT NULL) THEN now
                WHEN m.next = 2 THEN m.time
            END
        FROM unnest(a_runs, a_fences, a_seens, a_thens, a_times) WITH ORDINALITY AS m (run, fence, seen, next, time, ord)
        WHERE r.run = m.run AND r.fence = m.fence AND r.state = 1 AND m.ord = ANY (looked)
        RETURNING m.ord
    )
    SELECT coalesce(array_agg(e.ord), '{}') INTO settled FROM ended e;
END $$;
