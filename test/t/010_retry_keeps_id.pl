# A failed delivery is tried again by the schedule, with the same id and body.
# Plain SQL cannot show it: the receiver has to fail first.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'flaky', '/fail/2',
	retry_schedule => "'{100ms,200ms,1h}'",
	retry_jitter => 0);
my $id = publish($node, 'order.created', '{"order_id": 42}');

$receiver->wait_for('/fail/2', 1, 'the third attempt succeeds');
my @requests = $receiver->requests('/fail/2');
is(scalar @requests, 3, 'there were three requests');
is(join(' ', map { $_->{id} } @requests), "$id $id $id", 'with the same id');
is(scalar(grep { $_->{body} eq $requests[0]{body} } @requests),
	3, 'and the same body');
is(scalar(grep { $_->{signature} eq 'valid' } @requests),
	3, 'each signed anew');

all_delivered($node, 'it is recorded');
is( sql_value(
		$node, q(SELECT number, outcome, http_status, next_attempt_at IS NULL
		FROM webhook_outbox.attempt ORDER BY number)),
	"1|http_error|500|f\n2|http_error|500|f\n3|delivered|200|t",
	'each request is an attempt, the last one final');
is( sql_value(
		$node, q(SELECT bool_and(next_attempt_at - started_at
		  >= CASE number WHEN 1 THEN '100 ms' ELSE '200 ms' END::interval)
		FROM webhook_outbox.attempt WHERE number < 3)),
	't', 'a retry is due after the delay of the schedule');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.attempt a
		JOIN webhook_outbox.attempt b ON b.number = a.number + 1
		WHERE b.started_at < a.next_attempt_at)),
	'0', 'and never starts before it is due');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.delivery'),
	'0', 'nothing is left in delivery');

# while it waits, everyone can see what comes next
$receiver->script('/fail/2', { status => 503 });
my $waiting = publish($node, 'order.created');
wait_for_sql(
	$node, qq(
	SELECT state = 'retrying' AND attempts = 3 AND last_status = 503
	  AND next_attempt_at > now() + '50 min'
	FROM webhook_outbox.delivery_status WHERE event_id = '$waiting'),
	'a waiting retry shows its state, attempts and time');

# jitter spreads what failed together, and no further than it says
create_endpoint($node, $receiver, 'spread', '/status/503',
	event_types => q('{spread}'), retry_schedule => "'{1h}'", retry_jitter => 0.2);
publish_many($node, 'spread', 100);
wait_for_sql($node, q(SELECT count(*) = 100 FROM webhook_outbox.delivery_status
	WHERE endpoint_name = 'spread' AND state = 'retrying'), 'many fail at once');
is( sql_value(
		$node, q(SELECT min(delay) >= '48 min', min(delay) < '54 min',
		  max(delay) > '66 min', max(delay) < '72 min 30 s'
		FROM (SELECT next_attempt_at - started_at AS delay
		  FROM webhook_outbox.attempt JOIN webhook_outbox.endpoint
		  USING (endpoint_id) WHERE name = 'spread') d)),
	't|t|t|t', 'retries are due up to a fifth earlier and later');

# What is due now is found, though rows that were due later are loaded already.
create_endpoint($node, $receiver, 'soon', '/fail/8/soon',
	event_types => q('{soon}'), retry_jitter => 1,
	retry_schedule => "'{20ms,0,20ms,0,20ms,0,20ms,0,20ms}'");
for (1 .. 25)
{
	publish_many($node, 'soon', 4);
	tick();
}
$receiver->wait_for('/fail/8/soon', 100, 'retries after next to no time');
wait_for_sql(
	$node, q(SELECT count(*) = 0 FROM webhook_outbox.delivery_status
	WHERE endpoint_name = 'soon' AND state <> 'delivered'), 'are recorded');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.attempt a
		JOIN webhook_outbox.attempt b USING (event_id, endpoint_id)
		WHERE b.number = a.number + 1
		  AND b.started_at > a.next_attempt_at + '30 s')),
	'0', 'and none waits until the whole backlog is looked at');

finish($node, $receiver);
