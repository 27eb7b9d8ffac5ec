-- maintain() by pg_cron, instead of the dispatcher: for those who want to see all their jobs in one place. As pg_cron may be
-- installed later, in another database or not at all, it is called by EXECUTE.

CREATE FUNCTION webhook_outbox.maintenance_job_name() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- the jobs of all databases are in one list; a name in it has at most 63 bytes
  SELECT CASE WHEN octet_length(n) < 64 THEN n ELSE 'webhook_outbox maintenance ' || md5(current_database()) END
  FROM concat('webhook_outbox maintenance of ', current_database()) n;
$$;
COMMENT ON FUNCTION webhook_outbox.maintenance_job_name() IS 'name of this database''s job in cron.job';

CREATE FUNCTION webhook_outbox.maintenance_job_sql(schedule text DEFAULT '* * * * *') RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('SELECT cron.schedule_in_database(%L, %L, %L, %L, %L)', webhook_outbox.maintenance_job_name(),
                schedule, 'SELECT webhook_outbox.maintain()', current_database(), current_user);
$$;
COMMENT ON FUNCTION webhook_outbox.maintenance_job_sql(text) IS
  'what a superuser runs in the database of pg_cron (1.4 or later) to have it call maintain() in this one';

CREATE FUNCTION webhook_outbox.require_pg_cron(p_hint text) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_database text;
BEGIN
  IF EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
    RETURN;
  END IF;
  BEGIN
    v_database := current_setting('cron.database_name', true);
  EXCEPTION WHEN insufficient_privilege THEN
    v_database := NULL;
  END;
  IF v_database IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('pg_cron is not installed in database "%s"', current_database()),
      HINT = format('If it is in another database, run there: %s. Without pg_cron the dispatcher calls maintain() by itself.', p_hint);
  ELSIF v_database = current_database() THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('pg_cron is not installed in database "%s"', current_database()),
      HINT = 'Run CREATE EXTENSION pg_cron first.';
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
    MESSAGE = format('pg_cron is in database "%s", not in "%s"', v_database, current_database()),
    HINT = format('Run there, as a superuser: %s', p_hint);
END
$$;
COMMENT ON FUNCTION webhook_outbox.require_pg_cron(text) IS
  'fails unless pg_cron is installed in this database; p_hint: what to run in the one where it is';

CREATE FUNCTION webhook_outbox.schedule_maintenance(schedule text DEFAULT '* * * * *') RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_job bigint;
BEGIN
  IF schedule_maintenance.schedule IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
      MESSAGE = 'the schedule is null',
      HINT = 'Leave it out to have maintain() called every minute.';
  END IF;
  PERFORM webhook_outbox.require_pg_cron(webhook_outbox.maintenance_job_sql(schedule_maintenance.schedule));
  EXECUTE format('SELECT cron.schedule(%L, %L, %L)', webhook_outbox.maintenance_job_name(), schedule_maintenance.schedule,
                 'SELECT webhook_outbox.maintain()') INTO v_job;
  RETURN v_job;
EXCEPTION
  WHEN OTHERS THEN
    IF SQLERRM !~ '^invalid schedule' THEN
      RAISE;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('"%s" is no schedule of pg_cron', schedule_maintenance.schedule),
      HINT = 'Write five fields as in a crontab: ''* * * * *'' is every minute, ''*/2 * * * *'' every second one.';
END
$$;
COMMENT ON FUNCTION webhook_outbox.schedule_maintenance(text) IS
  'has pg_cron call maintain(), every minute by default, as the owner of the extension; returns the job''s id. A second call changes the '
  'schedule. If pg_cron is in another database, the error''s hint is what to run there';

CREATE FUNCTION webhook_outbox.unschedule_maintenance() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_name   text := webhook_outbox.maintenance_job_name();
  v_exists boolean;
BEGIN
  PERFORM webhook_outbox.require_pg_cron(format('SELECT cron.unschedule(%L)', v_name));
  EXECUTE 'SELECT EXISTS (SELECT FROM cron.job j WHERE j.jobname = $1 AND j.username = current_user)'
    INTO v_exists USING v_name;
  IF v_exists THEN
    EXECUTE format('SELECT cron.unschedule(%L)', v_name);
  END IF;
  RETURN v_exists;
END
$$;
COMMENT ON FUNCTION webhook_outbox.unschedule_maintenance() IS
  'ends what schedule_maintenance() began: the dispatcher calls maintain() again; returns whether there was a job';
