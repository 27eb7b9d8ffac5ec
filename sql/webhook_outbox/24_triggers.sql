-- The triggers: what is checked when a row is written, and how the dispatcher learns of it. Functions of endpoint,
-- endpoint_secret and endpoint_header run as the owner, so that a role with a GRANT on those tables alone can write them.

-- event: append-only. The row trigger fires always: rows that replication brings must not be sent again. The refusal is a
-- statement trigger on the parent: the dispatcher empties leaves by name and never meets it. See 92_replication.sql for those.

CREATE TRIGGER event_before_insert BEFORE INSERT ON webhook_outbox.event
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.event_before_insert();
ALTER TABLE webhook_outbox.event ENABLE ALWAYS TRIGGER event_before_insert;

CREATE FUNCTION webhook_outbox.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
    MESSAGE = format('%s on webhook_outbox.%s is not allowed', TG_OP, TG_TABLE_NAME),
    HINT = TG_ARGV[0];
END
$$;
COMMENT ON FUNCTION webhook_outbox.refuse_change() IS 'trigger: refuses the statement, its argument is the hint';

CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhook_outbox.event
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change(
    'Events are append-only and go away after webhook_outbox.event_retention; webhook_outbox.cancel() stops a delivery.');
CREATE TRIGGER endpoint_no_truncate BEFORE TRUNCATE ON webhook_outbox.endpoint
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('Use DELETE, so that waiting deliveries become dead letters.');
CREATE TRIGGER endpoint_secret_no_truncate BEFORE TRUNCATE ON webhook_outbox.endpoint_secret
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('Use webhook_outbox.rotate_secret() to replace a key.');
CREATE TRIGGER endpoint_header_no_truncate BEFORE TRUNCATE ON webhook_outbox.endpoint_header
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('Use webhook_outbox.set_headers() to replace headers.');

-- What is owed and how far it is done: emptied at one stroke, it would be lost without a trace.
CREATE TRIGGER delivery_no_truncate BEFORE TRUNCATE ON webhook_outbox.delivery
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('webhook_outbox.cancel() stops a delivery, pause_endpoint() all of an endpoint.');
CREATE TRIGGER dead_letter_no_truncate BEFORE TRUNCATE ON webhook_outbox.dead_letter
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('webhook_outbox.discard_dead_letters() deletes dead letters that are not to be sent again.');
CREATE TRIGGER command_no_truncate BEFORE TRUNCATE ON webhook_outbox.command
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('The dispatcher deletes what it has done.');
CREATE TRIGGER endpoint_change_no_truncate BEFORE TRUNCATE ON webhook_outbox.endpoint_change
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('The dispatcher deletes what it has taken over.');
CREATE TRIGGER cursor_no_truncate BEFORE TRUNCATE ON webhook_outbox.cursor
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('Without it nobody knows which events are delivered.');
CREATE TRIGGER claim_no_truncate BEFORE TRUNCATE ON webhook_outbox.claim
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('Without it nobody knows whether this database may deliver.');
CREATE TRIGGER ring_leaf_no_truncate BEFORE TRUNCATE ON webhook_outbox.ring_leaf
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('Without it nobody knows which events are delivered.');

-- endpoint: each column that is set is checked, one that stays as it was is not

CREATE FUNCTION webhook_outbox.check_retry_schedule(schedule interval[]) RETURNS void
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_delay interval;
BEGIN
  IF coalesce(array_ndims(schedule), 0) <> 1 OR cardinality(schedule) > 100 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = CASE WHEN cardinality(schedule) > 100 THEN format('retry_schedule has %s delays', cardinality(schedule))
                     ELSE format('retry_schedule must be a list of delays, not %L', schedule) END,
      HINT = '1 to 100 delays make 2 to 101 attempts; webhook_outbox.exponential_schedule() builds such a list.';
  END IF;
  FOREACH v_delay IN ARRAY schedule LOOP
    IF v_delay IS NULL OR extract(epoch FROM v_delay) NOT BETWEEN 0 AND 31557600 THEN
      RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
        MESSAGE = format('delay %L of retry_schedule is out of range', v_delay),
        HINT = 'Each delay is 0 to 1 year.';
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_retry_schedule(interval[]) IS
  'fails unless these are the delays that an endpoint may have';

CREATE FUNCTION webhook_outbox.check_endpoint_name(p_name text, p_endpoint_id bigint) RETURNS void
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF char_length(p_name) NOT BETWEEN 1 AND 100 OR p_name ~ '[[:cntrl:]]|^[[:space:]]|[[:space:]]$' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_name',
      MESSAGE = format('%L is not a name for an endpoint', left(p_name, 120)),
      HINT = 'A name has 1 to 100 characters, no control characters, and no space at either end.';
  END IF;
  IF EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.name = p_name AND p.endpoint_id <> p_endpoint_id) THEN
    RAISE EXCEPTION USING ERRCODE = 'unique_violation',
      MESSAGE = format('endpoint "%s" already exists', p_name),
      HINT = 'Choose another name, or UPDATE webhook_outbox.endpoint to change that one.';
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_endpoint_name(text, bigint) IS
  'fails unless this is a name that the endpoint with this id may have';

CREATE FUNCTION webhook_outbox.check_endpoint(p_new webhook_outbox.endpoint) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_message text;
  v_hint    text;
  v_code    text := 'invalid_parameter_value';
BEGIN
  IF p_new.tenant = '' THEN
    v_message := 'tenant of an endpoint must not be empty';
    v_hint := 'NULL means: events of every tenant and of none.';
  ELSIF octet_length(p_new.tenant) > 255 THEN
    v_message := format('tenant of an endpoint is %s bytes long', octet_length(p_new.tenant));
    v_hint := 'At most 255 bytes are allowed: no event has a longer one.';
  ELSIF NOT EXISTS (SELECT FROM webhook_outbox.tier t WHERE t.tier = p_new.tier) THEN
    v_code := 'foreign_key_violation';
    v_message := format('tier %s does not exist', p_new.tier);
    v_hint := (SELECT format('Tiers: %s. Add others to webhook_outbox.tier.',
                             string_agg(format('%s (%s)', t.tier, t.name), ', ' ORDER BY t.tier))
               FROM webhook_outbox.tier t);
  ELSIF array_ndims(p_new.event_types) > 1 THEN
    v_message := format('event_types must be a plain list, not %L', p_new.event_types);
    v_hint := 'For example {order.*,user.created}.';
  ELSIF p_new.body_format NOT IN ('envelope', 'standard', 'raw', 'cloudevents', 'cloudevents_binary') THEN
    v_message := format('body_format %L does not exist', p_new.body_format);
    v_hint := 'Use envelope, standard, raw, cloudevents or cloudevents_binary.';
  ELSIF extract(epoch FROM p_new.timeout) NOT BETWEEN 0.1 AND 300 THEN
    v_message := format('timeout %L is out of range', p_new.timeout);
    v_hint := 'A timeout is 100 ms to 5 minutes.';
  ELSIF p_new.retry_jitter NOT BETWEEN 0 AND 1 THEN
    v_message := format('retry_jitter %s is out of range', p_new.retry_jitter);
    v_hint := 'It is a share of the delay, 0 to 1: 0.2 changes each delay at random by up to 20 per cent.';
  ELSIF p_new.max_in_flight NOT BETWEEN 1 AND 1000 THEN
    v_message := format('max_in_flight %s is out of range', p_new.max_in_flight);
    v_hint := 'From 1 to 1000 requests can be under way at once.';
  ELSIF p_new.http_version NOT IN ('1.1', '2') THEN
    v_message := format('http_version %L is not known', p_new.http_version);
    v_hint := 'Use 1.1, or 2 to offer HTTP/2 over TLS.';
  ELSIF p_new.success_objective NOT BETWEEN 0.0001 AND 99.9999 THEN
    v_message := format('success_objective %s is out of range', p_new.success_objective);
    v_hint := 'It is in per cent, above 0 and below 100: 99.9 allows one delivery of 1000 to fail. NULL means: that of the tier.';
  ELSIF extract(epoch FROM p_new.latency_objective) NOT BETWEEN 0.01 AND 2592000 THEN
    v_message := format('latency_objective %L is out of range', p_new.latency_objective);
    v_hint := 'It is 10 ms to 30 days. NULL means: that of the tier.';
  ELSIF char_length(p_new.owner) > 200 THEN
    v_message := format('owner of an endpoint has %s characters', char_length(p_new.owner));
    v_hint := 'At most 200 are allowed: it stands in alerts and incidents. The rest can go into description.';
  ELSIF char_length(p_new.description) > 1000 THEN
    v_message := format('description of an endpoint has %s characters', char_length(p_new.description));
    v_hint := 'At most 1000 are allowed: of what is longer, keep the address.';
  ELSIF octet_length(p_new.ca_certificates) > 262144
        OR p_new.ca_certificates !~ '-----BEGIN CERTIFICATE-----[[:space:]][A-Za-z0-9+/=[:space:]]+-----END CERTIFICATE-----' THEN
    v_message := 'ca_certificates is not a list of PEM certificates of at most 256 kB';
    v_hint := 'It reads -----BEGIN CERTIFICATE-----, base64, -----END CERTIFICATE-----; NULL means: the CA bundle of the system.';
  ELSE
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = v_code, MESSAGE = v_message, HINT = v_hint;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_endpoint(webhook_outbox.endpoint) IS
  'fails unless the simple columns of an endpoint (tier, body_format, timeout, ...) are in range';

CREATE FUNCTION webhook_outbox.endpoint_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_is_insert boolean := TG_OP = 'INSERT';
  v_null      text;
  v_state     text[] := '{enabled,disabled_reason,disabled_at}';
BEGIN
  SELECT c.key INTO v_null
  FROM jsonb_each_text(to_jsonb(NEW)) c
  WHERE c.value IS NULL
    AND c.key IN ('name', 'url', 'event_types', 'tier', 'enabled', 'body_format', 'timeout', 'retry_schedule', 'retry_jitter',
                  'max_in_flight', 'http_version', 'endpoint_id', 'created_at', 'updated_at') -- not those that others add
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'not_null_violation',
      MESSAGE = format('%s of an endpoint must not be null', v_null),
      HINT = CASE WHEN v_null IN ('name', 'url') THEN 'Every endpoint has a name and a url.'
                  ELSE 'Leave it out to get its default.' END;
  END IF;
  -- Only OVERRIDING SYSTEM VALUE and options of the identity give one like this. In commands 0 means: all endpoints.
  IF v_is_insert AND NEW.endpoint_id < 1 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('endpoint_id %s is out of range', NEW.endpoint_id),
      HINT = 'It is at least 1. Leave it out to get the next number.';
  END IF;
  IF NOT v_is_insert AND NEW.endpoint_id <> OLD.endpoint_id THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('endpoint_id of endpoint "%s" cannot be changed', OLD.name),
      HINT = 'Its deliveries, attempts and dead letters refer to it. Change the name if you like.';
  END IF;

  IF v_is_insert OR NEW.name <> OLD.name THEN
    PERFORM webhook_outbox.check_endpoint_name(NEW.name, NEW.endpoint_id);
  END IF;
  IF v_is_insert OR NEW.url <> OLD.url THEN
    PERFORM webhook_outbox.check_url(NEW.url);
  END IF;
  IF v_is_insert OR NEW.proxy IS DISTINCT FROM OLD.proxy THEN
    PERFORM webhook_outbox.check_proxy(NEW.proxy);
  END IF;
  IF v_is_insert OR NEW.event_types <> OLD.event_types THEN
    PERFORM webhook_outbox.check_event_types(NEW.event_types);
  END IF;
  IF v_is_insert OR NEW.retry_schedule <> OLD.retry_schedule THEN
    PERFORM webhook_outbox.check_retry_schedule(NEW.retry_schedule);
  END IF;
  -- Pausing must not fail for the rest, which a load without triggers may have brought: the dispatcher does it after HTTP 410.
  IF v_is_insert OR to_jsonb(NEW) - v_state <> to_jsonb(OLD) - v_state THEN
    PERFORM webhook_outbox.check_endpoint(NEW);
    -- events are compared in UTF-8: fails if the tenant has no equivalent there
    PERFORM convert_to(NEW.tenant, 'UTF8');
  END IF;

  IF NEW.enabled THEN
    NEW.disabled_reason := NULL;
    NEW.disabled_at := NULL;
  END IF;
  IF v_is_insert THEN
    NEW.updated_at := NEW.created_at;
    -- Restored: a copy, and pg_restore --jobs may load its claim last. Whoever sees this row sees a second claim too.
    -- Two IFs: as one expression the look at claim would be planned for every endpoint, under create_endpoint()'s settings.
    IF NEW.created_at <> now() THEN
      IF (SELECT count(*) = 1 FROM webhook_outbox.claim) THEN
        INSERT INTO webhook_outbox.claim (system_identifier, database_id, instance_id) VALUES (0, 0, '');
        RAISE WARNING USING
          MESSAGE = format('endpoint "%s" has a created_at of its own: this database is taken for a restored copy and sends nothing',
                           NEW.name),
          HINT = 'To send from here call webhook_outbox.resume_delivery(). Leave created_at out when you make an endpoint.';
      END IF;
    END IF;
  ELSIF NEW IS DISTINCT FROM OLD THEN
    NEW.updated_at := clock_timestamp();
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION webhook_outbox.endpoint_before_write() IS
  'trigger: checks an endpoint, sets updated_at, forgets why it was disabled when it is enabled, knows a restored one';
CREATE TRIGGER endpoint_before_write BEFORE INSERT OR UPDATE ON webhook_outbox.endpoint
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.endpoint_before_write();

CREATE FUNCTION webhook_outbox.endpoint_after_update() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- one that asks for something else is noted at commit, see endpoint_at_commit
  IF NEW IS DISTINCT FROM OLD AND NEW.event_types = OLD.event_types AND NEW.tenant IS NOT DISTINCT FROM OLD.tenant THEN
    INSERT INTO webhook_outbox.endpoint_change (endpoint_id, name, is_deleted) VALUES (NEW.endpoint_id, NEW.name, false);
  END IF;
  -- what the dispatcher does after HTTP 410 is in disabled_at and disabled_reason
  IF NEW.enabled <> OLD.enabled AND NEW.disabled_at IS NULL THEN
    PERFORM webhook_outbox.note_action(CASE WHEN NEW.enabled THEN 'resume' ELSE 'pause' END, NEW.endpoint_id, NEW.name, NULL,
                                       NULL);
  END IF;
  PERFORM webhook_outbox.request_wakeup('endpoints');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION webhook_outbox.endpoint_after_update() IS 'trigger: tells the dispatcher of a change of an endpoint, and notes who paused or resumed it';
CREATE TRIGGER endpoint_after_update AFTER UPDATE ON webhook_outbox.endpoint
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.endpoint_after_update();

-- What an endpoint asks for is noted at commit: what others have committed until then is owed as it was.

CREATE FUNCTION webhook_outbox.endpoint_at_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    INSERT INTO webhook_outbox.endpoint_change (endpoint_id, name, is_deleted, event_types, tenant, xid)
      VALUES (OLD.endpoint_id, OLD.name, true, OLD.event_types, OLD.tenant, webhook_outbox.deletion_xid());
    PERFORM webhook_outbox.note_action('delete', OLD.endpoint_id, OLD.name, NULL, NULL);
  ELSE
    INSERT INTO webhook_outbox.endpoint_change (endpoint_id, name, is_deleted, event_types, tenant, until)
      VALUES (NEW.endpoint_id, NEW.name, false, coalesce(OLD.event_types, '{}'), OLD.tenant,
              webhook_outbox.commit_snapshot());
  END IF;
  PERFORM webhook_outbox.request_wakeup('endpoints');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION webhook_outbox.endpoint_at_commit() IS
  'trigger: tells the dispatcher from when on an endpoint asks for something else, and notes who deleted it';
CREATE CONSTRAINT TRIGGER endpoint_at_commit AFTER INSERT OR DELETE ON webhook_outbox.endpoint
  DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.endpoint_at_commit();
CREATE CONSTRAINT TRIGGER endpoint_asks_anew AFTER UPDATE ON webhook_outbox.endpoint
  DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.event_types <> OLD.event_types OR NEW.tenant IS DISTINCT FROM OLD.tenant)
  EXECUTE FUNCTION webhook_outbox.endpoint_at_commit();

-- tier: its objectives are those of its endpoints, which the dispatcher has to load again

CREATE FUNCTION webhook_outbox.tier_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_message text;
  v_hint    text;
BEGIN
  IF NEW.tier NOT BETWEEN 1 AND 9 THEN
    v_message := format('tier %s is out of range', NEW.tier);
    v_hint := 'A tier is a number from 1, which matters most, to 9.';
  ELSIF char_length(NEW.name) NOT BETWEEN 1 AND 100 OR NEW.name ~ '[[:cntrl:]]|^[[:space:]]|[[:space:]]$' THEN
    v_message := format('%L is not a name for a tier', left(NEW.name, 120));
    v_hint := 'A name has 1 to 100 characters, no control characters, and no space at either end.';
  ELSIF NEW.success_objective NOT BETWEEN 0.0001 AND 99.9999 THEN
    v_message := format('success_objective %s is out of range', NEW.success_objective);
    v_hint := 'It is in per cent, above 0 and below 100: 99.9 allows one delivery of 1000 to fail.';
  ELSIF extract(epoch FROM NEW.latency_objective) NOT BETWEEN 0.01 AND 2592000 THEN
    v_message := format('latency_objective %L is out of range', NEW.latency_objective);
    v_hint := 'It is 10 ms to 30 days.';
  ELSE
    RETURN NEW;
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = v_message, HINT = v_hint;
END
$$;
COMMENT ON FUNCTION webhook_outbox.tier_before_write() IS 'trigger: checks a tier';
CREATE TRIGGER tier_before_write BEFORE INSERT OR UPDATE ON webhook_outbox.tier
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.tier_before_write();

CREATE FUNCTION webhook_outbox.tier_after_update() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO webhook_outbox.endpoint_change (endpoint_id, name, is_deleted)
    SELECT p.endpoint_id, p.name, false FROM webhook_outbox.endpoint p
    WHERE p.tier = NEW.tier AND p.latency_objective IS NULL;
  PERFORM webhook_outbox.request_wakeup('endpoints');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION webhook_outbox.tier_after_update() IS
  'trigger: tells the dispatcher of a changed latency_objective of endpoints';
CREATE TRIGGER tier_after_update AFTER UPDATE ON webhook_outbox.tier
  FOR EACH ROW WHEN (NEW.latency_objective IS DISTINCT FROM OLD.latency_objective)
  EXECUTE FUNCTION webhook_outbox.tier_after_update();

-- claim: a dump that is loaded under a working dispatcher brings a row of its source, before all that could be sent

CREATE FUNCTION webhook_outbox.claim_after_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.request_wakeup('endpoints');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION webhook_outbox.claim_after_write() IS 'trigger: lets the dispatcher look whether this database is a copy';
CREATE TRIGGER claim_after_write AFTER INSERT OR UPDATE OR DELETE ON webhook_outbox.claim
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.claim_after_write();
ALTER TABLE webhook_outbox.claim ENABLE ALWAYS TRIGGER claim_after_write;

-- endpoint_secret: a request has room for four signatures (WO_MAX_KEYS). What is stored here and in endpoint_header is
-- checked and encrypted by a trigger of its own, whose name sorts last.

CREATE FUNCTION webhook_outbox.endpoint_secret_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_keys  integer;
  v_first timestamptz;
  v_name  text;
BEGIN
  IF NEW.expires_at <= clock_timestamp() THEN
    RETURN NEW;
  END IF;
  SELECT count(*), min(s.expires_at) INTO v_keys, v_first
  FROM webhook_outbox.endpoint_secret s
  WHERE s.endpoint_id = NEW.endpoint_id AND s.secret_id <> NEW.secret_id
    AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp());
  IF v_keys >= 4 THEN
    SELECT p.name INTO v_name FROM webhook_outbox.endpoint p WHERE p.endpoint_id = NEW.endpoint_id;
    RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded',
      MESSAGE = format('endpoint "%s" has 4 keys that sign, which is the most', v_name),
      HINT = coalesce(format('The next one ends at %s. ', date_trunc('second', v_first)), '')
             || 'Rotate with overlap => ''0'' to end the old ones now.';
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION webhook_outbox.endpoint_secret_before_write() IS
  'trigger: checks that an endpoint has no more than four keys that sign';
CREATE TRIGGER endpoint_secret_before_write BEFORE INSERT OR UPDATE ON webhook_outbox.endpoint_secret
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.endpoint_secret_before_write();
CREATE TRIGGER endpoint_secret_seal BEFORE INSERT OR UPDATE ON webhook_outbox.endpoint_secret
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.seal_before_write('secret');
CREATE TRIGGER endpoint_header_seal BEFORE INSERT OR UPDATE ON webhook_outbox.endpoint_header
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.seal_before_write('headers');

CREATE FUNCTION webhook_outbox.endpoint_secret_after_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- finds nothing when the row went with its endpoint
  INSERT INTO webhook_outbox.endpoint_change (endpoint_id, name, is_deleted)
    SELECT p.endpoint_id, p.name, false FROM webhook_outbox.endpoint p
    WHERE p.endpoint_id IN (OLD.endpoint_id, NEW.endpoint_id);
  PERFORM webhook_outbox.request_wakeup('endpoints');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION webhook_outbox.endpoint_secret_after_write() IS
  'trigger: tells the dispatcher of a change of a key or of headers';
CREATE TRIGGER endpoint_secret_after_write AFTER INSERT OR UPDATE OR DELETE ON webhook_outbox.endpoint_secret
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.endpoint_secret_after_write();
CREATE TRIGGER endpoint_header_after_write AFTER INSERT OR UPDATE OR DELETE ON webhook_outbox.endpoint_header
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.endpoint_secret_after_write();

