# Deleting an endpoint turns what it was owed into dead letters; others and the
# workers are not troubled.
# Plain SQL cannot show it: the dispatcher does it, with requests in flight.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'doomed', '/hold', max_in_flight => 2,
	timeout => "'5 min'");
create_endpoint($node, $receiver, 'retrying', '/status/500',
	retry_schedule => "'{1h}'");
create_endpoint($node, $receiver, 'queued', '/queued',
	event_types => "'{user.*}'",
	retry_schedule => "'{1h}'",
	timeout => "'5 min'",
	max_in_flight => 1);
create_endpoint($node, $receiver, 'well', '/well');
publish($node, 'order.created') for 1 .. 5;
$receiver->wait_for('/well', 5, 'others get the events');
$receiver->wait_for_requests('/hold', 2, 'two requests are under way');
$receiver->wait_for_requests('/status/500', 5, 'and five retries wait');
wait_for_sql(
	$node, q(SELECT count(*) = 5 FROM webhook_outbox.delivery
	WHERE state = 'retrying'), 'in delivery');

# two that have failed once: one is tried again, the other one waits for it
$receiver->script('/queued', { status => 500, body => 'no' });
publish($node, 'user.created') for 1 .. 2;
wait_for_sql(
	$node, q(SELECT count(*) = 9 FROM webhook_outbox.delivery
	WHERE state = 'retrying'), 'two more have failed');
$receiver->script('/queued', { status => 200, act => 'hold' });
$node->safe_psql('postgres',
	q(SELECT webhook_outbox.redeliver(event_id, endpoint_name)
	FROM webhook_outbox.delivery_status WHERE endpoint_name = 'queued'));
$receiver->wait_for_requests('/queued', 3, 'a second attempt is under way');
publish($node, 'order.paid');
$receiver->wait_for('/well', 8, 'the dispatcher has gone on since');
wait_for_sql(
	$node, q(SELECT count(*) = 8 FROM webhook_outbox.delivery
	WHERE state = 'retrying'), 'with what else has failed');

$node->safe_psql('postgres', q(DELETE FROM webhook_outbox.endpoint
	WHERE name IN ('doomed', 'retrying', 'queued')));
wait_for_sql(
	$node, q(
	SELECT count(*) >= 15 AND count(DISTINCT event_id) = 8
	FROM webhook_outbox.dead_letter WHERE reason = 'endpoint_deleted'),
	'what waited are dead letters with that reason');
is( sql_value(
		$node, q(SELECT endpoint_name, attempts, last_outcome, last_status,
		  last_error, last_response, last_attempt_at = (
		    SELECT max(a.started_at) FROM webhook_outbox.attempt a
		    WHERE (a.event_id, a.endpoint_id) = (d.event_id, d.endpoint_id)),
		  count(*)
		FROM webhook_outbox.dead_letter d WHERE endpoint_name <> 'queued'
		GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2)),
	join("\n", 'doomed|0||||||6', 'retrying|1|http_error|500|HTTP 500||t|8'),
	'that say how the last attempt went, where there was one');
publish($node, 'order.paid');
$receiver->wait_for('/well', 9, 'others go on');
$receiver->release($_) for '/hold', '/queued';
wait_for_sql(
	$node, q(SELECT count(*) = 3 FROM webhook_outbox.attempt
	WHERE outcome = 'delivered' AND endpoint_id NOT IN (
	  SELECT endpoint_id FROM webhook_outbox.endpoint)),
	'what was under way counts as its answer says');
all_delivered($node, 'nothing more is owed');
is($receiver->stats('/hold')->{requests}, 2, 'nothing more is sent to it');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.delivery'),
	'0', 'nothing is left in delivery');
is( sql_value(
		$node, q(SELECT attempts, last_outcome, last_status, last_error,
		  last_response, last_attempt_at IS NOT NULL
		FROM webhook_outbox.dead_letter WHERE endpoint_name = 'queued')),
	'1|http_error|500|HTTP 500|no|t',
	'of two that were to be sent again the one that was not says why');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.dead_letter'),
	'15', 'and stays no dead letter');

# ---- one that is owed a lot: others do not wait for all of it to be given up

my $n_owed = 3000;
$node->safe_psql('postgres',
	q(UPDATE webhook_outbox.endpoint SET event_types = '{order.*}' WHERE name = 'well'));
create_endpoint($node, $receiver, 'owed', '/owed', event_types => "'{bulk}'",
	enabled => 'false');
publish_many($node, 'bulk', $n_owed);
wait_for_sql($node, "SELECT count(*) = $n_owed FROM webhook_outbox.delivery",
	'much is owed to one that is paused');
$node->safe_psql('postgres', q(BEGIN;
	DELETE FROM webhook_outbox.endpoint WHERE name = 'owed';
	INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.meanwhile', '{}');
	COMMIT;));
wait_for_sql($node, "SELECT count(*) = $n_owed FROM webhook_outbox.dead_letter
	WHERE endpoint_name = 'owed' AND event_type = 'bulk'
	AND reason = 'endpoint_deleted'", 'it is deleted: all of that becomes dead letters');
all_delivered($node, 'what was published with the deletion arrives');
is( sql_value($node, q(SELECT a.started_at < (SELECT max(created_at)
	FROM webhook_outbox.dead_letter WHERE endpoint_name = 'owed')
	FROM webhook_outbox.attempt a JOIN webhook_outbox.event e ON e.id = a.event_id
	WHERE e.type = 'order.meanwhile')),
	't', 'and does so before the last of them was made');

# ---- many at once, one of them owed something, and one that is made again

my $n_many = 1200;
$node->safe_psql('postgres', qq(
	SELECT webhook_outbox.create_endpoint('many' || n, '@{[ $receiver->url('/many') ]}',
	  event_types => ARRAY['many.t' || n], enabled => n <> 1000)
	FROM generate_series(1, $n_many) n));
publish($node, 'many.t1000');
wait_for_sql($node, 'SELECT count(*) = 1 FROM webhook_outbox.delivery',
	'one of many is owed an event');
create_endpoint($node, $receiver, 'again', '/status/500/again',
	event_types => "'{again}'", retry_schedule => "'{1h}'");
publish($node, 'again');
$receiver->wait_for_requests('/status/500/again', 1, 'an event has failed once');
wait_for_sql($node, q(SELECT count(*) = 1 FROM webhook_outbox.delivery
	WHERE state = 'retrying'), 'and its retry waits');
$node->safe_psql('postgres', q(BEGIN;
	CREATE TEMP TABLE kept AS SELECT endpoint_id, name, url, event_types, retry_schedule
	  FROM webhook_outbox.endpoint WHERE name = 'again';
	DELETE FROM webhook_outbox.endpoint WHERE name = 'again' OR name LIKE 'many%';
	INSERT INTO webhook_outbox.endpoint (endpoint_id, name, url, event_types, retry_schedule)
	  OVERRIDING SYSTEM VALUE SELECT * FROM kept;
	COMMIT;));
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.endpoint_change',
	'many are deleted at once, and forgotten');
is( sql_value($node, q(SELECT string_agg(endpoint_name || ' ' || event_type, ',')
	FROM webhook_outbox.dead_letter WHERE endpoint_name <> ALL ('{doomed,retrying,queued,owed}'))),
	'many1000 many.t1000', 'what they were owed is a dead letter');
is( sql_value($node, 'SELECT count(*) FROM webhook_outbox.delivery'),
	'1', 'what waits for one that is there again still waits');
publish($node, 'again');
# its key went with the deletion
wait_for_sql($node, q(SELECT count(*) = 2 FROM webhook_outbox.delivery_status
	WHERE endpoint_name = 'again' AND attempts = 1), 'and it is owed new events');
publish($node, 'order.last');
$receiver->wait_for('/well', 11, 'as others do');

# ---- what was cancelled is not given up besides, though it fails after the deletion

create_endpoint($node, $receiver, 'unwanted', '/hold/status/500',
	event_types => "'{unwanted}'");
my $unwanted = publish($node, 'unwanted');
$receiver->wait_for_requests('/hold/status/500', 1, 'a request is held');
$node->safe_psql('postgres', "SELECT webhook_outbox.cancel('$unwanted')");
my $n_rows = "SELECT count(*) = %d FROM webhook_outbox.delivery WHERE event_id = '$unwanted'";
wait_for_sql($node, sprintf($n_rows, 1), 'and cancelled');
$node->safe_psql('postgres', q(DELETE FROM webhook_outbox.endpoint WHERE name = 'unwanted'));
wait_for_sql($node, sprintf($n_rows, 0), 'and its endpoint deleted');
$receiver->release('/hold/status/500');
wait_for_sql($node, "SELECT count(*) = 1 FROM webhook_outbox.attempt WHERE event_id = '$unwanted'",
	'then it fails');
is( sql_value($node, "SELECT (SELECT count(*) FROM webhook_outbox.dead_letter WHERE event_id = '$unwanted'),
	(SELECT count(*) FROM webhook_outbox.delivery WHERE event_id = '$unwanted')"),
	'0|0', 'and is neither a dead letter nor waits for anything');

# ---- sent again by somebody who commits when the endpoint is gone, it is a dead letter of that name

create_endpoint($node, $receiver, 'leaving', '/status/500/leaving',
	event_types => "'{leaving}'", retry_schedule => "'{10ms}'");
my $leaving = publish($node, 'leaving');
my $letter = "SELECT string_agg(endpoint_name || ' ' || reason, ',')
	FROM webhook_outbox.dead_letter WHERE event_id = '$leaving'";
wait_for_sql($node, "SELECT ($letter) = 'leaving attempts_exhausted'", 'one is given up');
my $operator = $node->background_psql('postgres');
$operator->query_safe("BEGIN; SELECT webhook_outbox.redeliver('$leaving', 'leaving')");
$node->safe_psql('postgres', q(DELETE FROM webhook_outbox.endpoint WHERE name = 'leaving'));
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.endpoint_change',
	'its endpoint is deleted and forgotten while it is sent again');
$operator->query_safe('COMMIT');
$operator->quit;
wait_for_sql($node, "SELECT ($letter) LIKE '% endpoint_deleted'", 'then it is given up again');
is(sql_value($node, $letter), 'leaving endpoint_deleted', 'under the name of its endpoint');

finish($node, $receiver);
