# Events are read in the right places of the 64-bit xids, whatever became of the
# 32 bits that the server keeps: the commit log forgets transactions whose events
# nobody has read, and xids begin anew.
# Plain SQL cannot show it: the server has to be moved to where that happens.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $segment = 32768 * 32;    # xids in a file of the commit log
my $receiver = start_receiver();
my $node = start_node(conf => "autovacuum = off\n");
my $n = 0;

create_endpoint($node, $receiver, 'well', '/ok');
$node->safe_psql('postgres', 'UPDATE pg_database SET datallowconn = true');

# Each in a transaction of its own.
sub publish_all
{
	my ($count) = @_;

	$node->safe_psql('postgres',
		q(INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{}');)
		  x $count);
	$n += $count;
	return;
}

sub freeze
{
	$node->safe_psql($_, 'VACUUM (FREEZE)') for qw(template0 template1 postgres);
	return;
}

# Makes xid the next one; what was there before has to be frozen.
sub move_to
{
	my ($xid) = @_;
	my $file = sprintf '%s/pg_xact/%04X', $node->data_dir, $xid / $segment;

	$node->stop;
	append_to_file($file, "\0" x ($segment / 4 - (-s $file // 0)));
	system_or_bail('pg_resetwal', '-x', $xid, $node->data_dir);
	$node->start;
	return;
}

sub n_fences
{
	my ($where) = @_;

	return sql_value($node, "SELECT count(*) FROM webhook_outbox.ring_leaf WHERE fence $where '4294967296'");
}

# Events that were published while delivery was off, and by when the commit log
# had been cut off behind them.
move_to($segment - 100);
switch_delivery($node, 'off');
my $pid = worker_pid($node, 'dispatcher');
publish_all(3);
$node->safe_psql('postgres',
	'DO $$ BEGIN FOR i IN 1 .. 200 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
publish_all(3);
freeze();
ok(!-e $node->data_dir . '/pg_xact/0000', 'the commit log has forgotten some transactions');
switch_delivery($node, 'on');
$receiver->wait_for('/ok', $n, 'their events are delivered');
is(worker_pid($node, 'dispatcher'), $pid, 'by the dispatcher that was there then');

# Half way round and once round, with events that nobody has read.
for my $xid (1_500_000_000, 3_000_000_000, 2**32 - 60)
{
	switch_delivery($node, 'off');
	publish_all(2);
	freeze();
	move_to($xid);
	publish_all(2);
	switch_delivery($node, 'on');
	$receiver->wait_for('/ok', $n, "at xid $xid what waited is delivered, and what is new");
}

# An old transaction is open while xids begin anew, and so is a leaf of the ring.
$node->append_conf('postgresql.conf', "webhook_outbox.event_retention = '6s'");
$node->reload;
my $old = $node->background_psql('postgres');
$old->query_safe(q(BEGIN; INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.late', '{}')));
publish_all(60);
cmp_ok(sql_value($node, 'SELECT pg_current_xact_id()'), '>', 2**32, 'xids have begun anew');
$receiver->wait_for('/ok', $n, 'events of before and after are delivered');
$old->query_safe('COMMIT');
$old->quit;
$receiver->wait_for('/ok', ++$n, 'and that of a transaction that was open meanwhile');
wait_until(sub { n_fences('<') == 0 && n_fences('>=') > 0 }, 'leaves of before are emptied, leaves of after are fenced off');
$node->restart;
publish_all(2);
$receiver->wait_for('/ok', $n, 'after a restart it goes on');
is($receiver->stats('/ok')->{duplicates}, 0, 'no event was sent twice');
is(n_logged($node, 'could not access status'), 0, 'and none was looked up in vain');

finish($node, $receiver);
