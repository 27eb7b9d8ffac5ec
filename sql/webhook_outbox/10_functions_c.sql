-- Everything written in C. What the tables need (defaults) and what the other functions build on; users call type_matches,
-- generate_secret and public_key.

-- The event log

CREATE FUNCTION webhook_outbox.event_before_insert() RETURNS trigger
  AS 'MODULE_PATHNAME', 'wo_sql_event_before_insert' LANGUAGE C;
COMMENT ON FUNCTION webhook_outbox.event_before_insert() IS
  'trigger: checks a new event, sets id, xid and created_at, claims operation_id, wakes the dispatcher at commit';

CREATE FUNCTION webhook_outbox.publisher_tenant_after_write() RETURNS trigger
  AS 'MODULE_PATHNAME', 'wo_sql_publisher_tenant_after_write' LANGUAGE C;
COMMENT ON FUNCTION webhook_outbox.publisher_tenant_after_write() IS
  'trigger: lets sessions look again which tenants their role may publish for';

CREATE FUNCTION webhook_outbox.current_slot() RETURNS smallint
  AS 'MODULE_PATHNAME', 'wo_sql_current_slot' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION webhook_outbox.current_slot() IS 'leaf of the event ring that is written now';

CREATE FUNCTION webhook_outbox.commit_snapshot() RETURNS pg_snapshot
  AS 'MODULE_PATHNAME', 'wo_sql_commit_snapshot' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION webhook_outbox.commit_snapshot() IS
  'what is committed when this transaction, about to commit, does so, whatever its isolation level; NULL: not known yet';

CREATE FUNCTION webhook_outbox.deletion_xid() RETURNS xid8
  AS 'MODULE_PATHNAME', 'wo_sql_deletion_xid' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION webhook_outbox.deletion_xid() IS
  'the xid below which events are owed to an endpoint that this transaction, about to commit, deletes; the highest: not known yet';

CREATE FUNCTION webhook_outbox.recovered_timeline() RETURNS bigint
  AS 'MODULE_PATHNAME', 'wo_sql_recovered_timeline' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION webhook_outbox.recovered_timeline() IS
  'the last timeline of this server that began with a recovery to a chosen point in time; 0: none did';

CREATE FUNCTION webhook_outbox.process_kind() RETURNS text
  AS 'MODULE_PATHNAME', 'wo_sql_process_kind' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION webhook_outbox.process_kind() IS
  'dispatcher, replication (a worker that applies what was published elsewhere), or NULL: this process is neither';

CREATE FUNCTION webhook_outbox.find_operation(tenant text, operation_id text) RETURNS uuid
  AS 'MODULE_PATHNAME', 'wo_sql_find_operation' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION webhook_outbox.find_operation(text, text) IS
  'id of the event published with this operation_id, as committed now or by this transaction; NULL: none is remembered';

CREATE FUNCTION webhook_outbox.type_matches(patterns text[], type text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'wo_sql_type_matches' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.type_matches(text[], text) IS
  'whether an endpoint with these event_types gets events of this type: type_matches(''{order.*}'', ''order.created'')';

-- The workers

CREATE FUNCTION webhook_outbox.request_wakeup(what text) RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_request_wakeup' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION webhook_outbox.request_wakeup(text) IS
  'wakes the dispatcher when this transaction commits; what: events, commands, endpoints or extension';

CREATE FUNCTION webhook_outbox.require_workers() RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_require_workers' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION webhook_outbox.require_workers() IS
  'fails where no worker can run: library not preloaded, or a standby';

CREATE FUNCTION webhook_outbox.worker_rows(
  OUT process       text,
  OUT database      name,
  OUT number        integer,
  OUT pid           integer,
  OUT expected      boolean,
  OUT is_running    boolean,
  OUT state         text,
  OUT running_since timestamptz,
  OUT in_flight     integer,
  OUT delivered     bigint,
  OUT failed        bigint,
  OUT per_second    double precision,
  OUT restarts      integer,
  OUT last_error    text,
  OUT last_error_at timestamptz) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'wo_sql_worker_rows' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION webhook_outbox.worker_rows() IS 'what shared memory knows of the workers: see worker_status';

CREATE FUNCTION webhook_outbox.request_maintenance() RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_request_maintenance' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION webhook_outbox.request_maintenance() IS
  'when this transaction commits: the next maintain() is wanted in a minute, where an idle database would wait for five';

CREATE FUNCTION webhook_outbox.note_maintenance() RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_note_maintenance' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION webhook_outbox.note_maintenance() IS
  'when this transaction commits: the dispatcher knows that maintain() ran; called by maintain()';

CREATE FUNCTION webhook_outbox.log_line(line text) RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_log_line' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.log_line(text) IS 'writes a line to the server''s log, for alerts and incidents';

CREATE FUNCTION webhook_outbox.maintenance_caller() RETURNS text
  AS 'MODULE_PATHNAME', 'wo_sql_maintenance_caller' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION webhook_outbox.maintenance_caller() IS 'what this process is: dispatcher (the worker it starts), pg_cron or session';

CREATE FUNCTION webhook_outbox.maintenance_worker(
  OUT last_run_at    timestamptz,
  OUT last_run_by    text,
  OUT pid            integer,
  OUT error          text,
  OUT error_at       timestamptz,
  OUT has_dispatcher boolean) RETURNS record
  AS 'MODULE_PATHNAME', 'wo_sql_maintenance_worker' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION webhook_outbox.maintenance_worker() IS
  'what shared memory knows of maintenance here: the last maintain() since the server started, the worker that runs it now, what '
  'kept the last one from running, and whether there is a dispatcher to start one; see maintenance_status';

-- Checks: each returns nothing, or fails with an error that names the value and says what is allowed

CREATE FUNCTION webhook_outbox.check_url(url text) RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_check_url' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.check_url(text) IS
  'fails unless this is a URL that an endpoint may have; of a host name, addresses are judged when they are dialled';

CREATE FUNCTION webhook_outbox.check_proxy(proxy text) RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_check_proxy' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.check_proxy(text) IS
  'fails unless this is a proxy that an endpoint may have, or empty: none';

CREATE FUNCTION webhook_outbox.check_headers(headers jsonb, what text) RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_check_headers' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.check_headers(jsonb, text) IS
  'fails unless these are request headers that an event or an endpoint (what) may set';

CREATE FUNCTION webhook_outbox.check_secret(secret text) RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_check_secret' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.check_secret(text) IS 'fails unless this is a whsec_ or whsk_ secret of the right length';

CREATE FUNCTION webhook_outbox.check_event_types(patterns text[]) RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_check_event_types' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.check_event_types(text[]) IS 'fails unless these are patterns that an endpoint may have';

-- Addresses

CREATE FUNCTION webhook_outbox.judge_address(
  address          inet,
  port             integer DEFAULT 443,
  https            boolean DEFAULT true,
  allowed_networks text    DEFAULT NULL,
  allow_http       boolean DEFAULT NULL) RETURNS text
  AS 'MODULE_PATHNAME', 'wo_sql_judge_address' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.judge_address(inet, integer, boolean, text, boolean) IS
  'why this address may not be dialled, NULL when it may; with the settings as they are, or with others: '
  'judge_address(''10.1.2.3'', allowed_networks => ''10.0.0.0/8'')';

CREATE FUNCTION webhook_outbox.blocked_hint(error text) RETURNS text
  AS 'MODULE_PATHNAME', 'wo_sql_blocked_hint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.blocked_hint(text) IS
  'what to do about an attempt with outcome blocked and this error; NULL when that is not known';

-- Keys and requests

CREATE FUNCTION webhook_outbox.generate_secret(kind text DEFAULT 'hmac-sha256') RETURNS text
  AS 'MODULE_PATHNAME', 'wo_sql_generate_secret' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.generate_secret(text) IS
  'a new secret from the server''s strong random source; kind: hmac-sha256 (whsec_) or ed25519 (whsk_)';

CREATE FUNCTION webhook_outbox.checked_secret(secret text, kind text) RETURNS text
  AS 'MODULE_PATHNAME', 'wo_sql_checked_secret' LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.checked_secret(text, text) IS
  'the secret, once it is judged; NULL: a new one of this kind, hmac-sha256 if that is NULL too';

CREATE FUNCTION webhook_outbox.checked_headers(headers jsonb) RETURNS jsonb
  AS 'MODULE_PATHNAME', 'wo_sql_checked_headers' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.checked_headers(jsonb) IS 'headers for an endpoint, once they are judged';

CREATE FUNCTION webhook_outbox.seal_before_write() RETURNS trigger
  AS 'MODULE_PATHNAME', 'wo_sql_seal_before_write' LANGUAGE C;
COMMENT ON FUNCTION webhook_outbox.seal_before_write() IS
  'trigger: checks what its argument names, secret or headers, encrypts it if webhook_outbox.secret_key_file is set, and notes '
  'its public key or their names';

CREATE FUNCTION webhook_outbox.require_key_file() RETURNS void
  AS 'MODULE_PATHNAME', 'wo_sql_require_key_file' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.require_key_file() IS 'fails unless webhook_outbox.secret_key_file can be used';

CREATE FUNCTION webhook_outbox.reseal(kind text, endpoint_id bigint, stored text) RETURNS text
  AS 'MODULE_PATHNAME', 'wo_sql_reseal' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.reseal(text, bigint, text) IS
  'what is stored of an endpoint (kind: secret or headers), encrypted with the first key of webhook_outbox.secret_key_file';

CREATE FUNCTION webhook_outbox.seal_problem(endpoint_id bigint, secrets text[], headers jsonb) RETURNS text
  AS 'MODULE_PATHNAME', 'wo_sql_seal_problem' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION webhook_outbox.seal_problem(bigint, text[], jsonb) IS
  'why what is stored of an endpoint cannot be decrypted now, to stand after "its"; NULL: it can, or is plain. The key file is '
  'read once a statement';

CREATE FUNCTION webhook_outbox.public_key(secret text) RETURNS text
  AS 'MODULE_PATHNAME', 'wo_sql_public_key' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.public_key(text) IS
  'what the receiver of an Ed25519 (whsk_) secret verifies with (whpk_); NULL for whsec_, where both sides share the secret';

CREATE FUNCTION webhook_outbox.render_request(
  endpoint_url     text,
  body_format      text,
  endpoint_headers jsonb,
  secrets          text[],
  event_id         uuid,
  event_type       text,
  created_at       timestamptz,
  tenant           text,
  source           text,
  event_headers    jsonb,
  payload          json,
  at               timestamptz,
  endpoint_id      bigint) RETURNS TABLE (method text, url text, headers jsonb, body text)
  AS 'MODULE_PATHNAME', 'wo_sql_render_request' LANGUAGE C STABLE PARALLEL SAFE ROWS 1;
COMMENT ON FUNCTION webhook_outbox.render_request(
  text, text, jsonb, text[], uuid, text, timestamptz, text, text, jsonb, json, timestamptz, bigint) IS
  'the request that a sender would make of these values at that time: see render';

