# A sender runs short of files, of memory, and is killed as the system's OOM killer
# does. With few files it goes on with fewer connections and says which limit to
# raise; without memory it ends in an orderly way, or its requests fail and are made
# again; a SIGKILL restarts the server. Nothing is lost, no receiver is blamed, and
# only what a death leaves unrecorded is sent again.
#
# Settings: FAULT_EVENTS (how many that are meant to stay, each round), FAULT_ROUNDS.
use strict;
use warnings FATAL => 'all';
use Fault;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $n_rounds = fault_size(10, 1, 'ROUNDS');
my $n_events = fault_size(1_000, 600, 'EVENTS');
my $n_big = fault_size(1_000, 200);
my $world = fault_world();
my $node = $world->node;
my $blame = q(outcome IN ('timeout', 'dns_error', 'connect_error', 'tls_error', 'protocol_error', 'blocked'));

sub sender
{
	return $world->wait_for('a sender runs', sub { ($world->workers('sender'))[0] });
}

sub limit
{
	my ($pid, $what) = @_;

	return system('prlimit', '--pid', $pid, $what) == 0;
}

# Kilobytes of address space.
sub size_of
{
	my ($pid) = @_;
	my ($size) = slurp_file("/proc/$pid/status") =~ /^VmSize:\s*(\d+) kB/m;

	return $size;
}

sub lack_files
{
	my $pid = sender();
	my $words = qr/sender may open 64 files only, too few for \d+ requests at once: it makes \d+\n.*HINT: .*ulimit -n/;
	my $n_before = n_logged($node, $words);

	ok(limit($pid, '--nofile=64:64'), 'a sender may open 64 files');
	$world->start_producers(events => $n_events, seconds => 3);
	# its own settings are read again now and then, and at a reload
	$node->reload;
	wait_until(sub { n_logged($node, $words) > $n_before }, 'it says which limit to raise, and what it makes do with');
	$world->finish_producers;
	$world->wait_settled(60);
	is(sender(), $pid, 'the same sender has sent it all');
	return;
}

# A limit that is hit without a look at it before: connections that cannot be opened.
sub lose_files
{
	my $pid = sender();
	my $n_open = () = glob "/proc/$pid/fd/*";
	my $n_allowed = $n_open + 8;
	my $words = qr/sender may open $n_allowed files only/;
	my $n_before = n_logged($node, $words);

	ok(limit($pid, "--nofile=$n_allowed:$n_allowed"), "it has $n_open open and may have $n_allowed");
	$world->start_producers(events => $n_events, seconds => 3);
	wait_until(sub { n_logged($node, $words) > $n_before }, 'it finds out, and says so');
	$world->finish_producers;
	$world->wait_settled(120);    # two requests at a time, of 40 ms
	is(sender(), $pid, 'the same sender has sent it all');
	return;
}

my $n_batches = 0;

sub publish_big
{
	my $batch = ++$n_batches;

	$world->sql(qq(INSERT INTO webhook_outbox.event (type, payload)
		SELECT 'order.created', ('{"key":"big-$batch-' || n || '","pad":"' || repeat('x', 60000) || '"}')::json
		FROM generate_series(1, $n_big) n));
	return;
}

# Ends a sender in an orderly way: the next one has no limits.
sub replace_sender
{
	my $pid = sender();

	kill 'TERM', $pid;
	$world->wait_for('another sender', sub { sender() != $pid });
	return;
}

# What a dead sender has written may lie at the receiver still, which is one process:
# by the time that it has answered a few questions it has read it.
sub let_receiver_read
{
	$world->receiver->stats for 1 .. 5;
	return;
}

sub lack_memory
{
	my $pid = sender();
	my $failed = q(SELECT count(*) FROM webhook_outbox.attempt WHERE error LIKE '%memory%');
	my ($n_before) = $world->sql($failed);

	for my $try (0 .. 9)
	{
		# the soft limit alone, which can be raised again
		limit($pid, '--as=' . (size_of($pid) + 256 - 32 * $try) * 1024 . ':') or last;
		publish_big();
		$world->wait_for('it is sent, or the sender runs out of memory', sub {
			sender() != $pid || ($world->sql($failed))[0] > $n_before
			  || ($world->sql('SELECT new_events FROM webhook_outbox.queue_status'))[0] == 0 });
		last if sender() != $pid || ($world->sql($failed))[0] > $n_before;
	}
	note(sender() != $pid ? 'the sender has ended' : 'requests have failed');
	# a sender that lives on could send nothing big any more
	limit($pid, '--as=unlimited:') if sender() == $pid;
	let_receiver_read();
	return "pid $pid";
}

# AddressSanitizer ends a process that gets no memory, before the process can see it.
sub is_sanitized
{
	return slurp_file('/proc/' . sender() . '/maps') =~ /libasan/;
}

sub kill_sender
{
	my $pid = sender();
	my $victim = $world->kill_hard($pid) or return;

	let_receiver_read();
	return $victim;
}

for my $round (1 .. $n_rounds)
{
	lack_files();
	ok($world->strike('SIGKILL sender', \&kill_sender), 'a sender is killed, and all restarts');
	lose_files();
	replace_sender();
  SKIP:
	{
		skip 'AddressSanitizer lets no process run out of memory', 3 if is_sanitized();
		my $n_crashes = n_logged($node, qr/was terminated by signal/);
		ok($world->strike('no memory', \&lack_memory), 'a sender runs out of memory');
		is(n_logged($node, qr/was terminated by signal/), $n_crashes, 'which crashes nothing');
		$world->wait_settled(60);
		replace_sender();    # by one without limits
	}
}
is(join(' ', $world->sql("SELECT DISTINCT outcome || ': ' || error FROM webhook_outbox.attempt WHERE $blame")),
	'', 'no receiver is blamed');
$world->judge;
$world->finish;
