-- maintain() and its steps about rollups, what it shows of itself, and pg_cron. The table of steps is in 28_maintenance.sql.

-- A step's function runs as the owner of the extension. So who may change the table (pg_write_all_data) or replace the
-- function must not become the owner by that.

CREATE FUNCTION webhook_outbox.check_step_function(p_function regprocedure) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_owner  oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = 'webhook_outbox.maintenance_step'::regclass);
  v_author oid := (SELECT p.proowner FROM pg_proc p WHERE p.oid = p_function);
BEGIN
  IF NOT pg_has_role(v_author, v_owner, 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = format('function %s belongs to %s, and would run as %s', p_function, v_author::regrole, v_owner::regrole),
      HINT = format('ALTER FUNCTION %s OWNER TO %s, if that is what it is for.', p_function, v_owner::regrole);
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_step_function(regprocedure) IS
  'fails unless the function of a step belongs to who may do all that the owner of the extension may';

CREATE FUNCTION webhook_outbox.maintain(
  INOUT step     text DEFAULT NULL,
  OUT   rows     bigint,
  OUT   duration interval,
  OUT   error    text) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET lock_timeout = '500ms'
AS $$
DECLARE
  v_only         text := maintain.step;
  v_by           text := webhook_outbox.maintenance_caller();
  v_step         record;
  v_started      timestamptz;
  v_code         text;
  v_is_cancelled boolean := false;
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION USING ERRCODE = 'read_only_sql_transaction',
      MESSAGE = 'webhook_outbox does not work on a standby',
      HINT = 'Call the function on the primary.';
  END IF;
  IF v_only IS NOT NULL AND NOT EXISTS (SELECT FROM webhook_outbox.maintenance_step s WHERE s.step = v_only) THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object',
      MESSAGE = format('there is no maintenance step "%s"', v_only),
      HINT = format('Steps are %s.',
        (SELECT string_agg(s.step, ', ' ORDER BY s.position, s.step) FROM webhook_outbox.maintenance_step s));
  END IF;

  -- in a worker the guard does this, before each statement
  IF v_by <> 'dispatcher' THEN
    PERFORM webhook_outbox.refuse_foreign_objects();
  END IF;

  -- One at a time. Only who may UPDATE this row can lock it.
  PERFORM FROM webhook_outbox.rollup_watermark FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RAISE NOTICE 'maintenance runs already in another session';
    RETURN;
  END IF;

  FOR v_step IN
    SELECT s.step, s.function, s.failures
    FROM webhook_outbox.maintenance_step s
    WHERE CASE WHEN v_only IS NOT NULL THEN s.step = v_only
               -- runs are a minute apart, more or less
               ELSE s.enabled AND (s.last_started_at IS NULL OR s.run_every <= '1 minute' OR s.failures > 0
                                   OR s.last_started_at > now()
                                   OR s.last_started_at <= now() - s.run_every + interval '30 seconds') END
    ORDER BY s.failures > 0, s.position, s.step
  LOOP
    step := v_step.step;
    rows := NULL;
    error := NULL;
    v_started := clock_timestamp();
    PERFORM FROM webhook_outbox.maintenance_step s WHERE s.step = v_step.step FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
      duration := '0';
      error := 'its row in maintenance_step is locked by another session';
      RETURN NEXT;
      CONTINUE;
    END IF;

    BEGIN
      PERFORM webhook_outbox.check_step_function(v_step.function::regprocedure);
      EXECUTE format('SELECT %s()', v_step.function::regprocedure::oid::regproc) INTO rows;
    EXCEPTION
      WHEN query_canceled THEN
        -- by statement_timeout or by somebody who does not want to wait: record it, and run no other step
        v_code := SQLSTATE;
        error := SQLERRM;
        v_is_cancelled := true;
      WHEN OTHERS THEN
        v_code := SQLSTATE;
        error := SQLERRM;
    END;
    duration := clock_timestamp() - v_started;

    UPDATE webhook_outbox.maintenance_step s
      SET last_started_at = v_started,
          last_finished_at = CASE WHEN maintain.error IS NULL THEN clock_timestamp() ELSE s.last_finished_at END,
          last_duration = maintain.duration,
          last_rows = CASE WHEN maintain.error IS NULL THEN coalesce(maintain.rows, 0) ELSE s.last_rows END,
          last_run_by = v_by,
          last_error = coalesce(maintain.error, s.last_error),
          last_error_at = CASE WHEN maintain.error IS NULL THEN s.last_error_at ELSE clock_timestamp() END,
          failures = CASE WHEN maintain.error IS NULL THEN 0 ELSE s.failures + 1 END
    WHERE s.step = v_step.step;
    IF error IS NULL AND v_step.failures > 0 THEN
      PERFORM webhook_outbox.log_line(format('webhook_outbox maintenance step "%s" works again', v_step.step));
    ELSIF error IS NOT NULL AND v_step.failures = 0 THEN
      RAISE WARNING USING ERRCODE = v_code,
        MESSAGE = format('webhook_outbox maintenance step "%s" failed: %s', v_step.step, error),
        HINT = 'It is tried again with each run, and not reported again before it has worked. See webhook_outbox.maintenance_status.';
    END IF;
    RETURN NEXT;
    EXIT WHEN v_is_cancelled;
  END LOOP;

  IF v_only IS NULL THEN
    PERFORM webhook_outbox.note_maintenance();
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.maintain(text) IS
  'runs the maintenance steps that are due, or the one that is named, due or not, enabled or not; returns a row for each. To '
  'be called once a minute: the dispatcher sees to that unless somebody else does, see maintenance_status and schedule_maintenance()';

-- Joining rollups. One transaction writes the joined rows and moves the watermark, so after a crash it is done or not.

CREATE FUNCTION webhook_outbox.join_rollups(p_resolution smallint, p_from timestamptz, p_to timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_bucket timestamptz := date_trunc(CASE p_resolution WHEN 60 THEN 'hour' ELSE 'day' END, p_from, 'UTC');
  v_source smallint := CASE p_resolution WHEN 60 THEN 1 ELSE 60 END;
  v_n      bigint;
  v_rows   bigint;
BEGIN
  INSERT INTO webhook_outbox.endpoint_rollup (bucket, resolution, tier, endpoint_id, attempts, failures, retries, delivered,
    late, dead, retried, redelivered, latency_sum_ms, http_sum_ms, latency_max_ms, http_max_ms, latency, http)
    SELECT v_bucket, p_resolution, r.tier, r.endpoint_id, sum(r.attempts), sum(r.failures), sum(r.retries), sum(r.delivered),
           sum(r.late), sum(r.dead), sum(r.retried), sum(r.redelivered), sum(r.latency_sum_ms), sum(r.http_sum_ms),
           max(r.latency_max_ms), max(r.http_max_ms), webhook_outbox.histogram_merge(r.latency),
           webhook_outbox.histogram_merge(r.http)
    FROM webhook_outbox.endpoint_rollup r
    WHERE r.resolution = v_source AND r.bucket >= p_from AND r.bucket < p_to
    GROUP BY r.tier, r.endpoint_id;
  GET DIAGNOSTICS v_rows = ROW_COUNT;

  INSERT INTO webhook_outbox.series_rollup (bucket, resolution, series_id, attempts, failures, retries, delivered,
    late, dead, retried, redelivered, latency_sum_ms, http_sum_ms, latency_max_ms, http_max_ms, latency, http)
    SELECT v_bucket, p_resolution, r.series_id, sum(r.attempts), sum(r.failures), sum(r.retries), sum(r.delivered),
           sum(r.late), sum(r.dead), sum(r.retried), sum(r.redelivered), sum(r.latency_sum_ms), sum(r.http_sum_ms),
           max(r.latency_max_ms), max(r.http_max_ms), webhook_outbox.histogram_merge(r.latency),
           webhook_outbox.histogram_merge(r.http)
    FROM webhook_outbox.series_rollup r
    WHERE r.resolution = v_source AND r.bucket >= p_from AND r.bucket < p_to
    GROUP BY r.series_id;
  GET DIAGNOSTICS v_n = ROW_COUNT;
  v_rows := v_rows + v_n;

  INSERT INTO webhook_outbox.error_rollup (bucket, resolution, endpoint_id, outcome, http_status, attempts)
    SELECT v_bucket, p_resolution, r.endpoint_id, r.outcome, r.http_status, sum(r.attempts)
    FROM webhook_outbox.error_rollup r
    WHERE r.resolution = v_source AND r.bucket >= p_from AND r.bucket < p_to
    GROUP BY r.endpoint_id, r.outcome, r.http_status;
  GET DIAGNOSTICS v_n = ROW_COUNT;
  RETURN v_rows + v_n;
END
$$;
COMMENT ON FUNCTION webhook_outbox.join_rollups(smallint, timestamptz, timestamptz) IS
  'adds the rows that join the minutes (60) or hours (1440) from p_from up to p_to, which lie in one hour or day; returns how many';

CREATE FUNCTION webhook_outbox.first_rollup(p_resolution smallint, p_from timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT least(
    (SELECT min(r.bucket) FROM webhook_outbox.endpoint_rollup r WHERE r.resolution = p_resolution AND r.bucket >= p_from),
    (SELECT min(r.bucket) FROM webhook_outbox.series_rollup r WHERE r.resolution = p_resolution AND r.bucket >= p_from),
    (SELECT min(r.bucket) FROM webhook_outbox.error_rollup r WHERE r.resolution = p_resolution AND r.bucket >= p_from),
    'infinity');
$$;
COMMENT ON FUNCTION webhook_outbox.first_rollup(smallint, timestamptz) IS
  'the earliest bucket of that resolution from p_from on; infinity: there is none';

CREATE FUNCTION webhook_outbox.roll_up(p_unit text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_deadline timestamptz := clock_timestamp() + interval '2 seconds';
  v_is_hour  boolean := p_unit = 'hour';
  v_source   smallint := CASE WHEN v_is_hour THEN 1 ELSE 60 END;
  v_until    timestamptz;
  v_from     timestamptz;
  v_to       timestamptz;
  v_rows     bigint := 0;
BEGIN
  -- Read before the rollups are: what was recorded before since_at is in them then.
  SELECT date_trunc(p_unit, CASE WHEN v_is_hour THEN least(o.since_at, now() - interval '15 minutes')
                                 ELSE w.hour_until END, 'UTC'),
         CASE WHEN v_is_hour THEN w.hour_until ELSE w.day_until END
    INTO v_until, v_to
  FROM webhook_outbox.rollup_watermark w LEFT JOIN webhook_outbox.open_rollup o ON true;

  WHILE v_to < v_until LOOP
    IF clock_timestamp() > v_deadline THEN
      PERFORM webhook_outbox.request_maintenance();
      EXIT;
    END IF;
    v_from := greatest(v_to, date_trunc(p_unit, webhook_outbox.first_rollup(v_source, v_to), 'UTC'));
    IF v_from >= v_until THEN
      v_to := v_until;
    ELSE
      -- a day of UTC has 24 hours, whatever the session's time zone says
      v_to := date_trunc(p_unit, v_from, 'UTC') + CASE WHEN v_is_hour THEN interval '1 hour' ELSE interval '24 hours' END;
      v_rows := v_rows + webhook_outbox.join_rollups(CASE WHEN v_is_hour THEN 60 ELSE 1440 END::smallint, v_from, v_to);
    END IF;
    UPDATE webhook_outbox.rollup_watermark w
      SET hour_until = CASE WHEN v_is_hour THEN v_to ELSE w.hour_until END,
          day_until = CASE WHEN v_is_hour THEN w.day_until ELSE v_to END;
  END LOOP;
  RETURN v_rows;
END
$$;
COMMENT ON FUNCTION webhook_outbox.roll_up(text) IS
  'joins the minutes of hours (hour) or the hours of days (day) that are over; goes on for about 2 seconds; returns rows written';

CREATE FUNCTION webhook_outbox.roll_up_hours() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$ SELECT webhook_outbox.roll_up('hour') $$;
COMMENT ON FUNCTION webhook_outbox.roll_up_hours() IS
  'maintenance step: joins the minutes of hours that are over for 15 minutes; goes on for about 2 seconds';

CREATE FUNCTION webhook_outbox.roll_up_days() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$ SELECT webhook_outbox.roll_up('day') $$;
COMMENT ON FUNCTION webhook_outbox.roll_up_days() IS
  'maintenance step: joins the hours of days (UTC) whose hours are all joined; goes on for about 2 seconds';

-- By index: resolution and age go together, which the planner does not know, and so it would read everything to find nothing.

CREATE FUNCTION webhook_outbox.forget_rollups() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  v_deadline timestamptz := clock_timestamp() + interval '2 seconds';
  v_batch    CONSTANT integer := 10000;
  v_kind     record;
  v_n        bigint;
  v_rows     bigint := 0;
BEGIN
  FOR v_kind IN
    SELECT t.name, k.resolution, k.until
    FROM unnest('{endpoint_rollup,series_rollup,error_rollup}'::text[]) t(name),
         webhook_outbox.rollup_watermark w,
         LATERAL (VALUES
           -- never what is not joined yet
           (1, least(now() - interval '26 hours', w.hour_until)),
           (60, least(now() - interval '35 days', w.day_until)),
           (1440, now() - coalesce(current_setting('webhook_outbox.metrics_retention', true), '400 days')::interval)
         ) k(resolution, until)
  LOOP
    LOOP
      EXECUTE format('DELETE FROM webhook_outbox.%1$I WHERE ctid = ANY (ARRAY('
        'SELECT r.ctid FROM webhook_outbox.%1$I r WHERE r.resolution = $1 AND r.bucket < $2 LIMIT $3))', v_kind.name)
        USING v_kind.resolution, v_kind.until, v_batch;
      GET DIAGNOSTICS v_n = ROW_COUNT;
      v_rows := v_rows + v_n;
      EXIT WHEN v_n < v_batch;
      IF clock_timestamp() > v_deadline THEN
        PERFORM webhook_outbox.request_maintenance();
        RETURN v_rows;
      END IF;
    END LOOP;
  END LOOP;
  RETURN v_rows;
END
$$;
COMMENT ON FUNCTION webhook_outbox.forget_rollups() IS
  'maintenance step: deletes minutes after 26 hours, hours after 35 days, days after webhook_outbox.metrics_retention, once they '
  'are joined; 10,000 rows at a time, for about 2 seconds';

-- Samples of the queue. A second run in the same minute replaces the first one's.

CREATE FUNCTION webhook_outbox.sample_queue() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_minute timestamptz := date_trunc('minute', now());
  v_hour   timestamptz := date_trunc('hour', now(), 'UTC');
  v_n      bigint;
  v_rows   bigint;
BEGIN
  DELETE FROM webhook_outbox.queue_sample s WHERE s.resolution = 1 AND s.at = v_minute;
  INSERT INTO webhook_outbox.queue_sample (at, endpoint_id, length, oldest_age_s, resolution)
    SELECT v_minute, coalesce(f.endpoint_id, 0), coalesce(sum(f.length), 0),
           greatest(coalesce(extract(epoch FROM now() - min(f.oldest_at)), 0), 0), 1
    FROM (SELECT q.endpoint_id, q.oldest_at, q.waiting + q.retrying + q.parked + q.scheduled + q.blocked AS length
          FROM webhook_outbox.queue_facts() q) f
    WHERE f.length > 0
    GROUP BY GROUPING SETS ((f.endpoint_id), ());
  GET DIAGNOSTICS v_rows = ROW_COUNT;
  IF v_rows > 1 THEN
    PERFORM webhook_outbox.request_maintenance();
  END IF;

  -- Each minute has a row of endpoint 0, so the last hour that was joined is known from its own.
  INSERT INTO webhook_outbox.queue_sample (at, endpoint_id, length, oldest_age_s, resolution)
    SELECT date_trunc('hour', s.at, 'UTC'), s.endpoint_id, max(s.length), max(s.oldest_age_s), 60
    FROM webhook_outbox.queue_sample s
    WHERE s.resolution = 1 AND s.at < v_hour
      AND s.at >= coalesce((SELECT max(h.at) + interval '1 hour' FROM webhook_outbox.queue_sample h WHERE h.resolution = 60),
                           '-infinity')
    GROUP BY 1, 2;
  GET DIAGNOSTICS v_n = ROW_COUNT;
  v_rows := v_rows + v_n;

  DELETE FROM webhook_outbox.queue_sample s
  WHERE s.ctid = ANY (ARRAY(
    SELECT o.ctid FROM webhook_outbox.queue_sample o
    WHERE (o.resolution = 1 AND o.at < now() - interval '26 hours')
       OR (o.resolution = 60 AND o.at < now() - interval '35 days')
    LIMIT 10000));
  GET DIAGNOSTICS v_n = ROW_COUNT;
  RETURN v_rows + v_n;
END
$$;
COMMENT ON FUNCTION webhook_outbox.sample_queue() IS
  'maintenance step: notes how long the queue is, and the most of each hour that is over; deletes minutes after 26 hours, hours '
  'after 35 days, at most 10,000 rows a run';

INSERT INTO webhook_outbox.maintenance_step (step, position, function) VALUES
  ('queue_samples', 5, 'webhook_outbox.sample_queue()'),
  ('rollup_hours', 60, 'webhook_outbox.roll_up_hours()'),
  ('rollup_days', 70, 'webhook_outbox.roll_up_days()'),
  ('rollup_retention', 80, 'webhook_outbox.forget_rollups()');

-- A dump brings the watermark of its rollups along, for the one row that is there.

CREATE FUNCTION webhook_outbox.rollup_watermark_before_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE webhook_outbox.rollup_watermark SET hour_until = NEW.hour_until, day_until = NEW.day_until;
  RETURN CASE WHEN NOT FOUND THEN NEW END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.rollup_watermark_before_insert() IS
  'trigger: a second row replaces the first, so that a dump can be loaded';
CREATE TRIGGER rollup_watermark_before_insert BEFORE INSERT ON webhook_outbox.rollup_watermark
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.rollup_watermark_before_insert();

CREATE VIEW webhook_outbox.maintenance_status AS
  SELECT s.step,
         CASE WHEN NOT s.enabled THEN 'disabled'
              WHEN s.failures > 0 THEN 'failing'
              WHEN s.last_started_at IS NULL THEN 'never run'
              WHEN n.is_late THEN 'late'
              ELSE 'ok' END AS state,
         s.last_run_by AS run_by, s.last_started_at AS last_run_at, s.last_duration AS duration, s.last_rows AS rows,
         CASE WHEN s.failures > 0 THEN s.last_error END AS error, s.failures, s.last_error, s.last_error_at,
         n.next_due_at,
         CASE WHEN s.enabled AND (n.is_late OR s.last_started_at IS NULL OR s.failures > 0) THEN
           CASE WHEN w.has_dispatcher IS NULL THEN 'webhook_outbox is not preloaded, so no dispatcher runs'
                WHEN NOT w.has_dispatcher THEN 'no dispatcher runs, see worker_status'
                WHEN w.error IS NOT NULL THEN w.error
                WHEN w.is_off THEN 'webhook_outbox.maintenance is off, and nobody else calls maintain()' END
         END AS problem
  FROM webhook_outbox.maintenance_step s,
       LATERAL (SELECT CASE WHEN s.enabled THEN coalesce(s.last_started_at + s.run_every, now()) END AS next_due_at,
                       -- an idle database is maintained every five minutes
                       coalesce(s.last_started_at + s.run_every + interval '6 minutes' < now(), false) AS is_late) n,
       (SELECT m.error, m.has_dispatcher, current_setting('webhook_outbox.maintenance', true) = 'off' AS is_off
        FROM webhook_outbox.maintenance_worker() m) w
  ORDER BY s.position, s.step;
COMMENT ON VIEW webhook_outbox.maintenance_status IS
  'the steps of maintain(): how the last run went; a role that is to read it needs EXECUTE on maintenance_worker() too';
COMMENT ON COLUMN webhook_outbox.maintenance_status.step IS 'name of the step, for maintain(step)';
COMMENT ON COLUMN webhook_outbox.maintenance_status.state IS
  'ok, late (6 minutes overdue), failing, disabled or never run';
COMMENT ON COLUMN webhook_outbox.maintenance_status.run_by IS 'who ran it last: dispatcher, pg_cron or session';
COMMENT ON COLUMN webhook_outbox.maintenance_status.last_run_at IS 'when that was, failed or not';
COMMENT ON COLUMN webhook_outbox.maintenance_status.duration IS 'how long it took';
COMMENT ON COLUMN webhook_outbox.maintenance_status.rows IS 'rows that the last good run dealt with';
COMMENT ON COLUMN webhook_outbox.maintenance_status.error IS 'why the last run failed; NULL: it did not';
COMMENT ON COLUMN webhook_outbox.maintenance_status.failures IS 'how often it has failed since it last worked';
COMMENT ON COLUMN webhook_outbox.maintenance_status.last_error IS 'why it failed last, also when it works again';
COMMENT ON COLUMN webhook_outbox.maintenance_status.last_error_at IS 'when that was';
COMMENT ON COLUMN webhook_outbox.maintenance_status.next_due_at IS 'when it is wanted next; NULL: it is disabled';
COMMENT ON COLUMN webhook_outbox.maintenance_status.problem IS
  'what keeps maintain() from running, for a step that is late, failing or has never run';
