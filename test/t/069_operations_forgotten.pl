# operation_ids are remembered for as long as their event may be sent again, and
# then forgotten, however many there are and though nothing happens any more.
# Plain SQL cannot show it: it takes a server whose clock can be set.
use strict;
use warnings FATAL => 'all';
use OwnClock;
use Test::More;
use WebhookOutbox;

my $n = 12_000;
my $receiver = start_receiver();
my $node = start_node(start => 0, conf => "webhook_outbox.operation_retention = 1h\n"
	  . 'webhook_outbox.poll_interval = 200ms');

start_with_clock($node);
$node->safe_psql('postgres', 'CREATE EXTENSION webhook_outbox');
create_endpoint($node, $receiver, 'patient', '/ok', event_types => "'{order.*}'",
	retry_schedule => "'{1h,1h}'", retry_jitter => 0.25);
$node->safe_psql('postgres', qq(
	INSERT INTO webhook_outbox.event (type, payload, operation_id)
	SELECT 'nobody.asked', '1', 'operation-' || n FROM generate_series(1, $n) n));

sub publish_again
{
	return sql_value($node, q(SELECT webhook_outbox.publish('nobody.asked', '1',
		operation_id => 'operation-1')));
}

sub n_remembered { return sql_value($node, 'SELECT count(*) FROM webhook_outbox.operation'); }

# one of them was there long before
$node->safe_psql('postgres', q(UPDATE webhook_outbox.operation
	SET created_at = created_at - interval '20 minutes' WHERE operation_id = 'operation-7'));
my $id = publish_again();
set_clock(149 * 60);
wait_for_sql($node, q(SELECT count(*) = 0 FROM webhook_outbox.operation
	WHERE operation_id = 'operation-7'), 'what is old enough is forgotten');
is(n_remembered(), $n - 1, 'what an endpoint may still retry is not');
is(publish_again(), $id, 'so it is not published again');
set_clock(152 * 60);
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.operation',
	'half an hour beyond, all are forgotten');
isnt(publish_again(), $id, 'and can be used again');
finish($node, $receiver);
