# What rollups and the open part of attempt say together is what is recorded,
# at any time: before a minute is written, after a clean stop, after a crash.
# Plain SQL cannot show it: it takes deliveries, and servers that end.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my $n_dead = 0;    # deliveries that were given up at last
my $n_again = 0;   # redeliveries and replays that succeeded

create_endpoint($node, $receiver, 'well', '/ok', tier => 1);
create_endpoint($node, $receiver, 'flaky', '/fail/1',
	retry_schedule => "'{20ms,20ms}'");
create_endpoint($node, $receiver, 'dead', '/dead',
	event_types => "'{bad.*}'", retry_schedule => "'{10ms,10ms}'");
create_endpoint($node, $receiver, 'slow', '/delay/40', tier => 3);
create_endpoint($node, $receiver, 'wordy', '/big/3000',
	event_types => "'{order.*}'");
$node->safe_psql('postgres', q(
	UPDATE webhook_outbox.endpoint SET latency_objective = '30 ms' WHERE name = 'slow';
	UPDATE webhook_outbox.endpoint SET tenant = 'acme' WHERE name = 'wordy'));
$receiver->script('/dead', { status => 503 });

# The objective of a tier that is changed while the dispatcher works.
$node->safe_psql('postgres', q(
	INSERT INTO webhook_outbox.tier VALUES (4, 'tight', 99, '1 hour')));
my $tight = create_endpoint($node, $receiver, 'tight', '/delay/20', tier => 4,
	event_types => "'{tight.*}'");
my $is_loaded = 'SELECT count(*) = 0 FROM webhook_outbox.endpoint_change';
wait_for_sql($node, $is_loaded, 'the dispatcher knows the endpoints');
$node->safe_psql('postgres', q(
	UPDATE webhook_outbox.tier SET latency_objective = '15 ms' WHERE tier = 4));
wait_for_sql($node, $is_loaded, 'and that an objective was changed');

# The measures of one attempt a, with its event e, as the comments of
# endpoint_rollup define them.
my $is_own = q(a.origin IS NULL);
my $is_good = q(a.outcome = 'delivered');
my $is_dead = qq(NOT $is_good AND a.next_attempt_at IS NULL);
my $latency = q((CASE WHEN a.number = 1 THEN a.wait_ms::float8 + a.total_ms
	ELSE extract(epoch FROM a.started_at - e.created_at)::float8 * 1000 + a.total_ms END));
my $recorded = qq(count(*) AS attempts, count(*) FILTER (WHERE NOT $is_good) AS failures,
	count(*) FILTER (WHERE a.number > 1) AS retries,
	count(*) FILTER (WHERE $is_good AND $is_own) AS delivered,
	count(*) FILTER (WHERE $is_good AND $is_own AND $latency
	  > extract(epoch FROM coalesce(p.latency_objective, t.latency_objective)) * 1000) AS late,
	count(*) FILTER (WHERE $is_dead AND $is_own) AS dead,
	count(*) FILTER (WHERE ($is_good OR $is_dead) AND $is_own AND a.number > 1) AS retried,
	count(*) FILTER (WHERE $is_good AND NOT $is_own) AS redelivered);
my $from_recorded = q(FROM webhook_outbox.attempt a
	JOIN webhook_outbox.event e ON e.id = a.event_id
	JOIN webhook_outbox.endpoint p ON p.endpoint_id = a.endpoint_id
	JOIN webhook_outbox.tier t ON t.tier = p.tier);
my $counts = join ', ', map { "sum($_)::bigint" }
  qw(attempts failures retries delivered late dead retried redelivered);
my $rolled = qq($counts FROM (SELECT %s, attempts, failures, retries, delivered, late, dead,
	retried, redelivered FROM %s UNION ALL SELECT %s, attempts, failures, retries,
	delivered, late, dead, retried, redelivered FROM %s) x);

# The rows that one query has and the other has not; empty when they agree.
sub differ
{
	my ($is, $should_be) = @_;

	return sql_value($node, qq(
		WITH is_so AS ($is), should_be AS ($should_be)
		(SELECT 'is', x::text FROM (TABLE is_so EXCEPT ALL TABLE should_be) x) UNION ALL
		(SELECT 'should be', x::text FROM (TABLE should_be EXCEPT ALL TABLE is_so) x)));
}

# All that can be read must be what is recorded.
sub check_all
{
	my ($when) = @_;
	my $endpoint = 'endpoint_id, tier';
	my $series = 'i.endpoint_id, i.event_type, i.tenant, i.source';

	is( differ(
			sprintf("SELECT $endpoint, $rolled GROUP BY $endpoint",
				$endpoint, 'webhook_outbox.endpoint_rollup WHERE resolution = 1',
				$endpoint, 'webhook_outbox.open_endpoint_minutes()'),
			"SELECT a.endpoint_id, p.tier, $recorded $from_recorded GROUP BY 1, 2"),
		'', "$when: endpoints");
	is( differ(
			sprintf("SELECT x.endpoint_id, x.event_type, x.tenant, x.source, $rolled GROUP BY 1, 2, 3, 4",
				$series, 'webhook_outbox.series_rollup r JOIN webhook_outbox.series i USING (series_id)
				WHERE r.resolution = 1 AND i.endpoint_id <> 0',
				$series, 'webhook_outbox.open_series_minutes() i'),
			"SELECT a.endpoint_id, e.type, e.tenant, e.source, $recorded
			$from_recorded GROUP BY 1, 2, 3, 4"),
		'', "$when: series");
	is( differ(
			q(SELECT endpoint_id, outcome, http_status, sum(attempts)::bigint FROM (
			SELECT endpoint_id, outcome, http_status, attempts FROM webhook_outbox.error_rollup
			WHERE resolution = 1 UNION ALL
			SELECT endpoint_id, outcome, http_status, attempts FROM webhook_outbox.open_error_minutes()) x
			GROUP BY 1, 2, 3),
			q(SELECT endpoint_id, outcome, http_status, count(*) FROM webhook_outbox.attempt
			WHERE outcome <> 'delivered' GROUP BY 1, 2, 3)),
		'', "$when: errors");
	return check_times($when);
}

# Is what must have happened among it?
sub check_known
{
	my ($when) = @_;

	return is(sql_value($node, "SELECT count(*) FILTER (WHERE $is_dead AND $is_own), "
			. "count(*) FILTER (WHERE $is_good AND NOT $is_own) $from_recorded"),
		"$n_dead|$n_again", "$when: the expected dead and redelivered are recorded");
}

# Sums, maxima and percentiles of what was rolled up against the exact ones.
sub check_times
{
	my ($when) = @_;

	return is(sql_value($node, qq(
		WITH exact AS (
		  SELECT a.endpoint_id, sum($latency) FILTER (WHERE $is_good AND $is_own) AS latency_sum,
		         max($latency) FILTER (WHERE $is_good AND $is_own) AS latency_max,
		         percentile_cont(0.95) WITHIN GROUP (ORDER BY CASE WHEN $is_good AND $is_own THEN $latency END) AS latency_p95,
		         count(*) FILTER (WHERE $is_good AND $is_own) AS delivered, count(a.total_ms) AS requests,
		         sum(a.total_ms) AS http_sum, max(a.total_ms) AS http_max,
		         percentile_cont(0.5) WITHIN GROUP (ORDER BY a.total_ms) AS http_p50
		  $from_recorded GROUP BY 1),
		read AS (
		  SELECT endpoint_id, sum(latency_sum_ms) AS latency_sum, max(latency_max_ms) AS latency_max,
		         sum(http_sum_ms) AS http_sum, max(http_max_ms) AS http_max,
		         webhook_outbox.histogram_merge(latency) AS latency, webhook_outbox.histogram_merge(http) AS http
		  FROM (SELECT endpoint_id, latency_sum_ms, latency_max_ms, http_sum_ms, http_max_ms, latency, http
		        FROM webhook_outbox.endpoint_rollup WHERE resolution = 1 UNION ALL
		        SELECT endpoint_id, latency_sum_ms, latency_max_ms, http_sum_ms, http_max_ms, latency, http
		        FROM webhook_outbox.open_endpoint_minutes()) x GROUP BY 1)
		SELECT endpoint_id, e, r.latency_sum, r.latency_max, r.http_sum, r.http_max
		FROM exact e FULL JOIN read r USING (endpoint_id)
		WHERE (webhook_outbox.histogram_count(r.latency) = e.delivered
		       AND webhook_outbox.histogram_count(r.http) = e.requests
		       AND abs(r.http_sum - e.http_sum) < 0.001 * e.http_sum AND abs(r.http_max - e.http_max) < 0.01
		       AND abs(webhook_outbox.histogram_quantile(r.http, 0.5) - e.http_p50) < 0.05 * e.http_p50
		       AND (e.delivered = 0 OR (
		         -- the open part knows an event's time to the millisecond
		         abs(r.latency_sum - e.latency_sum) < e.delivered + 0.001 * e.latency_sum
		         AND abs(r.latency_max - e.latency_max) < 1.01
		         AND abs(webhook_outbox.histogram_quantile(r.latency, 0.95) - e.latency_p95) < 0.05 * e.latency_p95 + 1)))
		      IS NOT TRUE)), '', "$when: times");
}

# Events of several types, tenants and sources, until nothing is owed.
sub work
{
	my ($when) = @_;

	$node->safe_psql('postgres', q(
		INSERT INTO webhook_outbox.event (type, tenant, source, payload)
		SELECT (ARRAY['order.created', 'order.paid', 'user.created'])[1 + n % 3],
		       CASE WHEN n % 4 > 0 THEN 'acme' END, CASE WHEN n % 5 > 0 THEN 'shop' END, to_json(n)
		FROM generate_series(1, 60) n;
		INSERT INTO webhook_outbox.event (type, payload) SELECT 'tight.one', to_json(n) FROM generate_series(1, 2) n;
		INSERT INTO webhook_outbox.event (type, payload) SELECT 'bad.one', to_json(n) FROM generate_series(1, 3) n));
	$n_dead += 3;
	return all_delivered($node, "$when: all is delivered or given up");
}

# Stops the dispatcher of this database, in an orderly way, and starts it.
sub switch_database
{
	my ($to, $state) = @_;

	$node->append_conf('postgresql.conf', "webhook_outbox.databases = '$to'");
	$node->reload;
	return wait_for_sql($node, qq(SELECT count(*) = $state FROM pg_stat_activity
		WHERE backend_type = 'webhook_outbox dispatcher'),
		"there are $state dispatchers");
}

my $n_open = 'SELECT count(*) FROM webhook_outbox.open_attempts()';

# Waits until a dispatcher has written what the one before had left.
sub wait_for_opening
{
	my ($since, $claim) = @_;

	return wait_for_sql($node,
		"SELECT since_xid::text <> '$since' FROM webhook_outbox.open_rollup",
		$claim);
}

work('at first');
check_all('while the minute is not over');
$node->safe_psql('postgres', q(
	SELECT webhook_outbox.redeliver(event_id, 'dead') FROM webhook_outbox.dead_letter));
wait_for_sql($node, 'SELECT min(attempts) = 6 FROM webhook_outbox.dead_letter',
	'what is redelivered dies again');
$receiver->script('/dead', { status => 200 });
$node->safe_psql('postgres', q(
	SELECT webhook_outbox.redeliver(event_id, 'dead') FROM webhook_outbox.dead_letter LIMIT 2));
wait_for_sql($node, 'SELECT count(*) = 1 FROM webhook_outbox.dead_letter',
	'and is delivered later');
$receiver->script('/dead', { status => 503 });
$n_again += 2;
check_all('after redeliveries');
check_known('after redeliveries');

switch_database('none', 0);
is(sql_value($node, $n_open), '0', 'a clean stop leaves nothing open');
check_all('after a clean stop');
is(sql_value($node, qq(SELECT sum(delivered) || ' ' || sum(late)
	FROM webhook_outbox.endpoint_rollup WHERE endpoint_id = $tight AND resolution = 1)),
	'2 2', 'the changed objective of a tier counts');
is(sql_value($node, q(SELECT count(*) FROM webhook_outbox.endpoint_rollup r
	WHERE bucket <> date_trunc('minute', bucket) OR bucket > now())), '0',
	'buckets are minutes that have begun');

# rows that fit into holes further up are not put there: open is what is last
$node->safe_psql('postgres', 'VACUUM webhook_outbox.attempt');
switch_database('', 1);
work('after a vacuum');
check_all('after a vacuum');
my $since = sql_value($node, 'SELECT since_xid FROM webhook_outbox.open_rollup');
$node->stop('immediate');
$node->start;
wait_for_opening($since,
	'after a crash the next dispatcher writes what was open');
check_all('after a crash');
work('then');
$node->stop('immediate');
$node->append_conf('postgresql.conf', "webhook_outbox.databases = 'none'");
$node->start;
check_all('after a crash, while no dispatcher works');
$since = sql_value($node, 'SELECT since_xid FROM webhook_outbox.open_rollup');
note('in no rollup: ' . sql_value($node, $n_open));
switch_database('', 1);
wait_for_opening($since, 'until one does');
check_all('after the second crash');
$node->restart;
check_all('after a clean restart');
all_delivered($node, 'what the crashes cut off is sent again');
check_known('at last');

finish($node, $receiver);
