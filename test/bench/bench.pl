# bench.pl - the rows of make bench, started by run.sh as an ordinary user.
#
# Rows, in the order they run (ROWS="name name" selects some; those of one name are measured
# together, their runs interleaved):
#
#   drain      waiting events, 1 and 2 senders, against the bare loop; CPU
#   tls        the same over kept-alive TLS; new connections, resumed or not
#   pinned     the same while another session holds an old snapshot
#   pg_net     the same number of requests by pg_net (where it is installed)
#   latency    commit to received, at 10 and 1,000 events a second
#   insert     events against rows of a plain table, 4 and 16 clients
#   memory     a million events in one transaction
#   idle       CPU and queries of a minute without work
#   metrics    waiting events, against a library that keeps no metrics
#   views      what is monitored, with a month of history of 200 endpoints
#   crowd      10,000 endpoints, with and without one in a hundred dead
#   hostile    a healthy endpoint, with and without receivers that misbehave
#
# Medians of interleaved runs. A ratio compares runs that followed one another.

use strict;
use warnings FATAL => 'all';

use Bench;
use Crowd;
use Time::HiRes qw(time usleep);

$| = 1;
$SIG{INT} = $SIG{TERM} = sub { exit 130 };

my $n_runs = $is_quick ? 1 : 3;
my $n_drain = $is_quick ? 50_000 : 200_000;
my $n_fresh = $is_quick ? 2_000 : 10_000;
my $n_million = $is_quick ? 200_000 : 1_000_000;
my $latency_s = $is_quick ? 10 : 30;
my $insert_s = $is_quick ? 4 : 10;
my $idle_s = $is_quick ? 20 : 60;
my $stands_still_s = 10;
my @table;    # [ what, target, measured, ok or miss or '' ]
my @raw;      # what result was given
my $small_payload = "'{\"note\": \"" . 'x' x 288 . "\"}'";

# Notes a result. The target is ">= 0.80", "<= 1.4" or "" (only reported).
sub result
{
	my ($what, $target, $measured, $text) = @_;
	my $verdict = '';

	push @raw, [ $what, $target, $measured, $text // () ];
	if ($target =~ /^([<>])= ([\d.]+)/)
	{
		$verdict = ($1 eq '<' ? $measured <= $2 : $measured >= $2) ? 'ok' : 'MISS';
	}
	push @table, [ $what, $target, $text // sprintf('%.2f', $measured), $verdict ];
	say_step("$what: $table[-1][2] $verdict");
	return;
}

sub per_second
{
	return sprintf '%.0f/s', @_;
}

# Medians of one key of each run.
sub median_of
{
	my ($key, @runs) = @_;

	return median(map { $_->{$key} } @runs);
}

# ---- drain

sub bare_run
{
	my ($n, $size, @more) = @_;
	my ($rate, $cpu) = bare('--requests', $n, '--size', $size, @more);

	return { rate => $rate, cpu_us => $cpu };
}

# Interleaved runs of code; returns name => [ run, ... ].
sub interleave
{
	my ($runs, %code) = @_;
	my %done;

	for my $i (1 .. $runs)
	{
		for my $name (sort keys %code)
		{
			my $run = $code{$name}->();
			push @{ $done{$name} }, $run;
			say_step(sprintf '  %-14s run %d of %d: %6.0f/s, %6.1f us of CPU each',
				$name, $i, $runs, $run->{rate}, $run->{cpu_us});
		}
	}
	return %done;
}

# Medians of ratios of runs of the same round.
sub ratio
{
	my ($key, $ours, $theirs) = @_;

	return median(map { $ours->[$_]{$key} / $theirs->[$_]{$key} } 0 .. $#$ours);
}

# A first drain, unmeasured, so that everything is warm; returns the body's size.
sub warm_up
{
	my ($id, $type) = @_;

	drain($id, $type, 5000, 1);
	return body_size($type, $type);
}

sub row_drain
{
	my $id = endpoint('bench.drain', $url, 'bench.drain');
	my $size = warm_up($id, 'bench.drain');
	my %run = interleave(
		$n_runs,
		bare => sub { bare_run($n_drain, $size, $url) },
		'one sender' => sub { drain($id, 'bench.drain', $n_drain, 1) },
		'two senders' => sub { drain($id, 'bench.drain', $n_drain, 2) });
	my ($bare, $one, $two) = @run{ 'bare', 'one sender', 'two senders' };

	result("bare loop, $size bytes", '', 0,
		per_second(median_of('rate', @$bare)) . sprintf ', %.1f us of CPU each',
		median_of('cpu_us', @$bare));
	result('drain, 1 sender / bare loop', '>= 0.80', ratio('rate', $one, $bare));
	result('drain, 1 sender', '', 0, per_second(median_of('rate', @$one)));
	result('drain, 2 senders / bare loop', '>= 1.05', ratio('rate', $two, $bare));
	result('drain, 2 senders', '', 0, per_second(median_of('rate', @$two)));
	result('CPU per event, 1 sender / bare loop',
		'<= 1.4', ratio('cpu_us', $one, $bare));
	result('CPU per event, 1 sender', '', 0,
		sprintf '%.1f us, %.1f of it the dispatcher', median_of('cpu_us', @$one),
		median_of('dispatcher_us', @$one));
	return;
}

# ---- tls

sub row_tls
{
	my $plain = endpoint('bench.plain', $url, 'bench.plain');
	my $tls = endpoint('bench.tls', $tls_url, 'bench.tls');
	my $fresh = endpoint('bench.fresh', $fresh_url, 'bench.fresh');
	my $resumed = endpoint('bench.resumed', $resumed_url, 'bench.resumed');

	warm_up($plain, 'bench.plain');
	warm_up($tls, 'bench.tls');
	my %run = interleave(
		$n_runs,
		plain => sub { drain($plain, 'bench.plain', $n_drain, 1) },
		'TLS kept alive' => sub { drain($tls, 'bench.tls', $n_drain, 1) },
		'new TLS' => sub { drain($fresh, 'bench.fresh', $n_fresh, 1) },
		'resumed TLS' => sub { drain($resumed, 'bench.resumed', $n_fresh, 1) });
	result('TLS, kept alive / plain', '>= 0.65',
		ratio('rate', $run{'TLS kept alive'}, $run{plain}));
	for my $name ('new TLS', 'resumed TLS')
	{
		my $cpu = median_of('cpu_us', @{ $run{$name} }) / 1000;

		result("$name connection, CPU", '<= 1.5 ms', $cpu,
			sprintf '%.2f ms (%s)', $cpu,
			per_second(median_of('rate', @{ $run{$name} })));
	}
	return;
}

# ---- pinned

# A session that holds a snapshot until the returned code is called.
sub hold_snapshot
{
	open my $fh, '|-', "$ENV{WO_BIN}/psql", '-Xq', '-o', "$home/pinned"
	  or die "psql: $!\n";
	$fh->autoflush(1);
	print $fh "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 1;\n\\o\n";
	wait_for('a snapshot is held', 10, sub { -s "$home/pinned" });
	unlink "$home/pinned";
	return sub {
		print $fh "COMMIT;\n";
		close $fh;
	};
}

# The rate of the last fifth of the attempts against that of the first.
sub fifths
{
	my ($id, $since) = @_;

	return value('SELECT max(seconds) FILTER (WHERE fifth = 1) / '
		  . 'max(seconds) FILTER (WHERE fifth = 5) FROM (SELECT fifth, '
		  . 'extract(epoch FROM max(started_at) - min(started_at)) AS seconds FROM ('
		  . 'SELECT started_at, ntile(5) OVER (ORDER BY started_at) AS fifth '
		  . "FROM webhook_outbox.attempt WHERE endpoint_id = $id "
		  . "AND started_at >= '$since') a GROUP BY fifth) f");
}

sub row_pinned
{
	my $id = endpoint('bench.pinned', $url, 'bench.pinned');
	my (@ratios, $release);

	warm_up($id, 'bench.pinned');
	for my $i (1 .. $n_runs)
	{
		my $run = drain($id, 'bench.pinned', $n_drain, 1,
			before => sub { $release = hold_snapshot() });

		push @ratios, fifths($id, $run->{since});
		$release->();
		say_step(sprintf '  run %d of %d: %s, last fifth / first fifth %.2f',
			$i, $n_runs, per_second($run->{rate}), $ratios[-1]);
	}
	result('drain under a pinned snapshot: last fifth / first', '>= 0.95',
		median(@ratios));
	return;
}

# ---- pg_net

# Requests by pg_net at one batch size; per second, or 0 where some failed, or
# its worker stands still: with too many at once it fails over and over.
sub pg_net_run
{
	my ($n, $batch) = @_;
	my ($n_done, $moved_at) = (0, time);

	set_conf('pg_net.batch_size' => $batch);
	sql('TRUNCATE net.http_request_queue, net._http_response', 'SELECT net.worker_restart()');
	usleep(500_000);
	sql('SELECT count(net.http_post(url => '
		  . "'$url', body => jsonb_build_object('note', repeat('x', 286)),"
		  . " timeout_milliseconds => 15000)) FROM generate_series(1, $n)");
	my $began = time;
	while ($n_done < $n && time < $moved_at + $stands_still_s)
	{
		my $now_done = value('SELECT count(*) FROM net._http_response');

		$moved_at = time if $now_done > $n_done;
		$n_done = $now_done;
		usleep(50_000);
	}
	my $seconds = time - $began;
	my $n_good = value('SELECT count(*) FROM net._http_response WHERE status_code = 204');
	say_step(sprintf '  pg_net, batches of %d: %.0f/s, %d of %d without error', $batch,
		$n_done / $seconds, $n_good, $n);
	return $n_good == $n ? $n / $seconds : 0;
}

# With one limit of descriptors, the best of some batch sizes without errors.
sub pg_net_best
{
	my ($fds, $n, @batches) = @_;
	my $best = 0;

	stop_server();
	start_server(preload => ',pg_net', fds => $fds);
	for my $batch (@batches)
	{
		my $rate = pg_net_run($n, $batch);
		$best = $rate if $rate > $best;
	}
	return $best;
}

sub row_pg_net
{
	my $n = $is_quick ? 5_000 : 20_000;

	if (!value("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_net'"))
	{
		push @table, [ 'drain / pg_net', '>= 25 and >= 8', 'skipped: pg_net is not installed', '' ];
		return;
	}
	my $id = endpoint('bench.pg_net', $url, 'bench.pg_net');
	warm_up($id, 'bench.pg_net');
	stop_server();
	start_server(preload => ',pg_net');
	sql('CREATE EXTENSION IF NOT EXISTS pg_net');
	my $low = pg_net_best(1024, $n, 200, 400, 800, 1000);
	my $high = pg_net_best(20_000, $n, 1000, 1500, 2000, 4000);
	stop_server();
	start_server();
	my $ours = median(map { drain($id, 'bench.pg_net', $n_drain, 1)->{rate} } 1 .. $n_runs);

	result('drain / pg_net, 1,024 descriptors', '>= 25', $ours / $low,
		sprintf '%.1f (%s)', $ours / $low, per_second($low));
	result('drain / pg_net, limit raised', '>= 8', $ours / $high,
		sprintf '%.1f (%s)', $ours / $high, per_second($high));
	return;
}

# ---- latency

# Microseconds from commit to received, sorted, of the events of a type.
sub latencies
{
	my ($type) = @_;

	return sql('CREATE TEMP TABLE stamp (at numeric, id uuid)',
		"COPY stamp FROM '$home/stamps'",
		'SELECT round((s.at - extract(epoch FROM '
		  . 'pg_xact_commit_timestamp(e.xid::text::xid))) * 1e6) '
		  . 'FROM stamp s JOIN webhook_outbox.event e USING (id) '
		  . "WHERE e.type = '$type' ORDER BY 1");
}

sub latency_at
{
	my ($rate, $type) = @_;

	start_stamp();
	run_pgbench(
		"INSERT INTO webhook_outbox.event (type, payload) VALUES ('$type', "
		  . "$small_payload);",
		$rate > 100 ? 8 : 2, $latency_s, '-R', $rate);
	stop_stamp(value("SELECT count(*) FROM webhook_outbox.event WHERE type = '$type'"));
	my @us = latencies($type);
	my ($p50, $p99) = map { $us[ $_ * $#us ] / 1000 } 0.5, 0.99;

	result("commit to received at $rate/s, p50", '<= 1 ms', $p50,
		sprintf '%.2f ms (of %d)', $p50, scalar @us);
	result("commit to received at $rate/s, p99", '<= 5 ms', $p99,
		sprintf '%.2f ms (max %.1f)', $p99, $us[-1] / 1000);
	return;
}

# What the disk takes to flush is no latency of ours and may be much more:
# without fsync here.
sub row_latency
{
	endpoint('bench.latency', $stamp_url, 'bench.latency.*');
	set_conf(fsync => 'off', 'webhook_outbox.senders' => 1,
		'webhook_outbox.enabled' => 'on');
	worker_pids(1);
	latency_at(10, 'bench.latency.10');
	latency_at(1000, 'bench.latency.1000');
	set_conf(fsync => 'on', 'webhook_outbox.enabled' => 'off');
	return;
}

# ---- insert

sub insert_run
{
	my ($table, $type, $clients) = @_;

	sql('CHECKPOINT');
	return run_pgbench(
		"INSERT INTO $table (type, payload) VALUES ('$type', $small_payload);",
		$clients, $insert_s);
}

# Events against the same row in a plain table, so many clients; the median of
# the ratios of each round, and the median rates.
sub insert_at
{
	my ($clients, $what) = @_;
	my (@plain, @event);

	for (1 .. $n_runs)
	{
		push @plain, insert_run('plain', 'bench.insert', $clients);
		push @event, insert_run('webhook_outbox.event', 'bench.insert', $clients);
	}
	my $ratio = median(map { $event[$_] / $plain[$_] } 0 .. $#plain);
	result("insert / plain table, $clients clients, $what", '>= 0.90', $ratio,
		sprintf '%.2f (%s / %s)', $ratio, per_second(median(@event)),
		per_second(median(@plain)));
	return;
}

sub row_insert
{
	endpoint('bench.insert.on', $url, 'bench.insert.on');
	sql('CREATE TABLE plain (LIKE webhook_outbox.event)',
		'ALTER TABLE plain ALTER id SET DEFAULT gen_random_uuid(), '
		  . 'ALTER xid SET DEFAULT pg_current_xact_id(), '
		  . 'ALTER slot SET DEFAULT 0, '
		  . 'ALTER created_at SET DEFAULT clock_timestamp()',
		'CREATE INDEX ON plain (xid, id)',
		'CREATE INDEX ON plain (id)');
	for my $fsync ('on', 'off')
	{
		set_conf(fsync => $fsync, 'webhook_outbox.enabled' => 'off');
		insert_at($_, "fsync $fsync") for 4, 16;
		set_conf('webhook_outbox.enabled' => 'on');
		for my $clients (4, 16)
		{
			result("insert with delivery on, $clients clients, fsync $fsync", '', 0,
				per_second(insert_run('webhook_outbox.event', 'bench.insert.on', $clients)));
			wait_settled();
		}
	}
	set_conf(fsync => 'on', 'webhook_outbox.enabled' => 'off');
	return;
}

# ---- memory

sub row_memory
{
	my $id = endpoint('bench.memory', $url, 'bench.memory');
	my (@mb, $began);

	warm_up($id, 'bench.memory');
	my $run = drain(
		$id, 'bench.memory', $n_million, 1,
		watch => sub { push @mb, own_memory(@_) });
	my ($early, $peak) = (0, 0);
	for my $i (0 .. $#mb)
	{
		$peak = $mb[$i] if $mb[$i] > $peak;
		$early = $peak if $i <= @mb / 4;
	}
	result("$n_million events in one transaction, memory", '<= 150 MB', $peak,
		sprintf '%.0f MB (%s)', $peak, per_second($run->{rate}));
	result('the same, peak / peak of the first quarter', '<= 1.10', $peak / $early);
	return;
}

# ---- idle

sub row_idle
{
	stop_server();
	start_server(preload => ',pg_stat_statements',
		conf => "webhook_outbox.enabled = on\npg_stat_statements.track = all\n"
		  . "autovacuum = off\n");
	set_conf('webhook_outbox.senders' => 1, 'webhook_outbox.enabled' => 'on');
	sql('CREATE EXTENSION IF NOT EXISTS pg_stat_statements');
	my @pids = worker_pids(1);
	push @pids, value(q(SELECT pid FROM webhook_outbox.worker_status WHERE process = 'launcher'));
	wait_settled();
	usleep(3_000_000);
	sql('SELECT pg_stat_statements_reset()');
	my $cpu = cpu_of(@pids);
	usleep($idle_s * 1_000_000);
	$cpu = cpu_of(@pids) - $cpu;
	my @queries = sql(q(SELECT calls || ' x ' || left(query, 70) FROM pg_stat_statements )
		  . q(WHERE query NOT LIKE '%pg_stat_statements%' ORDER BY calls DESC));

	say_step("  query while idle: $_") for @queries;
	result("idle for $idle_s s: CPU of launcher, dispatcher, sender", '<= 0.1 %',
		$cpu / $idle_s * 100, sprintf '%.3f %% of a core', $cpu / $idle_s * 100);
	result('idle: queries', '<= 0', scalar @queries, scalar @queries . ' different');
	stop_server();
	start_server();
	return;
}

# ---- metrics

# Restarts the server with this library.
sub use_library
{
	my ($file) = @_;

	stop_server();
	run_command('cp', $file, "$ENV{WO_LIBRARY}.new");
	rename "$ENV{WO_LIBRARY}.new", $ENV{WO_LIBRARY}
	  or die "error: $ENV{WO_LIBRARY}: $!\n";
	start_server();
	return;
}

sub row_metrics
{
	my $id = endpoint('bench.metrics', $url, 'bench.metrics');
	my $with = "$ENV{WO_WORK}/with_metrics.so";
	my %run;

	run_command('cp', $ENV{WO_LIBRARY}, $with);
	warm_up($id, 'bench.metrics');
	for (1 .. ($is_quick ? 3 : 5))
	{
		use_library($with);
		push @{ $run{with} }, drain($id, 'bench.metrics', $n_drain, 1);
		use_library($ENV{WO_WITHOUT_METRICS});
		push @{ $run{without} }, drain($id, 'bench.metrics', $n_drain, 1);
		say_step(sprintf '  with metrics %.0f/s, without %.0f/s',
			$run{with}[-1]{rate}, $run{without}[-1]{rate});
	}
	use_library($with);
	result('drain with metrics / without', '>= 0.95', ratio('rate', @run{qw(with without)}));
	result('CPU per event with metrics / without', '', ratio('cpu_us', @run{qw(with without)}));
	return;
}

# ---- views

# Loads a history into a database of its own; see history.sql.
sub make_history
{
	sql('CREATE DATABASE history');
	$ENV{PGDATABASE} = 'history';
	sql('CREATE EXTENSION webhook_outbox');
	run_file('history.sql', endpoints => 200, days => 30,
		attempts => $is_quick ? 500_000 : 10_000_000);
	return;
}

# Median time of a query in the server, in milliseconds, once it is warm.
sub query_ms
{
	my ($query) = @_;
	my @ms = sql(
		'CREATE FUNCTION pg_temp.took() RETURNS float8 LANGUAGE plpgsql AS $$
		DECLARE since timestamptz := clock_timestamp();
		BEGIN
		  -- the whole row, else what nobody asks for is not computed
		  PERFORM count(q) FROM (' . $query . ' OFFSET 0) q;
		  RETURN extract(epoch FROM clock_timestamp() - since) * 1000;
		END $$', ('SELECT pg_temp.took()') x 6);

	return median(@ms[ 1 .. 5 ]);
}

sub row_views
{
	my $database = $ENV{PGDATABASE};

	make_history();
	sql('SELECT webhook_outbox.maintain()');
	for (qw(slo alert incident endpoint_status))
	{
		result("$_, 200 endpoints, 30 days (ms)", '<= 100',
			query_ms("SELECT * FROM webhook_outbox.$_"));
	}
	result('console(), likewise (ms)', '<= 300',
		query_ms('SELECT webhook_outbox.console()'));
	result('prometheus_metrics(), likewise (ms)', '',
		query_ms('SELECT webhook_outbox.prometheus_metrics()'));
	result('signal, all of it, likewise (ms)', '',
		query_ms('SELECT * FROM webhook_outbox.signal'));
	result('maintain(), likewise (ms)', '',
		query_ms('SELECT * FROM webhook_outbox.maintain()'));
	$ENV{PGDATABASE} = $database;
	sql('DROP DATABASE history');
	return;
}

# ---- all of it

my @rows = (
	drain => \&row_drain,
	tls => \&row_tls,
	pinned => \&row_pinned,
	pg_net => \&row_pg_net,
	latency => \&row_latency,
	insert => \&row_insert,
	memory => \&row_memory,
	idle => \&row_idle,
	metrics => \&row_metrics,
	views => \&row_views,
	crowd => sub { row_crowd(\&result) },
	hostile => sub { row_hostile(\&result) });
my %row = @rows;
my @wanted = split ' ', $ENV{ROWS} || join ' ', grep { !ref } @rows;

for my $name (@wanted)
{
	$row{$name} or die "error: no row $name: " . join(', ', grep { !ref } @rows) . "\n";
}
start_all();
for my $name (@wanted)
{
	say_step("$name");
	$row{$name}->();
}

if ($ENV{BENCH_RESULTS})
{
	open my $fh, '>', $ENV{BENCH_RESULTS} or die "error: $ENV{BENCH_RESULTS}: $!\n";
	print $fh map { join("\t", @$_) . "\n" } @raw;
	close $fh;
	exit 0;
}
printf "\n%-58s %-11s %-34s\n", 'what', 'target', 'measured';
printf "%-58s %-11s %-34s %s\n", @$_ for @table;
my $n_missed = grep { $_->[3] eq 'MISS' } @table;
print "\n", $n_missed ? "$n_missed missed\n" : "all reached\n";
exit($n_missed ? 1 : 0);
