# Each of the extension's tables is locked in turn (in the short form, ten of them),
# and all of them at once, while events flow. Either sending goes on, or worker_status names the lock and who
# holds it and nothing is sent once what was in flight has ended; then all goes on
# by itself, in the same process, and nothing is lost or sent twice.
#
# Settings: FAULT_EVENTS (how many that are meant to stay), FAULT_SECONDS (how long
# each lock is held).
use strict;
use warnings FATAL => 'all';
use Fault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WebhookOutbox;

my $n_events = fault_size(100_000, 3_000, 'EVENTS');
my $held_for = fault_size(60, 0.7, 'SECONDS');
my $world = fault_world(conf => "webhook_outbox.senders = 2\n");
my $node = $world->node;
my @tables = $world->sql(q(
	SELECT relname FROM pg_class WHERE relnamespace = 'webhook_outbox'::regnamespace
	AND relkind IN ('r', 'p') AND (NOT relispartition OR relname IN ('event_0', 'attempt_0'))
	ORDER BY 1));
if ($ENV{FAULT_SHORT})
{
	my %chosen = map { $_ => 1 } qw(attempt command cursor delivery endpoint event);
	$chosen{ $tables[ rand @tables ] } = 1 while keys %chosen < 10;
	@tables = sort keys %chosen;
}
my $dispatcher = worker_pid($node, 'dispatcher');

# A session that holds locks, and its pid. One that locks many tables may meet the
# maintenance worker, which locks some of them in another order: then it tries again.
sub lock_tables
{
	my (@names) = @_;
	my $list = join ', ', map { "webhook_outbox.$_" } @names;
	my $error;

	for (1 .. 10)
	{
		my $session = $node->background_psql('postgres');
		my $pid = $session->query_safe('SELECT pg_backend_pid()') =~ s/\s//gr;
		my $n_before = n_logged($node, qr/deadlock detected/);

		return ($session, $pid)
		  if eval { $session->query_safe("BEGIN; LOCK TABLE $list IN ACCESS EXCLUSIVE MODE"); 1 };
		$error = $@;
		eval { $session->quit };
		last if n_logged($node, qr/deadlock detected/) == $n_before;
	}
	die $error;
}

# While it is held: does the state name it, or does sending go on?  Without a table
# that is needed all the time it cannot.
sub watch
{
	my ($what, $pid) = @_;
	my $is_needed = $what =~ /^(attempt|all of them)$/;
	my ($began, $n_before) = (time, $world->receiver->n_requests);
	my ($state, $in_flight) = ('', 0);
	my ($is_told, $n_told, $n_at_rest, $n_late) = (0, 0, undef, 0);

	while (time < $began + $held_for || (!$is_told && ($is_needed || $world->receiver->n_requests == $n_before)))
	{
		last if time > $began + $held_for + 60;
		($state, $in_flight) = $world->status;
		$is_told = 1 if $state =~ /^not sending: .*waiting for a lock on \w+ that process $pid holds$/;
		if ($state !~ /^not sending/ || $in_flight > 0) { undef $n_at_rest; }
		elsif (!defined $n_at_rest) { $n_at_rest = $world->receiver->n_requests; }
		elsif ($world->receiver->n_requests > $n_at_rest) { $n_late++; }
		tick(5);
	}
	my $n_sent = $world->receiver->n_requests - $n_before;

	note(sprintf '%-20s held for %5.1f s: %s, %d requests', $what, time - $began,
		$is_told ? 'told' : 'not in the way', $n_sent);
	ok($is_told || (!$is_needed && $n_sent > 0), "$what: sending goes on, or worker_status names the lock");
	is($n_late, 0, "$what: nothing is sent while it says so") if $is_told;
	return $is_told;
}

sub is_sending
{
	return ($world->status)[0] !~ /^not sending/;
}

my $n_told = 0;
my $n_each = int($n_events / (@tables + 1));

note("$n_events events; " . @tables . " tables, each locked for $held_for s");
for my $names (map({ [$_] } @tables), \@tables)
{
	my $what = @$names > 1 ? 'all of them' : $names->[0];

	$world->start_producers(events => $n_each, seconds => $held_for, producers => 2);
	my ($session, $pid) = lock_tables(@$names);
	$n_told += watch($what, $pid);
	$session->query_safe('COMMIT');
	$session->quit;
	wait_until(\&is_sending, "$what: sending resumes by itself");
}
note("$n_told locks were in the way");
is(worker_pid($node, 'dispatcher'), $dispatcher, 'all the while it was one dispatcher');

# One that starts while nothing can be read waits and says so.
my ($session, $pid) = lock_tables(@tables);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($dispatcher)");
wait_for_sql($node, qq(SELECT state LIKE '%that process $pid holds'
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher' AND pid <> $dispatcher),
	'a dispatcher that starts meanwhile waits for the lock');
$session->query_safe('COMMIT');
$session->quit;
$world->mark('SIGTERM dispatcher');
$world->finish_producers;
$world->wait_settled(60);
$world->judge;
my @lines = slurp_file($node->logfile) =~ /(webhook_outbox has stopped sending: .*)/g;
cmp_ok(scalar @lines, '<=', 3 * @tables, 'the log says it when it begins, and not over and over');
$world->finish;
