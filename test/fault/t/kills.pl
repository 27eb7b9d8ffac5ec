# Dispatcher, senders, launcher and server are killed at random moments while
# events flow: nothing committed is lost, nothing else is sent, and only what was
# not on record at a kill is sent again.
#
# Settings: FAULT_EVENTS (how many that are meant to stay), FAULT_TERMS (how often
# SIGTERM), FAULT_KILLS (how often SIGKILL), FAULT_STOPS (how often an immediate
# stop), FAULT_SECONDS (for all of it).
use strict;
use warnings FATAL => 'all';
use Fault;
use Test::More;
use Time::HiRes qw(time usleep);

my %n = (
	term => fault_size(200, 3, 'TERMS'),
	kill => fault_size(20, 2, 'KILLS'),
	stop => fault_size(8, 1, 'STOPS'));
my $n_events = fault_size(100_000, 2_000, 'EVENTS');
my $seconds = fault_size(600, 8, 'SECONDS');
my $world = fault_world(conf => "webhook_outbox.senders = 2\n");
my $node = $world->node;

# ---- what is done to it; each returns whom it hit, or nothing

sub pick
{
	my ($kind) = @_;
	my @pids = sort $world->workers($kind);

	return $pids[ rand @pids ];
}

# pg_terminate_backend knows no process without a database: then the same by hand.
sub terminate
{
	my ($kind) = @_;
	my $pid = pick($kind) or return;

	return kill('TERM', $pid) ? "pid $pid" : () if $kind ne 'dispatcher';
	my ($is_done) = $world->try_sql("SELECT pg_terminate_backend($pid)");
	return ($is_done // '') eq 't' ? "pid $pid" : ();
}

# The postmaster ends all processes then, and starts again by itself.
sub kill_hard
{
	my ($kind) = @_;
	my $pid = pick($kind) or return;
	my $n_before = n_recoveries();

	kill('KILL', $pid) or return;
	$world->wait_for("recovery after kill -9 $pid", sub { n_recoveries() > $n_before });
	return "pid $pid";
}

sub n_recoveries
{
	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);

	return scalar(() = $log =~ /database system is ready to accept/g);
}

sub stop_immediately
{
	$node->stop('immediate');
	$node->start;
	return 'postmaster';
}

my @processes = qw(dispatcher sender launcher);
my %strike = (
	(map { my $p = $_; ("SIGTERM $p" => sub { terminate($p) },
			"SIGKILL $p" => sub { kill_hard($p) }) } @processes),
	'stop immediate' => \&stop_immediately);

# So many of a signal: each process in turn.
sub round
{
	my ($signal, $n) = @_;

	return map { "$signal $processes[ $_ % @processes ]" } 0 .. $n - 1;
}

my @strikes = (round('SIGTERM', $n{term}), round('SIGKILL', $n{kill}),
	('stop immediate') x $n{stop});
@strikes = map { splice @strikes, rand @strikes, 1 } 1 .. @strikes;

# ---- the run

my $n_strikes = @strikes;
my $began = time;

note("$n_events events, $n_strikes strikes in $seconds s");
$world->start_producers(events => $n_events, seconds => $seconds);
for my $i (0 .. $#strikes)
{
	my $at = $began + $seconds * ($i + rand) / $n_strikes;

	usleep(1e6 * ($at - time)) if $at > time;
	$world->wait_for("$strikes[$i] hits something",
		sub { $world->strike($strikes[$i], $strike{ $strikes[$i] }) });
}
$world->finish_producers;
$world->wait_settled(60);
$world->judge;
$world->finish;
