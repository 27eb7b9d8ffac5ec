-- What maintain() runs, and when it ran last. It stands here, before the steps themselves, so that each file adds its own:
-- one function without arguments that returns how many rows it dealt with, and one row.
--
--   CREATE FUNCTION webhook_outbox.count_things() RETURNS bigint ...;
--   INSERT INTO webhook_outbox.maintenance_step (step, position, function)
--     VALUES ('things', 35, 'webhook_outbox.count_things()');
--
-- A step does a bounded amount of work, in its own subtransaction, and leaves the rest for the next minute: it says so with
-- request_maintenance().

CREATE TABLE webhook_outbox.maintenance_step (
  step             text PRIMARY KEY CHECK (step ~ '^[a-z][a-z0-9_]{0,62}$'),
  position         integer NOT NULL,
  run_every        interval NOT NULL DEFAULT '1 minute' CHECK (run_every BETWEEN '1 minute' AND '30 days'),
  function         text NOT NULL,
  enabled          boolean NOT NULL DEFAULT true,
  last_started_at  timestamptz,
  last_finished_at timestamptz,
  last_duration    interval,
  last_rows        bigint,
  last_run_by      text,
  last_error       text,
  last_error_at    timestamptz,
  failures         integer NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE webhook_outbox.maintenance_step IS 'what maintain() does; enabled and run_every may be changed, rows added';
COMMENT ON COLUMN webhook_outbox.maintenance_step.step IS 'name of the step';
COMMENT ON COLUMN webhook_outbox.maintenance_step.position IS 'steps run in this order, but those that failed last time after the others';
COMMENT ON COLUMN webhook_outbox.maintenance_step.run_every IS 'how often it is wanted, 1 minute to 30 days; 1 minute: at every run, as after a failure';
COMMENT ON COLUMN webhook_outbox.maintenance_step.function IS
  'the function that does it, with its schema: no arguments, returns bigint (rows dealt with); runs as the owner of the extension';
COMMENT ON COLUMN webhook_outbox.maintenance_step.enabled IS 'false: it is left out';
COMMENT ON COLUMN webhook_outbox.maintenance_step.last_started_at IS 'when it ran last, failed or not; NULL: never';
COMMENT ON COLUMN webhook_outbox.maintenance_step.last_finished_at IS 'when it succeeded last; NULL: never';
COMMENT ON COLUMN webhook_outbox.maintenance_step.last_duration IS 'how long the last run took';
COMMENT ON COLUMN webhook_outbox.maintenance_step.last_rows IS 'rows that the last good run dealt with';
COMMENT ON COLUMN webhook_outbox.maintenance_step.last_run_by IS 'who ran it last: dispatcher, pg_cron or session';
COMMENT ON COLUMN webhook_outbox.maintenance_step.last_error IS 'why it failed last; kept when it works again';
COMMENT ON COLUMN webhook_outbox.maintenance_step.last_error_at IS 'when that was';
COMMENT ON COLUMN webhook_outbox.maintenance_step.failures IS 'how often it has failed since it last worked';

CREATE FUNCTION webhook_outbox.maintenance_step_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_function regprocedure;
BEGIN
  -- A dump brings every step along. Of one that this version has, it is the user's choice that counts.
  IF TG_OP = 'INSERT' THEN
    UPDATE webhook_outbox.maintenance_step s SET enabled = NEW.enabled, run_every = NEW.run_every WHERE s.step = NEW.step;
    IF FOUND THEN
      RETURN NULL;
    END IF;
  END IF;

  BEGIN
    v_function := to_regprocedure(NEW.function);
  EXCEPTION WHEN syntax_error OR invalid_text_representation OR invalid_name OR undefined_object THEN
    v_function := NULL;
  END;
  IF v_function IS NULL OR NOT EXISTS (
       SELECT FROM pg_proc p
       WHERE p.oid = v_function AND p.prokind = 'f' AND p.pronargs = 0 AND NOT p.proretset AND p.prorettype = 'bigint'::regtype) THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_function',
      MESSAGE = format('"%s" is no function that a maintenance step can call', NEW.function),
      HINT = 'Name a function without arguments that returns bigint, with its schema, as in my_schema.my_step().';
  END IF;
  NEW.function := (SELECT format('%I.%I()', n.nspname, p.proname)
                   FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = v_function);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION webhook_outbox.maintenance_step_before_write() IS
  'trigger: checks the function of a step; an INSERT of a step that exists changes enabled and run_every, so that a dump can be loaded';
CREATE TRIGGER maintenance_step_before_write BEFORE INSERT OR UPDATE OF function ON webhook_outbox.maintenance_step
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.maintenance_step_before_write();

-- How long the queue was, once a minute. An endpoint has a row for the minutes in which something waited for it.

CREATE TABLE webhook_outbox.queue_sample (
  at           timestamptz NOT NULL,
  endpoint_id  bigint NOT NULL,
  length       bigint NOT NULL,
  oldest_age_s real NOT NULL,
  resolution   smallint NOT NULL CHECK (resolution IN (1, 60)),
  PRIMARY KEY (resolution, at, endpoint_id)
);
COMMENT ON TABLE webhook_outbox.queue_sample IS
  'deliveries owed, each minute (kept 26 hours) and the largest of each hour (UTC, kept 35 days); written by maintain()';
COMMENT ON COLUMN webhook_outbox.queue_sample.at IS 'start of the minute or hour';
COMMENT ON COLUMN webhook_outbox.queue_sample.endpoint_id IS 'which endpoint, if something waited for it; 0: all together';
COMMENT ON COLUMN webhook_outbox.queue_sample.length IS 'deliveries that were not done; the most of the hour';
COMMENT ON COLUMN webhook_outbox.queue_sample.oldest_age_s IS 'seconds since the event of the oldest was inserted, 0 if there is none; the most of the hour';
COMMENT ON COLUMN webhook_outbox.queue_sample.resolution IS 'minutes that the row stands for: 1 or 60';
