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

finish($node, $receiver);
