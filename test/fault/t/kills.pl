# Dispatcher, senders, launcher and server are killed at random moments while
# events flow: nothing committed is lost, nothing else is sent, and only what was
# not on record at a kill is sent again.
#
# Settings: FAULT_EVENTS (how many that are meant to stay), FAULT_TERMS (how often
# SIGTERM), FAULT_KILLS (how often SIGKILL), FAULT_STOPS (how often an immediate
# stop), FAULT_ROUNDS (how often each named point, in each way), FAULT_SECONDS (for
# all of it).
use strict;
use warnings FATAL => 'all';
use Fault;
use Test::More;
use Time::HiRes qw(time usleep);

my %n = (
	term => fault_size(200, 3, 'TERMS'),
	kill => fault_size(20, 2, 'KILLS'),
	stop => fault_size(8, 1, 'STOPS'),
	round => fault_size(1, 0, 'ROUNDS'));
my $n_events = fault_size(100_000, 2_000, 'EVENTS');
my $seconds = fault_size(600, 8, 'SECONDS');

# what a commit did not wait for stays unwritten as long as can be
my $world = fault_world(conf => <<'CONF');
webhook_outbox.senders = 2
wal_writer_delay = 10s
CONF
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

sub kill_hard
{
	my ($kind) = @_;
	my $pid = pick($kind) or return;

	return $world->kill_hard($pid);
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

# The named points (src/fault.h), and what makes somebody come there, unless events
# do.
my %point = (
	(map { $_ => undef } qw(before_flush after_read mid_send after_send before_record mid_record
		  after_record before_cursor after_cursor)),
	(map { $_ => sub { terminate('dispatcher') } }
		  qw(mid_rollup after_rollup before_register dispatcher_start)),
	launcher_start => sub { terminate('launcher') });

my @strikes = (
	(map { my $what = $_; [ $what, sub { $world->strike($what, $strike{$what}) } ] }
		round('SIGTERM', $n{term}), round('SIGKILL', $n{kill}),
		('stop immediate') x $n{stop}),
	(map { my $point = $_;
		map { my $action = $_;
			[ "$action at $point", sub { $world->strike_at($point, $action, $point{$point}) } ]
		} qw(kill immediate flushed exit) } (sort keys %point) x $n{round}),
	# the short form has those that most depends on
	$n{round} ? () : map { my ($point, $action) = @$_;
		[ "$action at $point", sub { $world->strike_at($point, $action) } ] }
	  [ before_flush => 'immediate' ], [ mid_send => 'immediate' ],
	  [ mid_record => 'kill' ], [ after_record => 'flushed' ]);
@strikes = map { splice @strikes, rand @strikes, 1 } 1 .. @strikes;

# ---- the run

my $n_strikes = @strikes;
my $began = time;

note("$n_events events, $n_strikes strikes in $seconds s");
$world->start_producers(events => $n_events, seconds => $seconds, go_on => 1);
for my $i (0 .. $#strikes)
{
	my $at = $began + $seconds * ($i + rand) / $n_strikes;

	usleep(1e6 * ($at - time)) if $at > time;
	my ($what, $code) = @{ $strikes[$i] };
	$world->wait_for("$what hits something", $code);
}
$world->finish_producers;
$world->wait_settled(60);
$world->judge;
$world->finish;
