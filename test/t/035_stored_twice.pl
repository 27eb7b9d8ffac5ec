# An event that is stored twice, for its rows came again from elsewhere (a dump
# that was loaded twice, logical replication of a row that was kept), is sent
# once for each time that somebody asks for it, however many there are.
# Plain SQL cannot show it: the dispatcher reads what was asked for in batches.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $n = 1500;
my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'well', '/well');
my $pid = worker_pid($node, 'dispatcher');

$node->safe_psql('postgres', qq(
	CREATE TABLE came AS SELECT gen_random_uuid() AS id
	FROM generate_series(1, $n);
	INSERT INTO webhook_outbox.event (id, xid, slot, type, payload)
	SELECT id, '1', slot, 'order.created', '{}'
	FROM came, (VALUES (0), (8)) s (slot)));
is( sql_value(
		$node, q(SELECT webhook_outbox.replay('well', '-infinity'))),
	$n, 'replay() counts each once');
$receiver->wait_for('/well', $n, 'each is sent');
all_delivered($node, 'nothing more is owed');
is($receiver->stats('/well')->{requests}, $n, 'and each once');
is(worker_pid($node, 'dispatcher'), $pid, 'by the same dispatcher');

finish($node, $receiver);
