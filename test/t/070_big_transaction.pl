# 50,000 events of one transaction arrive, each once, while newer ones go on.
# Plain SQL cannot show it: it is about what the receiver got.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(
	conf => "webhook_outbox.window_events = 1000\nmax_wal_size = 1GB");
create_endpoint($node, $receiver, 'well', '/well');
$node->safe_psql(
	'postgres', q(
	INSERT INTO webhook_outbox.event (type, payload)
	SELECT 'order.created', json_build_object('n', n, 'text', repeat('x', 200))
	FROM generate_series(1, 50000) n));
my $later = publish($node, 'order.paid');
$receiver->wait_for('/well', 50001, 'all events arrive');
all_delivered($node, 'all are recorded');
is($receiver->stats('/well')->{duplicates}, 0, 'each once');
is( join(' ', sort $receiver->accepted_ids('/well')),
	join(' ', split /\n/, sql_value($node,
			'SELECT id FROM webhook_outbox.event ORDER BY id')),
	'they are those of the table');
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.new_event',
	'the cursor has passed them');

finish($node, $receiver);
