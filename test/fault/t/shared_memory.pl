# There is no room in /dev/shm, where dispatcher and senders talk to each other. The
# server and the dispatcher go on, the log and worker_status say what is missing;
# with room again senders start by themselves, and nothing is lost.
#
# Settings: FAULT_EVENTS (how many that are meant to stay, each round), FAULT_ROUNDS.
use strict;
use warnings FATAL => 'all';
use OwnDisk '/dev/shm' => '24m';
use Fault;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $n_rounds = fault_size(5, 1, 'ROUNDS');
my $n_events = fault_size(3_000, 300, 'EVENTS');
my $world = fault_world(conf => "dynamic_shared_memory_type = posix\n");
my $node = $world->node;

# A process ends, and there is no room for a sender; events come all the same.
sub lack_room
{
	my ($what, $pid) = @_;
	my $words = qr/WARNING:  webhook_outbox cannot start a sender: could not resize shared memory segment .*No space left on device\n.*HINT: .*\/dev\/shm/;
	my $n_before = n_logged($node, $words);

	kill 'TERM', $pid;
	# what the old sender had is free again, and the next one must not get it
	wait_until(
		sub {
			OwnDisk::fill('/dev/shm');
			kill 'TERM', $_ for $world->workers('sender');
			return n_logged($node, $words) > $n_before;
		},
		"$what: the log says what is missing, and where");
	wait_for_sql(
		$node, q(SELECT state = 'not sending: no sender can be started: see last_error'
		AND last_error ~ 'could not resize shared memory segment .*No space left on device'
		FROM webhook_outbox.worker_status WHERE process = 'dispatcher'),
		"$what: so does worker_status");
	my $dispatcher = worker_pid($node, 'dispatcher');

	$world->start_producers(events => $n_events, seconds => 2);
	$world->finish_producers;
	is(n_logged($node, $words), $n_before + 1, "$what: the log says it once");
	OwnDisk::clear('/dev/shm');
	$world->wait_settled(60);
	is(worker_pid($node, 'dispatcher'), $dispatcher, "$what: it was one dispatcher all the while");
	return;
}

my $n_starts = n_logged($node, qr/database system is ready to accept/);
for my $round (1 .. $n_rounds)
{
	my $sender = $world->wait_for('a sender runs', sub { ($world->workers('sender'))[0] });

	lack_room('a sender ends', $sender);
	$world->mark('SIGTERM sender');
	$world->wait_for('a sender runs', sub { ($world->workers('sender'))[0] });
	lack_room('a dispatcher ends', worker_pid($node, 'dispatcher'));
	$world->mark('SIGTERM dispatcher');
}
is(n_logged($node, qr/database system is ready to accept/), $n_starts, 'the server did not restart');
$world->judge;
$world->finish;
