# What keeps the rings from turning is reported once it has lasted: which process holds
# its transaction open, or a lock, or that it is a prepared transaction, and how to end
# that. Without it the rings turn again.
# Plain SQL cannot show it: it takes open transactions, and minutes that pass.
use strict;
use warnings FATAL => 'all';
use OwnClock;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(
	start => 0,
	conf => "webhook_outbox.event_retention = 1min\n"
	  . "webhook_outbox.attempt_retention = 1min\n"
	  . "max_prepared_transactions = 5\n");
my $clock = 0;

start_with_clock($node);
$node->safe_psql('postgres', 'CREATE EXTENSION webhook_outbox');
create_endpoint($node, $receiver, 'well', '/ok');

# The log says it, and how to end it; minutes pass meanwhile, so that something else
# can be in the way before: maintenance looks at the leaves, too.
sub reported
{
	my ($what, $log_start) = @_;
	my $claim = $what =~ s/\W+/ /gr;

	wait_until(
		sub {
			set_clock($clock += 60);
			return slurp_file($node->logfile, $log_start) =~ /keeps events longer: [^\n]*$what/;
		},
		"$claim: it is reported, with who it is and how to end that");
	wait_for_sql($node, q(SELECT last_error ~ 'holds (a lock on|transaction \d+ open)'
		FROM webhook_outbox.worker_status WHERE process = 'dispatcher'), "$claim: worker_status says so too");
	return;
}

# What is stored now goes when its leaf is emptied.
sub turns
{
	my ($claim) = @_;
	my $newest = sql_value($node, q(SELECT coalesce(max(created_at), '-infinity') FROM webhook_outbox.event));

	return wait_until(
		sub {
			set_clock($clock += 60);
			return sql_value($node, "SELECT count(*) FROM webhook_outbox.event WHERE created_at <= '$newest'") eq '0';
		},
		"$claim: without it the ring turns again");
}

publish($node, 'order.created');
my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $log_start = -s $node->logfile;

$session->query_safe(q(BEGIN; INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{}') RETURNING id));
reported("not settled: process $pid holds transaction \\d+ open, [^\\n]*\\n[^\\n]*HINT: [^\\n]*pg_terminate_backend\\($pid\\)", $log_start);
$session->query_safe('COMMIT');
$receiver->wait_for('/ok', 2, 'what it published is delivered');
turns('a transaction');

publish($node, 'order.created');
$log_start = -s $node->logfile;
$session->query_safe('BEGIN; SELECT id FROM webhook_outbox.event');
reported("locked by another session: process $pid holds a lock on event_\\d\\n[^\\n]*HINT: [^\\n]*pg_terminate_backend\\($pid\\)", $log_start);
$session->query_safe('COMMIT');
turns('a lock');
$session->quit;

publish($node, 'order.created');
$log_start = -s $node->logfile;
$node->safe_psql('postgres', q(BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'forgotten'));
reported("not settled: a prepared transaction holds transaction \\d+ open, [^\\n]*\\n[^\\n]*HINT: [^\\n]*ROLLBACK PREPARED", $log_start);
$node->safe_psql('postgres', q(ROLLBACK PREPARED 'forgotten'));
turns('a prepared transaction');

finish($node);
