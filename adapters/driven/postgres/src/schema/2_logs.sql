-- Whether the transaction that a row's xmax names may still be running. It may have ended and be taken for running while an
-- older one is; the other way round only where several have locked the row together, which nothing here does.
CREATE FUNCTION may_be_running(a_xmax xid) RETURNS boolean LANGUAGE sql STABLE AS
$$ SELECT ((pg_snapshot_xmin(pg_current_snapshot())::text::bigint - a_xmax::text::bigint) & 4294967295)
    NOT BETWEEN 1 AND 2147483647 $$;

-- Appends of one batch, at most one for each log, in the order of the logs' names. Expected is the head, or -1 where the log
-- must not exist. What is not said of a member is that it was appended. Of the others it is said, by their ordinals: 1
-- conflict (the head, or null: no log), 2 sealed, 3 gone, 4 another content under the newest append's id, 7 it was left
-- alone, because somebody else holds its head or has just made it, and is to be tried again. Nothing is said (nulls) where
-- all were appended.
--
-- No head is waited for, so no batch waits for another. The first statement leaves out the rows that somebody has locked or
-- changed and not committed; one that is taken between its look and its update is waited for, in the order of names, which
-- all batches keep, and nobody who holds one waits for more than a commit. The second statement locks (SKIP LOCKED). Only
-- creating a log may wait for somebody who creates the same: that is done last, in the order of names, too.
CREATE FUNCTION append_batch(
    a_kinds text[], a_names text[], a_ids text[], a_expected bigint[], a_counts bigint[],
    a_lengths bytea[], a_bodies bytea[], a_labels text[], a_seals boolean[],
    OUT ords bigint[], OUT verdicts integer[], OUT heads bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    -- Members without an answer.
    rest bigint[];
    answered bigint[];
    relabelled bigint[];
    relabels text[];
    relabelled_kinds text[];
    repeated bigint[];
    more_ords bigint[];
    more_verdicts integer[];
    more_heads bigint[];
BEGIN
    -- Nearly all appends move the head of a log that nobody else writes to, and change nothing else about it.
    WITH grown AS (
        UPDATE logs l SET seq = m.expected + m.count, sealed = m.seal, append_id = m.id
        FROM unnest(a_kinds, a_names, a_ids, a_expected, a_counts, a_lengths, a_bodies, a_labels, a_seals)
            WITH ORDINALITY AS m (kind, name, id, expected, count, lengths, bodies, labels, seal, ord)
        WHERE l.kind = m.kind AND l.name = m.name AND l.seq = m.expected AND l.labels = m.labels
            -- In one expression with the member's id, so that no planner looks through all logs for it.
            AND CASE
                WHEN l.sealed OR l.deleted OR l.append_id = m.id THEN false
                WHEN l.xmax = '0'::xid THEN true
                ELSE NOT may_be_running(l.xmax)
            END
        RETURNING m.ord, l.id, l.seq, m.lengths, m.bodies
    ), written AS (
        INSERT INTO appends (log, last, lengths, bodies) SELECT g.id, g.seq, g.lengths, g.bodies FROM grown g
    )
    SELECT array_agg(g.ord) INTO answered FROM grown g;
    IF cardinality(answered) = cardinality(a_kinds) THEN
        RETURN;
    END IF;
    rest := ARRAY(SELECT generate_series(1, cardinality(a_kinds)) EXCEPT SELECT unnest(answered));

    WITH held AS MATERIALIZED (
        SELECT m.*, l.id AS log, l.seq, l.labels <> m.labels AS relabels,
            CASE
                WHEN l.deleted THEN 3
                WHEN l.append_id = m.id THEN 7
                WHEN l.sealed THEN 2
                WHEN l.seq <> m.expected THEN 1
                ELSE 0
            END AS verdict
        FROM unnest(a_kinds, a_names, a_ids, a_expected, a_counts, a_lengths, a_bodies, a_labels, a_seals)
            WITH ORDINALITY AS m (kind, name, id, expected, count, lengths, bodies, labels, seal, ord)
        JOIN logs l ON l.kind = m.kind AND l.name = m.name
        WHERE m.ord = ANY (rest)
        FOR NO KEY UPDATE OF l SKIP LOCKED
    ), grown AS (
        UPDATE logs l SET seq = h.seq + h.count, sealed = h.seal, append_id = h.id, labels = h.labels
        FROM held h WHERE h.verdict = 0 AND l.id = h.log
    ), written AS (
        INSERT INTO appends (log, last, lengths, bodies)
        SELECT h.log, h.seq + h.count, h.lengths, h.bodies FROM held h WHERE h.verdict = 0
    )
    SELECT array_agg(h.ord), coalesce(array_agg(h.ord) FILTER (WHERE h.verdict IN (1, 2, 3)), '{}'),
        coalesce(array_agg(h.verdict) FILTER (WHERE h.verdict IN (1, 2, 3)), '{}'),
        coalesce(array_agg(h.seq) FILTER (WHERE h.verdict IN (1, 2, 3)), '{}'),
        array_agg(h.log) FILTER (WHERE h.relabels AND h.verdict = 0),
        array_agg(h.labels) FILTER (WHERE h.relabels AND h.verdict = 0),
        array_agg(h.kind) FILTER (WHERE h.relabels AND h.verdict = 0),
        array_agg(h.ord) FILTER (WHERE h.verdict = 7)
    INTO answered, ords, verdicts, heads, relabelled, relabels, relabelled_kinds, repeated
    FROM held h;
    rest := ARRAY(SELECT unnest(rest) EXCEPT SELECT unnest(answered));

    IF relabelled IS NOT NULL THEN
        DELETE FROM labels b USING unnest(relabelled, relabels) AS c (log, labels)
        WHERE b.log = c.log AND c.labels::jsonb ->> b.name IS DISTINCT FROM b.value;
        INSERT INTO labels (log, name, kind, value)
        SELECT c.log, n.key, c.kind, n.value
        FROM unnest(relabelled, relabels, relabelled_kinds) AS c (log, labels, kind), jsonb_each_text(c.labels::jsonb) AS n
        ON CONFLICT (log, name) DO NOTHING;
    END IF;

    -- The heads are ours until the end, so what a statement of its own sees of them now is true.
    IF repeated IS NOT NULL THEN
        SELECT array_agg(m.ord), array_agg(4), array_agg(l.seq) INTO more_ords, more_verdicts, more_heads
        FROM unnest(a_kinds, a_names, a_expected, a_counts, a_lengths, a_bodies, a_labels, a_seals)
            WITH ORDINALITY AS m (kind, name, expected, count, lengths, bodies, labels, seal, ord)
        JOIN logs l ON l.kind = m.kind AND l.name = m.name
        WHERE m.ord = ANY (repeated) AND (
            l.seq - m.count = CASE m.expected WHEN -1 THEN 0 WHEN 0 THEN NULL ELSE m.expected END
            AND l.sealed = m.seal AND l.labels = m.labels
            AND EXISTS (SELECT 1 FROM appends a WHERE a.log = l.id AND a.last = l.seq
                AND a.lengths IS NOT DISTINCT FROM m.lengths AND a.bodies = m.bodies)) IS NOT TRUE;
        ords := ords || more_ords;
        verdicts := verdicts || more_verdicts;
        heads := heads || more_heads;
    END IF;

    IF cardinality(rest) > 0 THEN
        WITH m AS MATERIALIZED (
            SELECT u.*, nextval('log_ids') AS log
            FROM unnest(a_kinds, a_names, a_ids, a_expected, a_counts, a_lengths, a_bodies, a_labels, a_seals)
                WITH ORDINALITY AS u (kind, name, id, expected, count, lengths, bodies, labels, seal, ord)
            WHERE u.expected = -1 AND u.ord = ANY (rest)
        ), created AS (
            INSERT INTO logs (id, kind, name, seq, sealed, deleted, labels, append_id)
            SELECT m.log, m.kind, m.name, m.count, m.seal, false, m.labels, m.id FROM m ORDER BY m.kind, m.name
            ON CONFLICT (kind, name) DO NOTHING
            RETURNING id
        ), ours AS MATERIALIZED (
            SELECT m.* FROM m WHERE m.log = ANY (ARRAY(SELECT id FROM created))
        ), written AS (
            INSERT INTO appends (log, last, lengths, bodies) SELECT o.log, o.count, o.lengths, o.bodies FROM ours o
        ), labelled AS (
            INSERT INTO labels (log, name, kind, value)
            SELECT o.log, n.key, o.kind, n.value FROM ours o, jsonb_each_text(o.labels::jsonb) AS n
            WHERE o.labels <> '{}'
        )
        SELECT array_agg(o.ord) INTO answered FROM ours o;
        rest := ARRAY(SELECT unnest(rest) EXCEPT SELECT unnest(answered));
    END IF;

    IF cardinality(rest) > 0 THEN
        SELECT array_agg(m.ord), array_agg(CASE WHEN l.id IS NULL AND m.expected >= 0 THEN 1 ELSE 7 END),
            array_agg(NULL::bigint)
        INTO more_ords, more_verdicts, more_heads
        FROM unnest(a_kinds, a_names, a_expected) WITH ORDINALITY AS m (kind, name, expected, ord)
        LEFT JOIN logs l ON l.kind = m.kind AND l.name = m.name
        WHERE m.ord = ANY (rest);
        ords := ords || more_ords;
        verdicts := verdicts || more_verdicts;
        heads := heads || more_heads;
    END IF;
END $$;

-- Documents and the deletion of their scope exclude each other by a lock on the scope's name, which need not exist as a
-- log. Should two names have the same number, one waits for nothing, no more.
CREATE FUNCTION scope_lock(a_kind text, a_name text) RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT hashtextextended(current_schema() || ' scope ' || a_kind || '/' || a_name, 0) $$;

CREATE FUNCTION delete_log(a_kind text, a_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found_log bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(scope_lock(a_kind, a_name));
    INSERT INTO logs AS l (id, kind, name, seq, sealed, deleted, labels)
    VALUES (nextval('log_ids'), a_kind, a_name, 0, false, true, '{}')
    ON CONFLICT (kind, name) DO UPDATE SET seq = 0, sealed = false, deleted = true, labels = '{}', append_id = NULL
    RETURNING l.id INTO found_log;
    DELETE FROM appends WHERE log = found_log;
    DELETE FROM labels WHERE log = found_log;
    DELETE FROM documents WHERE kind = a_kind AND name = a_name;
END $$;

-- Expected: -1 whatever there is, 0 nothing, else that version. Returns the new version, -1 conflict, -2 gone.
CREATE FUNCTION put_document(
    a_kind text, a_name text, a_path text, a_expected bigint, a_writer text, a_value bytea
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    current bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(scope_lock(a_kind, a_name));
    IF EXISTS (SELECT 1 FROM logs WHERE kind = a_kind AND name = a_name AND deleted) THEN
        RETURN -2;
    END IF;
    LOOP
        SELECT version INTO current FROM documents
        WHERE kind = a_kind AND name = a_name AND path = a_path FOR UPDATE;
        current := coalesce(current, 0);
        IF a_expected <> -1 AND a_expected <> current THEN
            RETURN -1;
        END IF;
        IF current > 0 THEN
            UPDATE documents SET version = current + 1, writer = a_writer, value = a_value
            WHERE kind = a_kind AND name = a_name AND path = a_path;
            RETURN current + 1;
        END IF;
        INSERT INTO documents (kind, name, path, version, writer, value)
        VALUES (a_kind, a_name, a_path, 1, a_writer, a_value)
        ON CONFLICT (kind, name, path) DO NOTHING;
        IF FOUND THEN
            RETURN 1;
        END IF;
        -- Somebody else has just put the first version: it is there now.
    END LOOP;
END $$;

-- Returns whether the version was the expected one. Holds the document until the end, so that no version is removed that
-- came in between.
CREATE FUNCTION remove_document(a_kind text, a_name text, a_path text, a_expected bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    current bigint;
BEGIN
    SELECT version INTO current FROM documents
    WHERE kind = a_kind AND name = a_name AND path = a_path FOR UPDATE;
    IF a_expected <> -1 AND a_expected <> coalesce(current, 0) THEN
        RETURN false;
    END IF;
    DELETE FROM documents WHERE kind = a_kind AND name = a_name AND path = a_path;
    RETURN true;
END $$;

-- 0 written, or there already; 1 another content.
CREATE FUNCTION write_checkpoint(a_run text, a_seq bigint, a_kind text, a_session text, a_content bytea)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    is_same boolean;
BEGIN
    LOOP
        INSERT INTO checkpoints (run, seq, kind, session, size, content)
        VALUES (a_run, a_seq, a_kind, a_session, octet_length(a_content), a_content)
        ON CONFLICT (run, seq, kind) DO NOTHING;
        IF FOUND THEN
            RETURN 0;
        END IF;
        SELECT session IS NOT DISTINCT FROM a_session AND content = a_content INTO is_same
        FROM checkpoints WHERE run = a_run AND seq = a_seq AND kind = a_kind;
        IF FOUND THEN
            RETURN CASE WHEN is_same THEN 0 ELSE 1 END;
        END IF;
        -- Somebody else has just deleted it.
    END LOOP;
END $$;
