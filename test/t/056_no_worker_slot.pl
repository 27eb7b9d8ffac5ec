# Where max_worker_processes is used up, the log says so once in plain words,
# publishing goes on, and after a restart with more everything is delivered.
# Plain SQL cannot show it: it takes a server with few slots.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
# one slot for the launcher of logical replication, one for ours
my $node = start_node(conf => 'max_worker_processes = 2');
my $words = qr/HINT:.*max_worker_processes/;

create_endpoint($node, $receiver, 'well', '/well');
wait_until(sub { n_logged($node, $words) },
	'the log says which setting to raise');
publish($node, 'order.created') for 1 .. 10;
wait_for_sql(
	$node, q(SELECT count(*) > 0 FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND expected AND NOT is_running),
	'worker_status shows what is missing');
is(n_logged($node, $words), 1, 'it is said once');

$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
$receiver->wait_for('/well', 10, 'with enough slots everything is delivered');
all_delivered($node, 'and recorded');

finish($node, $receiver);
