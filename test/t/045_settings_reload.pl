# A reload changes the number of senders and limits without losing anything.
# Plain SQL cannot show it: processes come and go under load.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'well', '/delay/2');
my $n = 0;
for my $senders (1, 3, 1, 2)
{
	$node->append_conf('postgresql.conf',
		"webhook_outbox.senders = $senders");
	publish_many($node, 'order.created', 300);
	$n += 300;
	$node->reload;
	wait_for_sql(
		$node, qq(SELECT count(*) = $senders FROM webhook_outbox.worker_status
		WHERE process = 'sender' AND is_running),
		"senders = $senders");
}
$receiver->wait_for('/delay/2', $n, 'everything arrives');
all_delivered($node, 'and is recorded');
is($receiver->stats('/delay/2')->{duplicates}, 0, 'once');

$node->append_conf('postgresql.conf', 'webhook_outbox.max_payload = 1kB');
$node->reload;
my $event = q(INSERT INTO webhook_outbox.event (type, payload)
	VALUES ('order.created', to_json(repeat('x', %d))));
wait_until(
	sub { $node->psql('postgres', sprintf $event, 1023) != 0 },
	'a smaller max_payload refuses what is larger');
$node->safe_psql('postgres', sprintf $event, 1022);
$receiver->wait_for('/delay/2', $n + 1, 'and takes what fits');

# A dispatcher obeys one that cannot even start.
$node->append_conf('postgresql.conf', "webhook_outbox.role = 'clerk'");
$node->restart;
wait_for_sql(
	$node, q(SELECT state LIKE '%role "clerk" does not exist%'
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher'),
	'a dispatcher starts that has no role');
$node->append_conf('postgresql.conf', "webhook_outbox.role = ''");
$node->reload;
publish($node, 'order.created');
$receiver->wait_for('/delay/2', $n + 2, 'with another role it delivers');

finish($node, $receiver);
