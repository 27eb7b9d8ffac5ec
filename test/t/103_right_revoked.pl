# A right that the workers' role has lost, for reading as for recording, stops
# delivery and not the process: what is under way comes back and is recorded, the
# log and worker_status say which right it is, and with it delivery goes on.
# Plain SQL cannot show it: it is about what the dispatcher does meanwhile.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(extension => 0, conf => "webhook_outbox.role = 'clerk'\n");

$node->safe_psql(
	'postgres', q(
	BEGIN;
	CREATE ROLE clerk;
	CREATE EXTENSION webhook_outbox;
	SELECT webhook_outbox.grant_worker('clerk');
	COMMIT));
create_endpoint($node, $receiver, 'well', '/ok', event_types => q('{order.*}'));
create_endpoint($node, $receiver, 'slow', '/hold', event_types => q('{slow.*}'));
publish($node, 'order.created');
$receiver->wait_for('/ok', 1, 'an event is delivered');
all_delivered($node, 'and recorded');
my $pid = worker_pid($node, 'dispatcher');
my $n = 1;

for my $case (
	[ 'SELECT ON ALL TABLES IN SCHEMA webhook_outbox', 'permission denied for table \w+' ],
	[ 'UPDATE ON ALL TABLES IN SCHEMA webhook_outbox', 'permission denied for table \w+' ],
	[ 'USAGE ON SCHEMA webhook_outbox', 'permission denied for schema webhook_outbox' ])
{
	my ($right, $problem) = @$case;
	my $log_start = -s $node->logfile;
	my $held = publish($node, 'slow.one');

	$receiver->wait_for_requests('/hold', $n, "$right: a request is under way");
	$node->safe_psql('postgres', "REVOKE $right FROM clerk");
	publish($node, 'order.created');
	$receiver->release('/hold');
	my $told = "has stopped sending: [^\\n]*$problem";
	wait_until(sub { n_logged($node, $told, $log_start) > 0 }, "$right: nothing is sent, and the log says why");
	wait_for_sql(
		$node, qq(SELECT state ~ '^not sending: .*$problem' AND last_error ~ '$problem'
		FROM webhook_outbox.worker_status WHERE process = 'dispatcher'), "$right: so does worker_status");
	is(n_logged($node, $told, $log_start), 1, "$right: it was logged once");
	$node->safe_psql('postgres', "GRANT $right TO clerk");
	$receiver->wait_for('/ok', ++$n, "$right: with it, delivery goes on");
	all_delivered($node, "$right: all is recorded");
	is(worker_pid($node, 'dispatcher'), $pid, "$right: in the same process");
	is( $node->safe_psql('postgres', "SELECT string_agg(outcome, ' ') FROM webhook_outbox.attempt WHERE event_id = '$held'"),
		'delivered', "$right: what was under way was recorded as it ended");
}
is($receiver->stats->{$_}{duplicates}, 0, "nothing was sent to $_ twice") for qw(/ok /hold);

finish($node, $receiver);
