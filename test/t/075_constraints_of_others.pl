# What others have forbidden the tables to hold is not recorded past them, nor sent
# again and again for want of a record: sending stops, says why, and goes on when
# the constraint is gone.
# Plain SQL cannot show it: it is about what the dispatcher writes.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my $n = 0;

create_endpoint($node, $receiver, 'well', '/ok');
publish($node, 'order.created');
$receiver->wait_for('/ok', ++$n, 'an event is delivered');
all_delivered($node, 'and recorded');
my $pid = worker_pid($node, 'dispatcher');

sub stops
{
	my ($what, $forbid, $allow, $problem) = @_;
	my $log_start = -s $node->logfile;

	$node->safe_psql('postgres', $forbid);
	publish($node, 'order.created', '{"to": "be recorded"}');
	wait_for_sql($node, qq(SELECT state LIKE 'not sending: %' AND last_error = '$problem'
		FROM webhook_outbox.worker_status WHERE process = 'dispatcher'), "$what: sending stops, and says why");
	publish($node, 'order.created', '{"for": "later"}');

	my $since = sql_value($node, 'SELECT clock_timestamp()');
	wait_for_sql($node, qq(SELECT last_error_at > timestamptz '$since' + interval '3 s'
		FROM webhook_outbox.worker_status WHERE process = 'dispatcher'), "$what: recording is tried again");
	is($receiver->stats('/ok')->{requests}, $n + 1, "$what: one request was made, and no other");
	is(n_logged($node, 'has stopped sending: attempts cannot be recorded', $log_start), 1, "$what: the log says so once");
	is(n_logged($node, 'be recorded"|later"|Failing row', $log_start), 0, "$what: and nothing of the events");
	$node->safe_psql('postgres', $allow);
	$n += 2;
	$receiver->wait_for('/ok', $n, "$what: without that it goes on");
	all_delivered($node, "$what: all is recorded");
	is(worker_pid($node, 'dispatcher'), $pid, "$what: in the same process");
	return;
}

stops(
	'a constraint on attempts',
	'ALTER TABLE webhook_outbox.attempt ADD CONSTRAINT mine CHECK (http_status > 299) NOT VALID',
	'ALTER TABLE webhook_outbox.attempt DROP CONSTRAINT mine',
	'new row for relation "attempt_0" violates check constraint "mine"');
stops(
	'a column that must not be null',
	'ALTER TABLE webhook_outbox.attempt ADD mine integer NOT NULL DEFAULT 0',
	'ALTER TABLE webhook_outbox.attempt DROP mine',
	'null value in column "mine" of relation "attempt_0" violates not-null constraint');
my $last = sql_value($node, 'SELECT max(started_at) FROM webhook_outbox.attempt');
stops(
	'a unique index',
	"CREATE UNIQUE INDEX mine ON webhook_outbox.attempt_0 (endpoint_id) WHERE started_at >= '$last'",
	'DROP INDEX webhook_outbox.mine',
	'duplicate key value violates unique constraint "mine"');
stops(
	'a constraint on the cursor',
	q(ALTER TABLE webhook_outbox.cursor ADD CONSTRAINT mine CHECK (updated_at < '2000-01-01') NOT VALID),
	'ALTER TABLE webhook_outbox.cursor DROP CONSTRAINT mine',
	'new row for relation "cursor" violates check constraint "mine"');
is($receiver->stats('/ok')->{duplicates}, 0, 'nothing was sent twice');

finish($node, $receiver);
