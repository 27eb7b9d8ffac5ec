# Bench.pm - what the rows of make bench share: a server, nginx, and clocks.
#
# All of it lives in $WO_WORK/bench, listens on 127.0.0.1 or a Unix socket, and
# ends with this process.

package Bench;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use POSIX qw(WNOHANG sysconf _SC_CLK_TCK);
use Time::HiRes qw(time usleep);

our @EXPORT = qw($home $url $tls_url $fresh_url $resumed_url $stamp_url $is_quick
  start_all start_server stop_server set_up_receivers sql value set_conf publish
  worker_pids cpu_of bare median drain wait_settled run_pgbench start_pgbench finish_pgbench say_step run_file run_command
  attempts_span endpoint body_size start_stamp stop_stamp wait_for own_memory);

our $is_quick = $ENV{BENCH_QUICK};
our $home = ($ENV{WO_WORK} // '.') . '/bench';
my $bin = $ENV{WO_BIN} // '';
my $port = 27300;    # below those that the system gives to clients
our $url = 'http://127.0.0.1:' . ($port + 1);
our $tls_url = 'https://127.0.0.1:' . ($port + 2);
our $fresh_url = 'https://127.0.0.1:' . ($port + 3);
our $resumed_url = 'https://127.0.0.1:' . ($port + 4);
our $stamp_url = 'http://127.0.0.1:' . ($port + 5);
my $ticks = sysconf(_SC_CLK_TCK);
my (%child, $is_server_up, $stamp_pid);

# 300 bytes of JSON, as text of SQL that makes a different one for each i
our $payload_sql = q[('{"order_id": ' || lpad(i::text, 8, '1')]
  . q[ || ', "note": "' || repeat('x', 267) || '"}')::json];

sub say_step
{
	printf "-- %s\n", join ' ', @_;
	return;
}

sub fail
{
	die 'error: ' . join(' ', @_) . "\n";
}

sub run_command
{
	system(@_) == 0 or fail("@_ failed: $?");
	return;
}

sub write_file
{
	my ($name, $text) = @_;

	open my $fh, '>', $name or fail("$name: $!");
	print $fh $text;
	close $fh or fail("$name: $!");
	return;
}

# Poll until the code returns something true, and return that.
sub wait_for
{
	my ($what, $seconds, $code) = @_;
	my $end = time + $seconds;

	while (time < $end)
	{
		my $result = $code->();
		return $result if $result;
		usleep(50_000);
	}
	fail("still not after $seconds s: $what\n", `tail -n 20 $home/server.log`);
	return;
}

# ---- SQL

sub sql
{
	my (@commands) = @_;
	my @args = map { ('-c', $_) } @commands;

	open my $fh, '-|', "$bin/psql", '-XqAt', '-v', 'ON_ERROR_STOP=1', @args
	  or fail("psql: $!");
	my @rows = <$fh>;
	close $fh or fail("psql failed: @commands");
	chomp @rows;
	return @rows;
}

sub value
{
	my ($query) = @_;

	return (sql($query))[0];
}

# Run a script with psql variables.
sub run_file
{
	my ($file, %variable) = @_;

	run_command("$bin/psql", '-Xq', '-v', 'ON_ERROR_STOP=1',
		(map { ('-v', "$_=$variable{$_}") } sort keys %variable), '-f', $file);
	return;
}

# Change settings by reload.
sub set_conf
{
	my (%conf) = @_;

	sql((map { "ALTER SYSTEM SET $_ = '$conf{$_}'" } sort keys %conf),
		'SELECT pg_reload_conf()');
	return;
}

# ---- the servers

my $common_conf = <<"END";
listen_addresses = ''
unix_socket_directories = '$home'
port = $port
max_connections = 60
max_worker_processes = 16
shared_buffers = 512MB
max_wal_size = 8GB
checkpoint_timeout = 30min
track_commit_timestamp = on
webhook_outbox.enabled = off
webhook_outbox.allowed_networks = '127.0.0.1'
END

# Options: preload (more libraries), conf (more lines), fds (limit).
sub start_server
{
	my (%option) = (preload => '', conf => '', fds => 0, @_);
	my $limit = $option{fds} ? "ulimit -n $option{fds} && " : '';

	write_file("$home/data/bench.conf", $common_conf . $option{conf}
		  . "shared_preload_libraries = 'webhook_outbox$option{preload}'\n"
		  . "webhook_outbox.ca_file = '$home/ca.crt'\n");
	run_command("${limit}$bin/pg_ctl -D $home/data -l $home/server.log -w start"
		  . '>/dev/null');
	$is_server_up = 1;
	return;
}

sub stop_server
{
	$is_server_up or return;
	$is_server_up = 0;
	run_command("$bin/pg_ctl -D $home/data -m fast -w stop >/dev/null");
	return;
}

sub make_certificates
{
	my $new = 'openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';

	run_command("cd $home && ($new -x509 -days 30 -subj /CN=bench-ca"
		  . ' -keyout ca.key -out ca.crt && '
		  . "$new -subj /CN=127.0.0.1 -keyout tls.key -out tls.csr && "
		  . 'printf subjectAltName=IP:127.0.0.1 >san && openssl x509 -req '
		  . '-in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 '
		  . '-extfile san -out tls.crt) >openssl.log 2>&1');
	return;
}

sub tls_server
{
	my ($at, $more) = @_;

	return "server { listen 127.0.0.1:$at ssl; ssl_certificate $home/tls.crt; "
	  . "ssl_certificate_key $home/tls.key; ssl_protocols TLSv1.2 TLSv1.3; "
	  . "$more location / { return 204; } }\n";
}

sub start_nginx
{
	my $paths = join '', map { "${_}_temp_path $home/nginx_$_;\n" }
	  qw(client_body proxy fastcgi uwsgi scgi);

	write_file("$home/nginx.conf", <<"END" . $paths
pid $home/nginx.pid;
error_log $home/nginx.log;
worker_processes 1;
daemon off;
events { worker_connections 4096; }
http {
access_log off;
keepalive_requests 100000000;
keepalive_timeout 600s;
server { listen 127.0.0.1:@{[$port + 1]}; location / { return 204; }
	location /500 { return 500; } }
END
		  . tls_server($port + 2, '')
		  . tls_server($port + 3, 'keepalive_timeout 0; ssl_session_tickets off; '
			  . 'ssl_session_cache off;')
		  . tls_server($port + 4, 'keepalive_timeout 0; ssl_session_tickets on;')
		  . "}\n");
	start_child('nginx', '-e', "$home/nginx.log", '-c', "$home/nginx.conf");
	wait_for('nginx answers', 10, sub { -s "$home/nginx.pid" });
	return;
}

sub start_child
{
	my (@command) = @_;
	my $pid = fork // fail("fork: $!");

	if (!$pid)
	{
		exec @command or die "@command: $!\n";
	}
	$child{$pid} = 1;
	return $pid;
}

sub stop_child
{
	my ($pid) = @_;

	kill 'TERM', $pid;
	waitpid $pid, 0;
	delete $child{$pid};
	return;
}

# The receiver that knows microseconds; its lines are in $home/stamps.
sub start_stamp
{
	$stamp_pid = start_child('./stamp', $port + 5, "$home/stamps");
	return;
}

# Its lines are written a quiet second after the last request.
sub stop_stamp
{
	my ($n) = @_;

	wait_for("$n requests are noted", 60,
		sub { `wc -l <$home/stamps` >= $n });
	stop_child($stamp_pid);
	return;
}

sub start_all
{
	mkdir $home or fail("$home: $!");
	$ENV{PGHOST} = $home;
	$ENV{PGPORT} = $port;
	$ENV{PGUSER} = $ENV{PGDATABASE} = 'postgres';
	$ENV{PGOPTIONS} = '-c client_min_messages=warning';
	$ENV{LC_ALL} = 'C.UTF-8';
	make_certificates();
	start_nginx();
	run_command("$bin/initdb -D $home/data -A trust -U postgres --no-sync "
		  . '>/dev/null');
	write_file("$home/data/postgresql.conf", "include 'bench.conf'\n");
	start_server();
	sql('CREATE EXTENSION webhook_outbox');
	say_step("$common_conf(shared_preload_libraries = 'webhook_outbox'; all else"
		  . " as PostgreSQL and webhook_outbox have it; nginx: 1 worker, no log)");
	return;
}

END
{
	my $rc = $?;
	kill 'TERM', $_ for keys %child;
	waitpid $_, 0 for keys %child;
	stop_server();
	$? = $rc;
}

# ---- measuring

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	my $n = @sorted;

	return $n % 2 ? $sorted[$n / 2] :
	  ($sorted[$n / 2 - 1] + $sorted[$n / 2]) / 2;
}

# CPU seconds, all threads, of processes.
sub cpu_of
{
	my $sum = 0;

	for my $pid (@_)
	{
		open my $fh, '<', "/proc/$pid/stat" or next;
		my @field = split ' ', (<$fh> =~ s/.*\) //r);
		$sum += $field[11] + $field[12];
	}
	return $sum / $ticks;
}

# Megabytes of memory of its own that each process has.
sub own_memory
{
	my $sum = 0;

	for my $pid (@_)
	{
		open my $fh, '<', "/proc/$pid/status" or next;
		my ($kb) = join('', <$fh>) =~ /^RssAnon:\s+(\d+)/m;
		$sum += $kb // 0;
	}
	return $sum / 1024;
}

# Process ids of the dispatcher, first, and the senders, once all of them run.
sub worker_pids
{
	my ($n_senders, $database) = @_;

	$database //= 'postgres';
	my $pids = wait_for(
		"a dispatcher and $n_senders senders run", 30,
		sub {
			my @pids = sql(q(SELECT pid FROM webhook_outbox.worker_status WHERE)
				  . " database = '$database'"
				  . q( AND process IN ('dispatcher', 'sender') AND is_running)
				  . ' AND pid IS NOT NULL ORDER BY process');
			return @pids == $n_senders + 1 ? \@pids : undef;
		});
	return @$pids;
}

# The bare loop; returns requests per second and CPU microseconds of each.
sub bare
{
	my (@args) = @_;
	open my $fh, '-|', './bare_loop', @args or fail("bare_loop: $!");
	my $line = <$fh> // '';

	close $fh or fail("bare_loop @args failed");
	my ($rate) = $line =~ /"requests_per_second": ([\d.]+)/;
	my ($cpu) = $line =~ /"cpu_us_per_request": ([\d.]+)/;
	return ($rate, $cpu);
}

# An endpoint for events of one type; returns its id.
sub endpoint
{
	my ($name, $to, $type) = @_;

	return value("SELECT endpoint_id FROM webhook_outbox.create_endpoint("
		  . "'$name', '$to', event_types => '{$type}')");
}

# Events of one type in one transaction.
sub publish
{
	my ($type, $n) = @_;

	sql('INSERT INTO webhook_outbox.event (type, payload) '
		  . "SELECT '$type', $payload_sql FROM generate_series(1, $n) i");
	return;
}

# How long the body is that an endpoint gets.
sub body_size
{
	my ($type, $name) = @_;

	return value('SELECT octet_length(body) FROM webhook_outbox.render('
		  . "(SELECT id FROM webhook_outbox.event WHERE type = '$type' LIMIT 1), "
		  . "'$name')");
}

# Seconds from the first attempt's start to the last one's end, since an id.
sub attempts_span
{
	my ($endpoint_id, $since) = @_;

	return split /\|/, value("SELECT count(*), extract(epoch FROM "
		  . "max(started_at + total_ms * interval '1 ms') - min(started_at)) "
		  . 'FROM webhook_outbox.attempt WHERE endpoint_id = '
		  . "$endpoint_id AND started_at >= '$since' AND outcome = 'delivered'");
}

sub n_delivered
{
	return value('SELECT delivered FROM webhook_outbox.worker_status '
		  . q(WHERE process = 'dispatcher'));
}

# Insert n events with delivery disabled, then enable it until they have all
# arrived.  Options: watch (code called meanwhile), before (called with all
# inserted).  Returns a hash: rate (per second), cpu_us (of all workers, per event),
# dispatcher_us (its part), since.
sub drain
{
	my ($endpoint_id, $type, $n, $n_senders, %option) = @_;

	set_conf('webhook_outbox.enabled' => 'off',
		'webhook_outbox.senders' => $n_senders);
	publish($type, $n);
	sql('CHECKPOINT');
	my @pids = worker_pids($n_senders);
	$option{before}->() if $option{before};
	my $since = value('SELECT clock_timestamp()');
	my $base = n_delivered();
	my $cpu = cpu_of(@pids);
	my $dispatcher = cpu_of($pids[0]);
	set_conf('webhook_outbox.enabled' => 'on');
	wait_for(
		"$n events are delivered", 600,
		sub {
			$option{watch}->(@pids) if $option{watch};
			usleep(150_000);
			return n_delivered() - $base >= $n;
		});
	$cpu = cpu_of(@pids) - $cpu;
	$dispatcher = cpu_of($pids[0]) - $dispatcher;
	wait_settled();
	my ($count, $seconds) = attempts_span($endpoint_id, $since);
	$count == $n or fail("$count of $n events were delivered");
	return { rate => $n / $seconds, cpu_us => $cpu / $n * 1e6,
		dispatcher_us => $dispatcher / $n * 1e6, since => $since };
}

# Wait until the cursor has caught up and nothing is owed.
sub wait_settled
{
	wait_for('nothing is owed', 600,
		sub {
			return value('SELECT new_events + parked + retrying + due_now = 0 '
				  . 'FROM webhook_outbox.queue_status') eq 't';
		});
	return;
}

# Run pgbench with a script; returns transactions per second.
sub run_pgbench
{
	my ($script, @args) = @_;

	return finish_pgbench(start_pgbench('script', $script, @args, '-j', 2));
}

# The same in the background, with a name of its own, until it is finished.
sub start_pgbench
{
	my ($name, $script, $clients, $seconds, @more) = @_;

	write_file("$home/$name.sql", $script);
	open my $fh, '-|', "exec $bin/pgbench -n -M prepared -f $home/$name.sql -c $clients -T $seconds @more 2>&1"
	  or fail("pgbench: $!");
	return $fh;
}

sub finish_pgbench
{
	my ($fh) = @_;
	my $out = join '', <$fh>;
	my ($tps) = $out =~ /tps = ([\d.]+)/ or fail("pgbench: $out");

	close $fh or fail("pgbench: $out");
	return $tps;
}

1;
