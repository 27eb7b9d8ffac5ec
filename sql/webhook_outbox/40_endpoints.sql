-- Endpoints and their keys. UPDATE and DELETE on webhook_outbox.endpoint do what no function does. The functions run as the
-- owner: GRANT EXECUTE on one is all that a role needs to use it.

CREATE FUNCTION webhook_outbox.find_endpoint(endpoint text) RETURNS webhook_outbox.endpoint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_endpoint webhook_outbox.endpoint;
BEGIN
  SELECT p.* INTO v_endpoint FROM webhook_outbox.endpoint p WHERE p.name = find_endpoint.endpoint;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object',
      MESSAGE = CASE WHEN endpoint IS NULL THEN 'endpoint must not be null'
                     WHEN EXISTS (SELECT FROM webhook_outbox.dead_letter d WHERE d.endpoint_name = find_endpoint.endpoint
                                    AND d.reason = 'endpoint_deleted')
                     THEN format('endpoint "%s" was deleted', endpoint)
                     ELSE format('endpoint "%s" does not exist', endpoint) END,
      HINT = CASE WHEN EXISTS (SELECT FROM webhook_outbox.dead_letter d WHERE d.endpoint_name = find_endpoint.endpoint
                                 AND d.reason = 'endpoint_deleted')
                  THEN 'Its dead letters can be read and discarded; replay() sends their events to another endpoint.'
                  WHEN EXISTS (SELECT FROM webhook_outbox.endpoint)
                  THEN 'SELECT name FROM webhook_outbox.endpoint lists those that exist.'
                  ELSE 'There is none yet: webhook_outbox.create_endpoint() makes one.' END;
  END IF;
  RETURN v_endpoint;
END
$$;
COMMENT ON FUNCTION webhook_outbox.find_endpoint(text) IS 'the endpoint with this name, or an error';

-- For what changes an endpoint. One that somebody is deleting is not changed in vain, and the locks are in the order in which
-- DELETE takes them.

CREATE FUNCTION webhook_outbox.lock_endpoint(endpoint text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_endpoint_id bigint;
BEGIN
  LOOP
    v_endpoint_id := (webhook_outbox.find_endpoint(lock_endpoint.endpoint)).endpoint_id;
    PERFORM FROM webhook_outbox.endpoint p WHERE p.endpoint_id = v_endpoint_id FOR KEY SHARE;
    EXIT WHEN FOUND;
  END LOOP;
  RETURN v_endpoint_id;
END
$$;
COMMENT ON FUNCTION webhook_outbox.lock_endpoint(text) IS
  'the number of the endpoint with this name, which nobody deletes until this transaction ends, or an error';

CREATE FUNCTION webhook_outbox.exponential_schedule(
  initial   interval,
  factor    double precision DEFAULT 2,
  max_delay interval         DEFAULT '1 day',
  attempts  integer          DEFAULT 10) RETURNS interval[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_message  text;
  v_hint     text;
  v_delay    interval := initial;
  v_schedule interval[] := '{}';
BEGIN
  IF initial IS NULL OR extract(epoch FROM initial) NOT BETWEEN 0.001 AND 31557600 THEN
    v_message := format('initial %L is out of range', initial);
    v_hint := 'The first delay is 1 ms to 1 year.';
  ELSIF factor IS NULL OR factor NOT BETWEEN 1 AND 1000 THEN
    v_message := format('factor %s is out of range', coalesce(factor::text, 'NULL'));
    v_hint := 'Each delay is 1 to 1000 times the one before.';
  ELSIF max_delay IS NULL OR max_delay < initial OR extract(epoch FROM max_delay) > 31557600 THEN
    v_message := format('max_delay %L is out of range', max_delay);
    v_hint := 'It is at least initial and at most 1 year.';
  ELSIF attempts IS NULL OR attempts NOT BETWEEN 2 AND 101 THEN
    v_message := format('attempts %s is out of range', coalesce(attempts::text, 'NULL'));
    v_hint := 'The first attempt counts: 6 attempts are 5 retries. From 2 to 101 are possible.';
  END IF;
  IF v_message IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = v_message, HINT = v_hint;
  END IF;

  FOR i IN 2 .. attempts LOOP
    v_schedule := v_schedule || v_delay;
    v_delay := least(v_delay * factor, max_delay);
  END LOOP;
  RETURN v_schedule;
END
$$;
COMMENT ON FUNCTION webhook_outbox.exponential_schedule(interval, double precision, interval, integer) IS
  'a retry_schedule of attempts - 1 delays, each factor times the one before and at most max_delay: '
  'exponential_schedule(''1 s'', attempts => 6) waits 1, 2, 4, 8 and 16 seconds';

CREATE FUNCTION webhook_outbox.create_endpoint(
  OUT   endpoint_id     bigint,
  INOUT name            text,
        url             text,
        event_types     text[]           DEFAULT '{*}',
        tenant          text             DEFAULT NULL,
        tier            integer          DEFAULT 2,
        headers         jsonb            DEFAULT '{}',
        timeout         interval         DEFAULT '15 seconds',
        retry_schedule  interval[]       DEFAULT '{5s,5min,30min,2h,5h,10h,14h,20h,24h}',
        retry_jitter    double precision DEFAULT 0.2,
        max_in_flight   integer          DEFAULT 64,
        body_format     text             DEFAULT 'envelope',
        http_version    text             DEFAULT '1.1',
        ca_certificates text             DEFAULT NULL,
        enabled         boolean          DEFAULT true,
        owner           text             DEFAULT NULL,
        description     text             DEFAULT NULL,
  INOUT secret          text             DEFAULT NULL,
        kind            text             DEFAULT 'hmac-sha256',
        success_objective numeric        DEFAULT NULL,
        latency_objective interval       DEFAULT NULL,
        proxy           text             DEFAULT NULL)
-- Triggers and foreign keys keep the plans that they made when the tables were empty: ten thousand calls in one
-- transaction took 34 seconds of sequential scans, and take 3 without.
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
  -- SQL and not PL/pgSQL: an error's context then names this function and does not quote it
  WITH made AS (
    INSERT INTO webhook_outbox.endpoint (
      name, url, event_types, tenant, tier, timeout, retry_schedule, retry_jitter, max_in_flight,
      body_format, http_version, ca_certificates, enabled, owner, description,
      success_objective, latency_objective, proxy)
    VALUES (
      create_endpoint.name, create_endpoint.url, create_endpoint.event_types, create_endpoint.tenant, create_endpoint.tier,
      create_endpoint.timeout, create_endpoint.retry_schedule, create_endpoint.retry_jitter, create_endpoint.max_in_flight,
      create_endpoint.body_format, create_endpoint.http_version, create_endpoint.ca_certificates, create_endpoint.enabled,
      create_endpoint.owner, create_endpoint.description,
      create_endpoint.success_objective, create_endpoint.latency_objective, create_endpoint.proxy)
    RETURNING endpoint.endpoint_id, endpoint.name),
  header AS (
    INSERT INTO webhook_outbox.endpoint_header (endpoint_id, headers)
    SELECT m.endpoint_id, webhook_outbox.checked_headers(create_endpoint.headers) FROM made m
    WHERE create_endpoint.headers IS DISTINCT FROM '{}'),
  -- a statement's parameters can be logged: a secret that is made here is none
  key AS MATERIALIZED (
    SELECT m.endpoint_id, m.name, webhook_outbox.checked_secret(create_endpoint.secret, create_endpoint.kind) AS secret
    FROM made m),
  stored AS (
    INSERT INTO webhook_outbox.endpoint_secret (endpoint_id, secret) SELECT k.endpoint_id, k.secret FROM key k)
  SELECT k.endpoint_id, k.name, k.secret FROM key k;
$$;
COMMENT ON FUNCTION webhook_outbox.create_endpoint(
  text, text, text[], text, integer, jsonb, interval, interval[], double precision, integer, text, text, text, boolean,
  text, text, text, text, numeric, interval, text) IS
  'makes an endpoint and returns its number, name and the secret that signs its requests: note it, it is not shown again. '
  'secret => brings your own; kind => ''ed25519'' makes a key pair (see public_key). headers => are for '
  'set_headers(). The rest are columns of endpoint.';

CREATE FUNCTION webhook_outbox.rotate_secret(
  endpoint text,
  overlap  interval DEFAULT '24 hours',
  secret   text     DEFAULT NULL,
  kind     text     DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_endpoint_id bigint := webhook_outbox.lock_endpoint(rotate_secret.endpoint);
  v_kind        text;
  v_new         text;
  v_now         timestamptz;
BEGIN
  IF overlap IS NULL OR extract(epoch FROM overlap) NOT BETWEEN 0 AND 31557600 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('overlap %L is out of range', overlap),
      HINT = 'The keys until now go on signing for 0 to 1 year; 0 ends them at once.';
  END IF;

  -- a second rotation waits here, and its next statement sees the key that the first has made
  SELECT CASE WHEN s.public_key IS NULL THEN 'hmac-sha256' ELSE 'ed25519' END INTO v_kind
  FROM webhook_outbox.endpoint_secret s
  WHERE s.endpoint_id = v_endpoint_id ORDER BY s.secret_id DESC LIMIT 1 FOR UPDATE;
  v_now := clock_timestamp();
  DELETE FROM webhook_outbox.endpoint_secret s
  WHERE s.endpoint_id = v_endpoint_id AND (s.expires_at <= v_now OR extract(epoch FROM overlap) = 0);
  UPDATE webhook_outbox.endpoint_secret s SET expires_at = v_now + overlap
  WHERE s.endpoint_id = v_endpoint_id AND (s.expires_at IS NULL OR s.expires_at > v_now + overlap);
  -- in one statement, so that a secret that is made here is not a parameter of one: those can be logged
  WITH key AS MATERIALIZED (
    SELECT webhook_outbox.checked_secret(rotate_secret.secret, coalesce(rotate_secret.kind, v_kind)) AS secret),
  stored AS (
    INSERT INTO webhook_outbox.endpoint_secret (endpoint_id, secret) SELECT v_endpoint_id, k.secret FROM key k)
  SELECT k.secret INTO v_new FROM key k;
  RETURN v_new;
END
$$;
COMMENT ON FUNCTION webhook_outbox.rotate_secret(text, interval, text, text) IS
  'makes a new key for an endpoint and returns it: note it, it is not shown again. For overlap the keys until now sign too, '
  'so that the receiver can change over. secret => brings your own; kind => hmac-sha256 or ed25519, as before when left out.';

CREATE FUNCTION webhook_outbox.set_headers(endpoint text, headers jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_endpoint_id bigint := webhook_outbox.lock_endpoint(set_headers.endpoint);
BEGIN
  IF headers = '{}' THEN
    DELETE FROM webhook_outbox.endpoint_header h WHERE h.endpoint_id = v_endpoint_id;
    RETURN;
  END IF;
  INSERT INTO webhook_outbox.endpoint_header AS h (endpoint_id, headers)
    VALUES (v_endpoint_id, webhook_outbox.checked_headers(set_headers.headers))
  ON CONFLICT ON CONSTRAINT endpoint_header_pkey DO UPDATE SET headers = excluded.headers, names = excluded.names;
END
$$;
COMMENT ON FUNCTION webhook_outbox.set_headers(text, jsonb) IS
  'replaces the request headers that an endpoint gets with each attempt; {} takes them away. endpoint_header has their names. '
  'set_headers(''billing'', ''{"Authorization": "Bearer ..."}'')';

CREATE FUNCTION webhook_outbox.sealed_problem(p_endpoint_id bigint) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT webhook_outbox.seal_problem(
    p_endpoint_id,
    ARRAY(SELECT s.secret FROM webhook_outbox.endpoint_secret s
          WHERE s.endpoint_id = p_endpoint_id AND (s.expires_at IS NULL OR s.expires_at > statement_timestamp())),
    (SELECT h.headers FROM webhook_outbox.endpoint_header h WHERE h.endpoint_id = p_endpoint_id))
$$;
COMMENT ON FUNCTION webhook_outbox.sealed_problem(bigint) IS
  'why nothing can be sent to an endpoint: its secret or its headers cannot be decrypted; NULL: they can';

CREATE FUNCTION webhook_outbox.reencrypt_secrets() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_name    text;
  v_problem text;
  v_secrets bigint;
  v_headers bigint;
BEGIN
  PERFORM webhook_outbox.require_key_file();
  -- what others have changed must not be written back as it was
  LOCK TABLE webhook_outbox.endpoint_secret, webhook_outbox.endpoint_header IN SHARE ROW EXCLUSIVE MODE;
  DELETE FROM webhook_outbox.endpoint_secret s WHERE s.expires_at <= clock_timestamp();
  SELECT p.name, p.problem INTO v_name, v_problem
  FROM (SELECT e.name, webhook_outbox.sealed_problem(e.endpoint_id) AS problem FROM webhook_outbox.endpoint e) p
  WHERE p.problem IS NOT NULL ORDER BY p.name LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('endpoint "%s" cannot be encrypted anew: its %s', v_name, v_problem),
      HINT = 'Nothing was changed. Put the key back into the file. If it is lost, give the endpoint a new secret with '
             'rotate_secret(overlap => ''0''), and its headers again with set_headers().';
  END IF;

  WITH new AS MATERIALIZED (
    SELECT s.secret_id, webhook_outbox.reseal('secret', s.endpoint_id, s.secret) AS secret
    FROM webhook_outbox.endpoint_secret s)
  UPDATE webhook_outbox.endpoint_secret s SET secret = n.secret
  FROM new n WHERE s.secret_id = n.secret_id AND s.secret <> n.secret;
  GET DIAGNOSTICS v_secrets = ROW_COUNT;
  WITH new AS MATERIALIZED (
    SELECT h.endpoint_id, to_jsonb(webhook_outbox.reseal('headers', h.endpoint_id, h.headers #>> '{}')) AS headers
    FROM webhook_outbox.endpoint_header h)
  UPDATE webhook_outbox.endpoint_header h SET headers = n.headers
  FROM new n WHERE h.endpoint_id = n.endpoint_id AND h.headers <> n.headers;
  GET DIAGNOSTICS v_headers = ROW_COUNT;
  RETURN v_secrets + v_headers;
END
$$;
COMMENT ON FUNCTION webhook_outbox.reencrypt_secrets() IS
  'encrypts secrets and headers of endpoints, as far as they are not, with the first key of webhook_outbox.secret_key_file, '
  'and returns how many it has rewritten. After it the file''s other keys are needed no more.';

CREATE FUNCTION webhook_outbox.set_endpoint_enabled(endpoint text, enabled boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_endpoint_id bigint := webhook_outbox.lock_endpoint(set_endpoint_enabled.endpoint);
BEGIN
  UPDATE webhook_outbox.endpoint AS p SET enabled = set_endpoint_enabled.enabled
  WHERE p.endpoint_id = v_endpoint_id AND p.enabled <> set_endpoint_enabled.enabled;
END
$$;
COMMENT ON FUNCTION webhook_outbox.set_endpoint_enabled(text, boolean) IS 'what pause_endpoint and resume_endpoint do';

CREATE FUNCTION webhook_outbox.pause_endpoint(endpoint text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT webhook_outbox.set_endpoint_enabled(endpoint, false);
$$;
COMMENT ON FUNCTION webhook_outbox.pause_endpoint(text) IS
  'sends nothing more to an endpoint until resume_endpoint: its deliveries wait, none is lost';

CREATE FUNCTION webhook_outbox.resume_endpoint(endpoint text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT webhook_outbox.set_endpoint_enabled(endpoint, true);
$$;
COMMENT ON FUNCTION webhook_outbox.resume_endpoint(text) IS
  'sends to an endpoint again that was paused, or disabled after HTTP 410: what waited goes first';

