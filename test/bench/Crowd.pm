# Crowd.pm - rows of make bench about endpoints that get in the way of others.
#
# Each compares what healthy endpoints get with and without bad ones beside them:
# phases with and without follow one another in one run, at one steady rate, and
# only phases of the same pair are compared, so that a machine that becomes slower
# in between counts for nothing. The median of the pairs is what is judged.
#
# The latency is that from commit to received (stamp.c), of healthy endpoints.

package Crowd;

use strict;
use warnings FATAL => 'all';

use Bench;
use Exporter 'import';
use IO::Handle;
use IO::Socket::INET;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(row_crowd row_hostile);

my $n_pairs = $is_quick ? 2 : 5;
my $phase_s = $is_quick ? 5 : 15;
my $rate = $ENV{BENCH_RATE} || 500;
my $small = "'{\"note\": \"" . 'x' x 288 . "\"}'";

# ---- what both rows do

# A database of its own, without fsync: what the disk takes is no latency of ours.
sub start_database
{
	my ($name) = @_;

	sql("CREATE DATABASE $name");
	$ENV{PGDATABASE} = $name;
	sql('CREATE EXTENSION webhook_outbox');
	set_conf(fsync => 'off', 'webhook_outbox.senders' => 1, 'webhook_outbox.enabled' => 'on');
	start_stamp();
	return worker_pids(1, $name);
}

sub end_database
{
	my ($name) = @_;

	set_conf(fsync => 'on', 'webhook_outbox.enabled' => 'off');
	$ENV{PGDATABASE} = 'postgres';
	sql("DROP DATABASE $name (FORCE)");
	stop_stamp(0);
	return;
}

# Runs pairs of phases; $phase->{with} and {without} publish for a phase, as the type
# that they are given, after $before->{with} or {without} has been called. Returns
# the pairs: { with => {...}, without => {...}, ratio => of p99 }; see latency_of.
sub run_pairs
{
	my ($name, $before, $phase) = @_;
	my @pairs;

	for my $i (1 .. $n_pairs)
	{
		# which of the two comes first changes, for what one leaves to the other
		for my $which ($i % 2 ? qw(without with) : qw(with without))
		{
			$before->{$which}->();
			$phase->{$which}->("bench.$name.$which.$i");
		}
	}
	stop_stamp(value("SELECT count(*) FROM webhook_outbox.event WHERE type ~ '^bench.$name'"));
	sql('CREATE TABLE stamp (at numeric, id uuid)', "COPY stamp FROM '$home/stamps'");
	for my $i (1 .. $n_pairs)
	{
		my %pair = map { $_ => latency_of("bench.$name.$_.$i") } qw(with without);

		$pair{ratio} = $pair{with}{p99} / $pair{without}{p99};
		say_step(sprintf '  pair %d: %s; ratio %.2f', $i,
			join('; ', map { sprintf '%s p50 %.2f p99 %.2f max %.1f ms (of %d)', $_,
					@{ $pair{$_} }{qw(p50 p99 max n)} } qw(without with)), $pair{ratio});
		push @pairs, \%pair;
	}
	sql('DROP TABLE stamp');
	start_stamp();
	return @pairs;
}

# The first arrival of each event of a type counts; one that is missing is lost.
sub latency_of
{
	my ($type) = @_;
	my ($n, $n_arrived, $p50, $p99, $max) = split /\|/, value(
		'SELECT count(*), count(at), percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), '
		  . 'percentile_disc(0.99) WITHIN GROUP (ORDER BY ms), max(ms) FROM ('
		  . 'SELECT at, (at - extract(epoch FROM '
		  . 'pg_xact_commit_timestamp(e.xid::text::xid))) * 1000 AS ms '
		  . 'FROM webhook_outbox.event e LEFT JOIN (SELECT id, min(at) AS at FROM stamp '
		  . "GROUP BY id) s USING (id) WHERE e.type = '$type') x");

	$n && $n == $n_arrived
	  or die "error: $n_arrived of $n healthy events of $type have arrived\n";
	return { n => $n, p50 => $p50, p99 => $p99, max => $max };
}

sub report
{
	my ($result, $what, $limit, @pair) = @_;

	$result->("$what: healthy p99, with / without", "<= $limit",
		median(map { $_->{ratio} } @pair),
		sprintf '%.2f (%s)', median(map { $_->{ratio} } @pair),
		join ' ', map { sprintf '%.2f', $_->{ratio} } @pair);
	$result->("$what: healthy p99 with (without)", '', 0,
		sprintf '%.2f ms (%.2f), max %.1f (%.1f)',
		(map { my $name = $_; median(map { $_->{$name}{p99} } @pair) } qw(with without)),
		map { my $name = $_; (sort { $b <=> $a } map { $_->{$name}{max} } @pair)[0] }
		  qw(with without));
	return;
}

# Starts receivers that break the rules, hostile.pl; their ports, and its pipe. They
# yield to the rest: the processors of others' receivers are no concern of a server's.
sub start_hostile
{
	my (@kinds) = @_;

	unlink "$home/hostile.out";
	open my $pipe, '|-', "exec nice -n 19 $^X ../t/hostile.pl @kinds >$home/hostile.out 2>$home/hostile.err"
	  or die "error: hostile.pl: $!\n";
	wait_for('hostile.pl listens', 10, sub { -s "$home/hostile.out" });
	open my $fh, '<', "$home/hostile.out" or die "error: hostile.out: $!\n";
	my @ports = <$fh> =~ /\d+/g;
	return ($pipe, @ports);
}

# A port on which nobody listens, and nobody will for it is held.
sub closed_port
{
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp')
	  or die "error: socket: $!\n";

	return ($socket, $socket->sockport);
}

# ---- crowd: many endpoints, one in a hundred of them dead

my $n_crowd = $ENV{BENCH_ENDPOINTS} || ($is_quick ? 2_000 : 10_000);

# Every endpoint has a tenant of its own; those of which the number divides by 100
# are dead, each in one of three manners.
sub make_crowd
{
	my ($refused, $full) = @_;
	my $began = time;

	sql("SELECT count(webhook_outbox.create_endpoint('e' || n, CASE WHEN n % 100 > 0 "
		  . "THEN '$stamp_url/' || n ELSE (ARRAY['http://127.0.0.1:$refused', "
		  . "'http://127.0.0.1:$full', '$url/500'])[n / 100 % 3 + 1] END, "
		  . "tenant => 't' || n, retry_schedule => array_fill('5 s'::interval, ARRAY[100])"
		  . ")) FROM generate_series(1, $n_crowd) n");
	my $made = time;
	sql(map { publish_to($_, 'bench.warm') } 1, $n_crowd - 1);
	wait_for('the first event is delivered', 60,
		sub { value('SELECT count(*) >= 2 FROM webhook_outbox.attempt') eq 't' });
	return ($made - $began, time - $made);
}

sub publish_to
{
	my ($n, $type) = @_;

	return "INSERT INTO webhook_outbox.event (type, tenant, payload) "
	  . "VALUES ('$type', 't' || $n, $small)";
}

# Publishes at the rate: healthy events, and as many for the dead as is their share.
sub publish_steadily
{
	my ($type, $with_dead) = @_;
	my $n_healthy = $n_crowd - $n_crowd / 100;

	run_pgbench(
		"\\set n random(0, $n_healthy - 1)\n\\set n :n / 99 * 100 + :n % 99 + 1\n"
		  . publish_to(':n', $type) . ";\n"
		  . ($with_dead
			? "\\set d random(1, $n_crowd / 100) * 100\n\\if random(1, 99) = 1\n"
			  . publish_to(':d', 'bench.dead') . ";\n\\endif\n"
			: ''),
		4, $phase_s, '-R', $rate);
	return;
}

sub switch_dead
{
	my ($is_enabled) = @_;

	sql("UPDATE webhook_outbox.endpoint SET enabled = $is_enabled "
		  . "WHERE endpoint_id IN (SELECT endpoint_id FROM webhook_outbox.endpoint "
		  . "WHERE substr(name, 2)::integer % 100 = 0)");
	wait_for('what the dead have in flight has ended', 30, sub { n_in_flight() == 0 })
	  if $is_enabled eq 'false';
	return;
}

sub n_in_flight
{
	return value('SELECT in_flight FROM webhook_outbox.worker_status '
		  . q(WHERE process = 'dispatcher' AND database = current_database()));
}

# Rows in delivery of endpoints that are alive.
sub n_strangers
{
	return value('SELECT count(*) FROM webhook_outbox.delivery JOIN webhook_outbox.endpoint '
		  . 'USING (endpoint_id) WHERE substr(name, 2)::integer % 100 > 0');
}

sub row_crowd
{
	my ($result) = @_;
	my ($held, $refused) = closed_port();
	my ($pipe, $full) = start_hostile('full');
	my @pids = start_database('crowd');
	my ($made_s, $loaded_s) = make_crowd($refused, $full);
	my $n_rows = 0;
	my $cpu;

	$result->("$n_crowd endpoints: made, then taken over", '', 0,
		sprintf '%.1f s, %.1f s', $made_s, $loaded_s);
	usleep(3_000_000);
	$cpu = cpu_of($pids[0]);
	usleep(($is_quick ? 5 : 20) * 1_000_000);
	$result->("$n_crowd endpoints: CPU of the idle dispatcher", '', 0,
		sprintf '%.2f %% of a core', (cpu_of($pids[0]) - $cpu) / ($is_quick ? 5 : 20) * 100);
	my %cpu;
	my $publish = sub {
		my ($type) = @_;
		my ($name) = $type =~ /(with\w*)/;
		my $before = cpu_of($pids[0]);

		publish_steadily($type, $name eq 'with');
		$cpu{$name} += cpu_of($pids[0]) - $before;
		$n_rows += n_strangers();
	};
	my %phase = map { $_ => $publish } qw(with without);
	my %before = (with => sub { switch_dead('true') }, without => sub { switch_dead('false') });

	report($result, 'one in a hundred dead', 1.2, run_pairs('share', \%before, \%phase));
	$result->('CPU of the dispatcher with (without)', '', 0,
		sprintf '%.0f %% (%.0f)', map { $cpu{$_} / $n_pairs / $phase_s * 100 } qw(with without));
	# each blackhole has more to do than it may have in flight
	$before{with} = sub {
		sql("INSERT INTO webhook_outbox.event (type, tenant, payload) SELECT 'bench.dead', "
			  . "'t' || n, $small FROM generate_series(100, $n_crowd, 300) n, generate_series(1, 200)")
		  if value('SELECT count(*) < 6000 FROM webhook_outbox.delivery') eq 't';
		switch_dead('true');
		usleep(1_000_000);
	};
	report($result, 'the same, blackholes with a backlog', 1.2,
		run_pairs('backlog', \%before, \%phase));
	$result->('rows in delivery for healthy endpoints', '<= 0', $n_rows, $n_rows);
	$result->("$n_crowd endpoints: memory of the dispatcher", '', 0,
		sprintf '%.0f MB', own_memory($pids[0]));
	end_database('crowd');
	close $pipe;
	return;
}

# ---- hostile: receivers that break the rules, and names that do not resolve

my @hostile_paths = qw(/body/10-gb /body/endless /body/drip /body/cut /body/reset
  /gzip/transfer /chunk/endless /chunk/huge /chunk/extension /chunk/trailers
  /head/100000-lines /head/1-mb-line /head/drip /head/status-line-drip /1xx/flood
  /1xx/drip /hang /close /reset);
my $n_well = 20;
my $n_dead_names = $is_quick ? 200 : 1000;
my $hostile_rate = 20;    # events a second for all of those, and as many for the names

# Runs this row in a network of its own, whose names dns.pl knows, as a process of
# its own; takes over its results.
sub row_hostile
{
	my ($result) = @_;

	return hostile_in_network($result) if $ENV{BENCH_RESULTS};
	my $work = "$ENV{WO_WORK}/network";
	mkdir $work or die "error: $work: $!\n";
	local $ENV{BENCH_RESULTS} = "$work/results";
	local $ENV{WO_WORK} = $work;
	local $ENV{ROWS} = 'hostile';
	delete local $ENV{PGDATABASE};
	my @command = ('unshare', '-rnm', $^X, '../t/dns.pl', $work, $<, $( + 0, $^X, '-I', '.', $0);

	if (system('unshare -rnm unshare --user --map-user=1 true 2>/dev/null') != 0)
	{
		$result->('hostile receivers', '', 0, 'skipped: no network of its own is to be had');
		return;
	}
	system @command;
	open my $fh, '<', $ENV{BENCH_RESULTS} or die "error: the row ended without results\n";
	while (my $line = <$fh>)
	{
		chomp $line;
		$result->(split /\t/, $line);
	}
	close $fh;
	return;
}

# Endpoints of all of them, in the current database; how many there are without
# those whose names do not resolve.
sub make_bad
{
	my ($plain, $silent, $rst, $full) = @_;
	my $base = "http://127.0.0.1:$plain";
	my @url = ((map { "$base$_" } @hostile_paths), "http://127.0.0.1:$silent",
		"https://127.0.0.1:$silent", "http://127.0.0.1:$rst", "http://127.0.0.1:$full",
		"http://x.slow-6.test:$plain/close", "http://x.slow-60.test:$plain/close",
		"http://x.nx.test/", "http://x.garbage.test/");
	my $n = 0;

	sql((map { $n++; "SELECT webhook_outbox.create_endpoint('bad$n', '$_', tenant => 'bad$n', "
			  . "timeout => '10 s', retry_schedule => '{5s,5s,5s}')" } @url),
		"SELECT count(webhook_outbox.create_endpoint('name' || n, "
		  . "'http://n' || n || '.dead.test/', tenant => 'name' || n, timeout => '5 s', "
		  . "retry_schedule => '{5s,5s,5s}')) FROM generate_series(1, $n_dead_names) n");
	return $n;
}

sub make_well
{
	sql("SELECT count(webhook_outbox.create_endpoint('well' || n, '$stamp_url/' || n, "
		  . "tenant => 'well' || n)) FROM generate_series(1, $n_well) n",
		(map { "INSERT INTO webhook_outbox.event (type, tenant, payload) "
			  . "VALUES ('bench.warm', 'well$_', $small)" } 1 .. $n_well));
	wait_for('the healthy endpoints are known', 60,
		sub { value('SELECT count(*) >= ' . $n_well . ' FROM webhook_outbox.attempt') eq 't' });
	return;
}

# Has the bad ones of one database at work, or of none.
sub switch_bad
{
	my ($where, @databases) = @_;

	for my $name (@databases)
	{
		local $ENV{PGDATABASE} = $name;
		my $is_on = $name eq $where ? 'true' : 'false';
		sql("UPDATE webhook_outbox.endpoint SET enabled = $is_on WHERE name !~ '^well' "
			  . "AND enabled <> $is_on");
		wait_for('what is in flight has ended', 30, sub { n_in_flight() == 0 })
		  if $is_on eq 'false';
	}
	usleep(2_000_000) if $where;
	return;
}

# Starts to publish to the bad ones of a database; to be finished.
sub start_bad
{
	my ($where, $n_bad) = @_;
	local $ENV{PGDATABASE} = $where;
	my $script = join '', map {
		"\\set d random(1, $_->[1])\nINSERT INTO webhook_outbox.event (type, tenant, payload) "
		  . "VALUES ('bench.dead', '$_->[0]' || :d, $small);\n"
	} ([ 'bad', $n_bad ], [ 'name', $n_dead_names ]);

	return start_pgbench('bad', $script, 1, $phase_s, '-R', $hostile_rate);
}

# Milliseconds of the longest round of the sender's loop since a place in the log.
sub longest_round
{
	my ($from) = @_;
	my $longest = 0;

	open my $fh, '<', "$home/server.log" or die "error: server.log: $!\n";
	seek $fh, $from, 0;
	while (my $line = <$fh>)
	{
		$longest = $1 if $line =~ /loop took ([\d.]+) ms/ && $1 > $longest;
	}
	close $fh;
	return $longest;
}

# Healthy endpoints beside bad ones, without them, and while as much is sent to bad
# ones from another database: that takes the same processors, but other processes.
sub hostile_in_network
{
	my ($result) = @_;
	my ($pipe, @ports) = start_hostile(qw(plain silent rst full));
	my @pids = start_database('hostile');
	my %longest = (hostile => 0, elsewhere => 0, '' => 0);
	my $n_bad = make_bad(@ports);
	my $healthy = "\\set n random(1, $n_well)\n"
	  . "INSERT INTO webhook_outbox.event (type, tenant, payload) VALUES ('TYPE', 'well' || :n, $small);\n";

	make_well();
	{
		sql('CREATE DATABASE elsewhere');
		local $ENV{PGDATABASE} = 'elsewhere';
		sql('CREATE EXTENSION webhook_outbox');
		worker_pids(1, 'elsewhere');
		make_bad(@ports);
	}
	set_conf(log_min_messages => 'debug1');
	my $before_of = sub { my ($where) = @_; sub { switch_bad($where, qw(hostile elsewhere)) } };
	my $phase_of = sub {
		my ($where) = @_;

		return sub {
			my ($type) = @_;
			my $from = -s "$home/server.log";
			my $bad = $where && start_bad($where, $n_bad);

			run_pgbench($healthy =~ s/TYPE/$type/r, 4, $phase_s, '-R', $rate);
			finish_pgbench($bad) if $bad;
			my $longest = longest_round($from);
			$longest{$where} = $longest if $longest > $longest{$where};
		}
	};
	my %before = (with => $before_of->('hostile'), without => $before_of->(''));
	my %phase = (with => $phase_of->('hostile'), without => $phase_of->(''));

	report($result, 'hostile receivers', 2.0, run_pairs('hostile', \%before, \%phase));
	($before{without}, $phase{without}) = ($before_of->('elsewhere'), $phase_of->('elsewhere'));
	report($result, 'the same, against as much from another database', 2.0,
		run_pairs('elsewhere', \%before, \%phase));
	$result->('hostile receivers: longest round of the sender', '<= 100 ms', $longest{hostile},
		sprintf '%.0f ms (without: %.0f; 0: below 50)', @longest{'hostile', ''});
	$result->('hostile receivers: attempts', '', 0, join ', ',
		sql(q(SELECT outcome || ' ' || count(*) FROM webhook_outbox.attempt a )
			  . q(JOIN webhook_outbox.endpoint e USING (endpoint_id) WHERE name !~ '^well' )
			  . q(GROUP BY outcome ORDER BY count(*) DESC)));
	set_conf(log_min_messages => 'warning');
	sql('DROP DATABASE elsewhere (FORCE)');
	end_database('hostile');
	close $pipe;
	return;
}

1;
