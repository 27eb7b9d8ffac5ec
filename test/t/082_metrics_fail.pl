# Whatever keeps metrics from being written keeps no event from its delivery,
# no attempt from being recorded and no dispatcher from starting; once they
# can be written again, what was recorded meanwhile is counted.
# Plain SQL cannot show it: it takes deliveries.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'well', '/well');
my $n = 0;

sub deliver
{
	my ($claim) = @_;

	publish($node, 'order.created');
	$n++;
	return wait_for_sql($node,
		"SELECT count(*) = $n FROM webhook_outbox.attempt", $claim);
}

# Ends the dispatcher in an orderly way: what it has counted is due.
sub restart_dispatcher
{
	my $pid = worker_pid($node, 'dispatcher');

	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	return worker_pid($node, 'dispatcher', $pid);
}

sub complaints
{
	my @lines = slurp_file($node->logfile) =~ /could not write metrics: .*/g;

	return scalar @lines;
}

my $counted = q(SELECT (SELECT coalesce(sum(attempts), 0) FROM webhook_outbox.endpoint_rollup WHERE resolution = 1)
	|| ' ' || (SELECT count(*) FROM webhook_outbox.open_attempts()));

deliver('an event is delivered');
# The table refuses, at the end of the dispatcher and at the start of the next.
$node->safe_psql('postgres', q(
	ALTER TABLE webhook_outbox.endpoint_rollup ADD CONSTRAINT broken CHECK (false) NOT VALID));
restart_dispatcher();
deliver('the next dispatcher delivers too');
like(slurp_file($node->logfile),
	qr/could not write metrics: new row for relation "endpoint_rollup" violates check/,
	'the log says why metrics are missing');
is(complaints(), 2, 'each of the two dispatchers says it once');
is(sql_value($node, $counted), '0 1', 'what was open then is skipped');

# A lock does not hold deliveries up either.
$node->safe_psql('postgres', q(
	ALTER TABLE webhook_outbox.endpoint_rollup DROP CONSTRAINT broken));
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE webhook_outbox.endpoint_rollup, webhook_outbox.open_rollup IN ACCESS EXCLUSIVE MODE');
restart_dispatcher();
deliver('deliveries go on while somebody locks the rollups');
$holder->query_safe('COMMIT');
is(sql_value($node, $counted), '0 2', 'and are open');
restart_dispatcher();
deliver('when the lock is gone');
is(sql_value($node, $counted), '2 1', 'they are counted');
$holder->quit;

finish($node, $receiver);
