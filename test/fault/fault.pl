# fault.pl - what make fault does, started by run.sh as an ordinary user.
#
# Four producers publish while a receiver logs every request and this program
# kills, at random moments: dispatcher and senders by SIGTERM, both
# by kill -9 (the whole server goes through recovery), the server by an immediate
# stop. Right after each kill the attempts that are on record are kept as a file.
# At the end check.pl compares it all.

use strict;
use warnings FATAL => 'all';

use Time::HiRes qw(time usleep);

my $seed = $ENV{FAULT_SEED} || int rand 1_000_000;
my $n_events = $ENV{FAULT_EVENTS} || 20_000;
my $n_kills = $ENV{FAULT_KILLS} || 14;
my $n_producers = 4;
my $seconds = 8 * $n_kills;    # for publishing; kills come meanwhile
my $grace = 60;                # seconds in which all must have been delivered
my $home = "$ENV{WO_WORK}/fault";
my $bin = $ENV{WO_BIN};
my ($is_server_up, $receiver, %child);

$| = 1;
srand $seed;
$SIG{PIPE} = 'IGNORE';
$SIG{INT} = $SIG{TERM} = sub { exit 130 };

sub say_line
{
	printf "-- %s\n", sprintf shift, @_;
	return;
}

sub fail
{
	print "error: @_\n", `tail -n 30 $home/server.log`;
	exit 2;
}

sub append
{
	my ($name, $text) = @_;

	open my $fh, '>>', "$home/$name" or fail("$name: $!");
	print $fh $text;
	close $fh or fail("$name: $!");
	return;
}

sub wait_for
{
	my ($what, $limit, $code) = @_;
	my $end = time + $limit;

	while (time < $end)
	{
		my $result = $code->();
		return $result if $result;
		usleep(20_000);
	}
	fail("still not after $limit s: $what");
	return;
}

# ---- SQL; undef or an empty list when the server does not answer

sub try_sql
{
	my (@commands) = @_;

	open my $fh, '-|', "$bin/psql -XqAt -v ON_ERROR_STOP=1 "
	  . join(' ', map { "-c '" . s/'/'\\''/gr . "'" } @commands) . ' 2>/dev/null'
	  or fail("psql: $!");
	my @rows = <$fh>;
	close $fh or return;
	chomp @rows;
	return @rows;
}

sub sql
{
	my (@commands) = @_;
	my @rows = wait_for("the server answers: @commands", 60,
		sub { my @r = try_sql(@commands, 'SELECT 0'); return @r ? \@r : undef; });

	pop @{ $rows[0] };
	return @{ $rows[0] };
}

# The process ids of running workers of a kind.
sub workers
{
	my ($kind) = @_;

	return try_sql('SELECT pid FROM webhook_outbox.worker_status '
		  . "WHERE process = '$kind' AND is_running AND pid IS NOT NULL");
}

# ---- the servers

sub start_server
{
	$is_server_up = 1;
	wait_for('the server starts', 60,
		sub { system("$bin/pg_ctl -D $home/data -l $home/server.log -w start >/dev/null") == 0 });
	return;
}

sub start_receiver
{
	open $receiver, '|-', "perl ../t/receiver.pl --with-stdin --log $home/requests.jsonl "
	  . ">$home/receiver.out" or fail("receiver: $!");
	wait_for('the receiver listens', 10, sub { -s "$home/receiver.out" });
	return 'http://127.0.0.1:' . `tr -dc 0-9 <$home/receiver.out`;
}

# name, path, events
my @endpoints = (
	[ 'well', '/delay/40/well', '{order.*}', '{100ms,200ms,500ms,1s,1s,1s,1s,1s,1s,1s}' ],
	[ 'shaky', '/fail/1/shaky', '{order.created,order.doomed}',
		'{100ms,200ms,500ms,1s,1s,1s,1s,1s,1s,1s}' ],
	[ 'dead', '/status/503/dead', '{order.doomed}', '{100ms,100ms}' ]);

sub set_up
{
	mkdir $home or fail("$home: $!");
	@ENV{qw(PGHOST PGPORT PGUSER PGDATABASE)} = ($home, 57400, 'postgres', 'postgres');
	$ENV{PGOPTIONS} = '-c client_min_messages=warning';
	system("$bin/initdb -D $home/data -A trust -U postgres --no-sync >/dev/null") == 0
	  or fail('initdb');
	# without fsync: what a process has written outlives it
	append('data/postgresql.conf', <<"END");
shared_preload_libraries = 'webhook_outbox'
webhook_outbox.senders = 2
webhook_outbox.allowed_networks = '127.0.0.1'
listen_addresses = ''
unix_socket_directories = '$home'
port = $ENV{PGPORT}
max_worker_processes = 16
fsync = off
END
	start_server();
	my $url = start_receiver();
	sql('CREATE EXTENSION webhook_outbox',
		map { "SELECT webhook_outbox.create_endpoint('$_->[0]', '$url$_->[1]', "
			  . "event_types => '$_->[2]', retry_schedule => '$_->[3]')" } @endpoints);
	append('endpoints', join "\n", '',
		sql("SELECT concat_ws(chr(9), endpoint_id, name, replace(url, '$url', ''), "
			  . "array_to_string(event_types, ',')) FROM webhook_outbox.endpoint"));
	return;
}

sub start_producers
{
	for my $i (1 .. $n_producers)
	{
		my $pid = fork // fail("fork: $!");

		if (!$pid)
		{
			open STDERR, '>>', "$home/producers.log";
			exec $^X, 'producer.pl', "p$i", $seed + $i, int($n_events / $n_producers),
			  $seconds, "$home/producer_$i";
		}
		$child{$pid} = 1;
	}
	return;
}

END
{
	my $rc = $?;
	local $? = 0;
	kill 'TERM', $_ for keys %child;
	close $receiver if $receiver;
	system("$bin/pg_ctl -D $home/data -m immediate -w stop >/dev/null 2>&1") if $is_server_up;
	$? = $rc;
}

# ---- the kills; each returns what it killed, or nothing when there was none

sub terminate_dispatcher
{
	my ($pid) = workers('dispatcher') or return;
	my ($is_done) = try_sql("SELECT pg_terminate_backend($pid)");

	return ($is_done // '') eq 't' ? $pid : ();
}

# pg_terminate_backend knows no process without a database: the same by hand.
sub terminate_sender
{
	my @pids = workers('sender') or return;
	my $pid = $pids[ rand @pids ];

	return kill('TERM', $pid) ? $pid : ();
}

# The postmaster ends all processes then, and starts again by itself.
sub kill_hard
{
	my ($kind) = @_;
	my @pids = workers($kind) or return;
	my $pid = $pids[ rand @pids ];
	my $n_before = n_recoveries();

	kill('KILL', $pid) or return;
	wait_for("recovery after kill -9 $pid", 60, sub { n_recoveries() > $n_before });
	return $pid;
}

sub n_recoveries
{
	return 0 + `grep -c 'database system is ready to accept' $home/server.log`;
}

sub stop_immediately
{
	open my $fh, '<', "$home/data/postmaster.pid" or return;
	chomp(my $pid = <$fh>);
	close $fh;
	system("$bin/pg_ctl -D $home/data -m immediate -w stop >/dev/null");
	start_server();
	return $pid;
}

my %kill = (
	'terminate dispatcher' => \&terminate_dispatcher,
	'terminate sender' => \&terminate_sender,
	'kill -9 dispatcher' => sub { kill_hard('dispatcher') },
	'kill -9 sender' => sub { kill_hard('sender') },
	'stop immediate' => \&stop_immediately);

# Each kind in turn, shuffled anew for each round.
sub choose_kills
{
	my @chosen;

	while (@chosen < $n_kills)
	{
		my @kinds = sort keys %kill;
		push @chosen, splice @kinds, rand @kinds, 1 while @kinds;
	}
	return @chosen[ 0 .. $n_kills - 1 ];
}

# Keeps what is on record as delivered: the pairs, and when each was started.
sub keep_attempts
{
	my ($name) = @_;

	sql('COPY (SELECT event_id, endpoint_id, extract(epoch FROM started_at) '
		  . "FROM webhook_outbox.attempt WHERE outcome = 'delivered') "
		  . "TO '$home/$name'");
	return;
}

sub do_kills
{
	my $n = 0;
	my $began = time;
	my @kinds = choose_kills();

	while (my $kind = shift @kinds)
	{
		my $at = $began + $seconds * ($n + 0.1 + rand 0.8) / $n_kills;

		usleep(1e6 * ($at - time)) if $at > time;
		my ($in_flight) = try_sql('SELECT in_flight FROM webhook_outbox.worker_status '
			  . q(WHERE process = 'dispatcher'));
		my $time = time;
		my ($pid) = $kill{$kind}->();
		if (!$pid)
		{
			unshift @kinds, $kind;
			usleep(200_000);
			next;
		}
		$n++;
		keep_attempts("attempts_$n");
		append('kills', join("\t", $n, $kind, $time, time, $in_flight // '?') . "\n");
		say_line('%5.1f s: %s (pid %d), %s in flight', $time - $began, $kind, $pid,
			$in_flight // '?');
	}
	return;
}

# ---- the end

sub wait_for_end
{
	waitpid $_, 0 for keys %child;
	%child = ();
	my $began = time;
	while (time < $began + $grace)
	{
		my ($left) = try_sql('SELECT new_events + parked + retrying FROM webhook_outbox.queue_status');
		last if defined $left && $left == 0;
		usleep(200_000);
	}
	say_line('settled %.1f s after the last event and kill', time - $began);
	return;
}

sub keep_end
{
	keep_attempts('attempts_end');
	sql("COPY (SELECT id, type, payload->>'key' FROM webhook_outbox.event) TO '$home/events'",
		"COPY (SELECT event_id, endpoint_id FROM webhook_outbox.dead_letter) TO '$home/dead_letters'");
	return;
}

say_line('FAULT_SEED=%d, %d events, %d producers, %d kills in %d s', $seed, $n_events,
	$n_producers, $n_kills, $seconds);
set_up();
start_producers();
do_kills();
wait_for_end();
keep_end();
my $rc = system $^X, 'check.pl', $home;
print "FAULT_SEED=$seed\n";
exit($rc ? 1 : 0);
