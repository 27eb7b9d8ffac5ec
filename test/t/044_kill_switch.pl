# webhook_outbox.enabled = off stops sending at a reload and loses nothing.
# Plain SQL cannot show it: only a receiver knows what was not sent.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'well', '/well');
create_endpoint($node, $receiver, 'flaky', '/fail/1',
	retry_schedule => "'{10ms}'");
publish($node, 'order.created');
$receiver->wait_for('/well', 1, 'events are sent');
$receiver->wait_for('/fail/1', 1, 'and retried');

switch_delivery($node, 'off', 'switched off, worker_status says so');
publish($node, 'order.created') for 1 .. 10;
$node->restart;
publish($node, 'order.created');
wait_for_sql(
	$node, q(SELECT state LIKE '%enabled is off%'
	FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND is_running),
	'after a restart it says so again');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.delivery_status
		WHERE state = 'pending')),
	'22', 'events are stored and owed');
is($receiver->stats('/well')->{requests}, 1, 'nothing is sent');

switch_delivery($node, 'on', 'so it does when it is on again');
$receiver->wait_for('/well', 12, 'switched on, everything arrives');
$receiver->wait_for('/fail/1', 12, 'at each endpoint');
all_delivered($node, 'and is recorded');
is($receiver->stats('/well')->{duplicates}, 0, 'once');

finish($node, $receiver);
