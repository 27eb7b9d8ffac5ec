# Rings turn every second or so under load, while dead letters, long retries, late
# redeliveries, a slow and a paused endpoint need events of leaves that are emptied,
# a snapshot holds the leaves for a while and the server is killed: each delivery
# owed arrives with the bytes that were published, and disk use is flat.
#
# Its own check, for events pass away here: what a publisher has logged (the MD5 of
# each payload, after the commit was answered) against what the receiver has.
#
# Settings: FAULT_TURNS (how often the event ring turns, at least), FAULT_RATE
# (events a second).
use strict;
use warnings FATAL => 'all';
use Digest::MD5 qw(md5_hex);
use Fault;
use IO::Handle;
use IPC::Open2;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use WebhookOutbox;

my $n_turns = fault_size(120, 9, 'TURNS');
my $rate = fault_size(300, 150, 'RATE');
my $long_retry = fault_size('30s', '8s');
my $seed = fault_seed();
my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.event_retention = 6s\n"
	  . "webhook_outbox.attempt_retention = 6s\nrestart_after_crash = on\n"
	  . 'webhook_outbox.window_events = 1000');
# name => path, pattern; each gets what its pattern says, whole and as published
my %endpoint = (
	well => [ '/well', 'order' ],
	slow => [ '/delay/200/slow', 'slow', max_in_flight => 2 ],
	dead => [ '/dead', 'bad', retry_schedule => q('{200ms}') ],
	patient => [ '/fail/1/patient', 'late', retry_schedule => "'{$long_retry,1s,1s}'" ],
	paused => [ '/paused', 'held' ]);
my $log = "$PostgreSQL::Test::Utils::tmp_check/published_$$";

for my $name (sort keys %endpoint)
{
	my ($path, $word, %more) = @{ $endpoint{$name} };

	create_endpoint($node, $receiver, $name, $path, event_types => "'{$word.*}'",
		body_format => q('raw'), %more);
}
$receiver->script('/dead', { status => 503 });
$node->safe_psql('postgres', q(SELECT webhook_outbox.pause_endpoint('paused')));

# ---- the publisher, a process of its own

# most for the one that works
my $parent = $$;
my @words = (('order') x 45, ('slow') x 2, 'bad', 'late', 'held');

sub connect_server
{
	my ($from, $to);

	while (1)
	{
		my $pid = open2($from, $to, 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1',
			'-d', $node->connstr('postgres'));
		print $to "SELECT 'connected';\n";
		$to->flush;
		return ($from, $to, $pid) if (<$from> // '') eq "connected\n";
		waitpid $pid, 0;
		tick(10);
	}
	return;
}

# Logs "plan" with word and MD5 of each event before it is sent, and the outcome
# after the answer: commit, rollback or, where the connection broke, unknown.
sub publish_for_ever
{
	my ($from, $to, $pid) = connect_server();
	my ($began, $n, $number) = (time, 0, 0);

	srand $seed + 1;
	local $SIG{PIPE} = 'IGNORE';
	open my $out, '>', $log or die "$log: $!\n";
	$out->autoflush(1);
	while (!-e "$log.enough" && getppid == $parent)
	{
		my $end = rand() < 0.1 ? 'rollback' : 'commit';
		my @values;

		$number++;
		for (0 .. rand 20)
		{
			my $word = $words[ rand @words ];
			my $payload = sprintf '{"n": %d,  "é": "%s"}', ++$n, 'y' x rand 1500;

			print $out join("\t", 'plan', $number, $word, md5_hex($payload)), "\n";
			push @values, "('$word.x', '$payload')";
		}
		print $to 'BEGIN; INSERT INTO webhook_outbox.event (type, payload) VALUES ',
		  join(', ', @values), "; $end;\nSELECT 'answered';\n";
		$to->flush;
		my $is_answered = (<$from> // '') eq "answered\n";
		print $out join("\t", 'done', $number, $is_answered ? $end : 'unknown'), "\n";
		if (!$is_answered)
		{
			waitpid $pid, 0;
			($from, $to, $pid) = connect_server();
		}
		my $ahead = $began + $n / $rate - time;
		usleep(1e6 * $ahead) if $ahead > 0;
	}
	return;
}

my $publisher = fork // die "fork: $!";
if (!$publisher)
{
	open STDOUT, '>', "$log.out";
	open STDERR, '>&', \*STDOUT;
	eval { publish_for_ever(); 1 } or print $@;
	POSIX::_exit(0);
}

# ---- what is done meanwhile

sub answer
{
	my ($query) = @_;
	my $result = '';

	wait_for_answer(sub { $result = eval { sql_value($node, $query) }; defined $result });
	return $result;
}

# Without a check: the server may be down for a moment.
sub wait_for_answer
{
	my ($code) = @_;
	my $end = time + 60;

	while (!$code->() && time < $end) { tick(5); }
	return;
}

my (@samples, $n_done);
my $patience = 20;    # seconds, for one turn

# Samples sizes until the ring has turned so often.
sub let_turn
{
	my ($until, $part) = @_;
	my $turned_at = time;

	do
	{
		my ($turn, $leaves, $kept) = split /\|/, answer(q(
			SELECT (SELECT max(turn) FROM webhook_outbox.ring_leaf WHERE ring = 'event'),
				sum(pg_total_relation_size(oid)) FILTER (WHERE relname <> 'event_kept'),
				sum(pg_total_relation_size(oid)) FILTER (WHERE relname = 'event_kept')
			FROM pg_class WHERE relnamespace = 'webhook_outbox'::regnamespace
			AND relkind = 'r' AND relname ~ '^(event|attempt)_(\d|kept)$'));

		push @samples, [ $part, $leaves, $kept ];
		$turned_at = time if $turn > ($n_done // 0);
		$n_done = $turn;
		tick(20);
	} while ($n_done < $until && time < $turned_at + $patience);
	return;
}

sub largest
{
	my ($part, $column) = @_;
	my ($largest) = sort { $b <=> $a } map { $_->[$column] } grep { $_->[0] == $part } @samples;

	return $largest;
}

my $first_turn = answer(q(SELECT max(turn) FROM webhook_outbox.ring_leaf WHERE ring = 'event'));
my $third = $n_turns / 3;
my $killed_at;

note("$n_turns turns, $rate events a second");
let_turn($first_turn + $third / 2, 1);
# a snapshot that reads every leaf: none can be emptied
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$holder->query_safe("SELECT count(*) FROM webhook_outbox.$_") for qw(event attempt);
let_turn($n_done + 2, 1);
$holder->query_safe('COMMIT');
$holder->quit;
{
	my $pid = worker_pid($node, 'dispatcher');
	my $recoveries = qr/database system is ready to accept/;
	my $n_before = n_logged($node, $recoveries);

	kill 'KILL', $pid;
	$killed_at = time;
	wait_until(sub { n_logged($node, $recoveries) > $n_before },
		'the server recovers from kill -9');
}
let_turn($first_turn + $third, 1);
answer(q(SELECT webhook_outbox.redeliver_dead_letters(endpoint => 'dead', max_per_second => 2)));
let_turn($first_turn + 2 * $third, 2);
let_turn($first_turn + $n_turns, 3);
append_to_file("$log.enough", '');
waitpid $publisher, 0;
note(sprintf 'the ring turned %d times; %s bytes at most in leaves in the middle, %s at the end; %s in event_kept',
	$n_done - $first_turn, largest(2, 1), largest(3, 1), largest(3, 2));
cmp_ok($n_done - $first_turn, '>=', $n_turns, 'rings have turned');
cmp_ok(largest(3, 1), '<=', 1.5 * largest(2, 1), 'disk use is flat');
cmp_ok(answer('SELECT count(*) FROM webhook_outbox.event_kept'), '>', 0,
	'events outlive their leaves');

# ---- all that was owed now goes out

$receiver->script('/dead', { status => 200 });
$node->safe_psql('postgres', q(SELECT webhook_outbox.resume_endpoint('paused')));
wait_for_sql($node, q(SELECT new_events + parked + retrying = 0 FROM webhook_outbox.queue_status),
	'all is settled');
cmp_ok($node->safe_psql('postgres', q(SELECT webhook_outbox.redeliver_dead_letters())), '>', 0,
	'dead letters are sent again');
wait_for_sql($node, q(SELECT new_events + parked + retrying = 0 AND
	(SELECT count(*) = 0 FROM webhook_outbox.command) AND
	(SELECT count(*) = 0 FROM webhook_outbox.dead_letter) FROM webhook_outbox.queue_status),
	'and arrive');

# ---- the comparison

my (%plan, %outcome, %got, @strange, @missing, @undead, @twice);
my %path_of = map { $_->[1] => $_->[0] } values %endpoint;
my $n_owed = 0;

for my $line (split /\n/, slurp_file($log))
{
	my ($what, $number, @more) = split /\t/, $line;

	if ($what eq 'plan') { push @{ $plan{$number} }, \@more; }
	else { $outcome{$number} = $more[0]; }
}
my %known = map { ("$path_of{ $_->[0] } $_->[1]" => 1) } map { @$_ } values %plan;
open my $requests, '<', $receiver->{log} or die "$receiver->{log}: $!";
while (my $line = <$requests>)
{
	my ($at) = $line =~ /"at":"?(\d+)/;
	my ($path) = $line =~ /"path":"([^"]+)"/;
	my ($status) = $line =~ /"status":(\d+)/;
	my ($md5) = $line =~ /"md5":"(\w+)"/;

	push @strange, "$path $md5" if !$known{"$path $md5"};
	push @{ $got{"$path $md5"} }, $at / 1e6 if $status == 200;
}
close $requests;
for my $number (sort keys %plan)
{
	my $outcome = $outcome{$number} // 'unknown';
	my @pairs = map { "$path_of{ $_->[0] } $_->[1]" } @{ $plan{$number} };

	$n_owed += @pairs if $outcome eq 'commit';
	push @missing, grep { !$got{$_} } @pairs if $outcome eq 'commit';
	push @undead, grep { $got{$_} } @pairs if $outcome eq 'rollback';
}
# What was not on record when the server was killed may come again: in flight, or
# recorded a moment before, without waiting for the disk.
for my $pair (sort keys %got)
{
	my ($first, @again) = sort { $a <=> $b } @{ $got{$pair} };

	push @twice, $pair if @again
	  && (@again > 1 || $again[0] < $killed_at || $first < $killed_at - 5 || $first > $killed_at);
}
note(sprintf '%d deliveries owed, %d transactions, %d of unknown outcome, %d duplicates by the kill',
	$n_owed, scalar keys %plan, scalar(grep { $_ eq 'unknown' } values %outcome),
	scalar(grep { @$_ > 1 } values %got));
is("@missing[0 .. ($#missing < 4 ? $#missing : 4)]", '', 'lost: nothing; every body arrived as published');
is("@strange[0 .. ($#strange < 4 ? $#strange : 4)]", '', 'phantom: no body that was not published for that endpoint');
is("@undead[0 .. ($#undead < 4 ? $#undead : 4)]", '', 'nothing that was rolled back arrived');
is("@twice[0 .. ($#twice < 4 ? $#twice : 4)]", '', 'twice only what the kill explains');
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.event_kept',
	'in the end nothing is kept any longer');
finish($node, $receiver, may_crash => 1);
