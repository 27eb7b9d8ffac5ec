# An endpoint that never answers delays no other, and does not hold back the
# cursor; its own events are neither lost nor sent twice.
# Plain SQL cannot show it: it takes a receiver that holds its answers.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => 'webhook_outbox.window_events = 100');
create_endpoint($node, $receiver, 'slow', '/hold', max_in_flight => 4,
	timeout => "'5 min'");
create_endpoint($node, $receiver, 'down', '/status/503',
	retry_schedule => "'{1h}'");
create_endpoint($node, $receiver, 'well', '/well');

# several windows full
publish_many($node, 'order.created', 1000);
$receiver->wait_for('/well', 1000, 'the healthy endpoint gets all events');
is($receiver->stats('/hold')->{requests}, 4,
	'while the slow one has its four requests open');
publish($node, 'order.created');
$receiver->wait_for('/well', 1001, 'and goes on getting new ones');
wait_for_sql(
	$node, q(SELECT count(*) = 0 FROM webhook_outbox.new_event),
	'the cursor has passed them all');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.delivery_status
		WHERE endpoint_name = 'slow' AND state = 'pending')),
	'1001', 'what the slow one is owed waits in delivery');

$receiver->script('/hold', { status => 200 });
$receiver->release('/hold');
$receiver->wait_for('/hold', 1001, 'recovered, it gets them all');
wait_for_sql(
	$node, q(SELECT count(*) = 0 FROM webhook_outbox.delivery_status
	WHERE endpoint_name = 'slow' AND state <> 'delivered'), 'and all is recorded');
is($receiver->stats('/hold')->{duplicates}, 0, 'each once');
is($receiver->stats('/well')->{duplicates}, 0, 'as the healthy one did');
is($receiver->stats('/hold')->{max_in_flight},
	4, 'max_in_flight was never exceeded');

finish($node, $receiver);
