# The disk of the tables fills up while events flow, and then the disk of the
# write-ahead log, which brings the server down. Nothing is sent that cannot be
# recorded, worker_status says why, and with room again all goes on by itself
# (after a start, if the server was down); nothing is lost or needlessly sent twice.
#
# Settings: FAULT_EVENTS (how many that are meant to stay), FAULT_ROUNDS (how often
# each disk is full), FAULT_SECONDS (for how long).
use strict;
use warnings FATAL => 'all';
use OwnDisk table => '192m', wal => '64m';
use Fault;
use Test::More;
use Time::HiRes qw(time);
use WebhookOutbox;

my $n_rounds = fault_size(5, 1, 'ROUNDS');
my $held_for = fault_size(60, 1, 'SECONDS');
my $n_events = int(fault_size(60_000, 4_000, 'EVENTS') / (2 * $n_rounds));
my $n_queued = 2_000;
my $node = start_node(extension => 0, conf => "wal_recycle = off\nmin_wal_size = 2MB\n"
	  . "max_wal_size = 4MB\nrestart_after_crash = on\n",
	extra => [ '--waldir', OwnDisk::folder('wal') . '/wal', '--wal-segsize', '1' ]);

# What has storage of its own and grows is on the small disk.
my $place = OwnDisk::folder('table') . '/space';
mkdir $place or die "$place: $!";
$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$place'");
$node->safe_psql('postgres',
	'SET default_tablespace = small; CREATE EXTENSION webhook_outbox');
my $world = fault_world(node => $node);
# one that has a queue when the disk is full: none of it may go out then
$world->add_endpoint('queue', '/delay/20/queue', '{queue.*}', '{100ms,1s,1s,1s}',
	max_in_flight => 8);

# Producers fail while there is no room; deliveries that were owed before wait.
sub fill_tables
{
	my ($round) = @_;
	my $pid = worker_pid($node, 'dispatcher');

	$node->safe_psql('postgres', qq(
		INSERT INTO webhook_outbox.event (type, payload)
		SELECT 'queue.x', ('{"key":"queue-$round-' || n || '"}')::json
		FROM generate_series(1, $n_queued) n));
	OwnDisk::fill('table');
	wait_until(sub { ($world->status)[0] =~
		/^not sending: .*could not (extend|write|create)\b.*No space left/ },
		'worker_status says that the disk is full');
	wait_until(sub { ($world->status)[1] == 0 }, 'what was in flight ends');
	my ($n_before, $until) = ($world->receiver->n_requests, time + $held_for);
	my $n_states = 0;
	while (time < $until)
	{
		$n_states++ if ($world->status)[0] !~ /^not sending/;
		tick(10);
	}
	is($world->receiver->n_requests, $n_before, 'nothing is sent that cannot be recorded');
	cmp_ok($world->receiver->stats('/delay/20/queue')->{requests}, '<', $round * $n_queued,
		'though there is a queue of what could be');
	is($n_states, 0, 'and worker_status goes on saying why');
	OwnDisk::clear('table');
	wait_until(sub { ($world->status)[0] !~ /^not sending/ }, 'with room again sending resumes');
	return is(worker_pid($node, 'dispatcher'), $pid, 'in the same process');
}

# The server stops with a PANIC, and cannot start without room.
sub fill_log
{
	my $words = qr/PANIC:.*No space left/;
	my $n_before = n_logged($node, $words);

	OwnDisk::fill('wal');
	wait_until(sub {
		# producers may be done: log on until there is no room
		eval { $node->psql('postgres', 'SELECT pg_current_xact_id(), pg_switch_wal()'); };
		return n_logged($node, $words) > $n_before; }, 'a log that cannot be written stops the server');
	$node->stop('immediate', fail_ok => 1);
	OwnDisk::clear('wal');
	$node->start;
	return 'postmaster';
}

for my $round (1 .. $n_rounds)
{
	$world->start_producers(events => $n_events, seconds => $held_for);
	fill_tables($round);
	$world->finish_producers;
	$world->start_producers(events => $n_events, seconds => $held_for);
	ok($world->strike('log full', \&fill_log), 'with room again the server starts');
	$world->finish_producers;
}
$world->wait_settled(60);
$world->judge;
$world->finish;
