# A paused endpoint gets nothing and misses nothing.
# Plain SQL cannot show it: only a receiver knows what was not sent.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'paused', '/paused', max_in_flight => 1);
create_endpoint($node, $receiver, 'witness', '/witness');
create_endpoint($node, $receiver, 'from_start', '/from_start',
	enabled => 'false');
publish($node, 'order.created');
$receiver->wait_for('/paused', 1, 'it gets events');

$node->safe_psql('postgres', "SELECT webhook_outbox.pause_endpoint('paused')");
publish($node, 'order.created') for 1 .. 20;
$receiver->wait_for('/witness', 21, 'the other goes on');
is($receiver->stats('/paused')->{requests}, 1, 'paused, it gets none');
is( sql_value(
		$node, q(SELECT state, pending FROM webhook_outbox.endpoint_status
		WHERE name = 'paused')),
	'paused|20', 'endpoint_status counts what waits');

# neither does a restart
$node->restart;
publish($node, 'order.created');
$receiver->wait_for('/witness', 22, 'after a restart the other goes on');
is($receiver->stats('/paused')->{requests}, 1, 'it still gets none');

$node->safe_psql('postgres',
	'UPDATE webhook_outbox.endpoint SET enabled = true');
$receiver->wait_for('/paused', 22, 'resumed, it gets what waited');
$receiver->wait_for('/from_start', 22, 'so does one that never was enabled');
all_delivered($node, 'nothing more is owed');
is_deeply(
	[ $receiver->accepted_ids('/paused') ],
	[ sort $receiver->accepted_ids('/witness') ],
	'in the order of the events');
is($receiver->stats('/paused')->{duplicates}, 0, 'and each once');

finish($node, $receiver);
