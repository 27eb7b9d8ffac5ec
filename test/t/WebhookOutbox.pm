# WebhookOutbox.pm - what the TAP tests share: servers, the receiver, waiting.
#
# Every test file is one claim:
#
#   use WebhookOutbox;
#   my $receiver = start_receiver();
#   my $node = start_node();
#   create_endpoint($node, $receiver, 'billing', '/ok');
#   my $id = publish($node, 'order.created', '{"order_id": 1}');
#   $receiver->wait_for('/ok', 1, 'the event arrives');
#   finish($node, $receiver);
#
# Nothing here sleeps for a guess: wait_for* poll a condition and fail with its
# name after PostgreSQL's own test time-out (PG_TEST_TIMEOUT_DEFAULT seconds).
# The receiver (receiver.pl) says what a path does.

package WebhookOutbox;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(basename dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(start_receiver start_node create_endpoint publish publish_many
  wait_for_sql wait_until tick all_delivered all_in_time switch_delivery
  worker_pid sql_value n_logged finish $IS_HELD);

our $HERE = dirname(abs_path(__FILE__));

# Is the dispatcher of this database held, for the database is a copy?
our $IS_HELD = q(SELECT state LIKE 'not sending: this database is a copy%'
	FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND database = current_database() AND is_running);

my $timeout_s = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;
my $tick_us = 10_000;    # between looks at a condition

# A server with the extension preloaded and created, which may send to
# receivers on this machine.  Options: name, conf (more
# lines of postgresql.conf), preload => 0, extension => 0, start => 0,
# install_path (of another PostgreSQL), and what PostgreSQL::Test::Cluster's init
# takes (allows_streaming).
sub start_node
{
	my (%option) = (name => 'main', preload => 1, extension => 1, start => 1,
		conf => '', @_);
	my $node = PostgreSQL::Test::Cluster->new($option{name},
		$option{install_path} ? (install_path => $option{install_path}) : ());
	my %init = map { $_ => $option{$_} }
	  grep { /^(allows_streaming|has_archiving|extra)$/ } keys %option;

	$node->init(%init);
	$node->append_conf('postgresql.conf', <<'CONF');
log_statement = none
max_worker_processes = 16
max_connections = 40
shared_buffers = 32MB
webhook_outbox.allowed_networks = '127.0.0.0/8, ::1'
CONF
	$node->append_conf('postgresql.conf',
		q(shared_preload_libraries = 'webhook_outbox'))
	  if $option{preload};
	$node->append_conf('postgresql.conf', $option{conf});
	return $node if !$option{start};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION webhook_outbox')
	  if $option{extension};
	return $node;
}

sub start_receiver
{
	return WebhookOutbox::Receiver->new(@_);
}

# An endpoint at a path of the receiver, which then checks its signatures.
# Options are further arguments of create_endpoint, as SQL.  Returns its id.
sub create_endpoint
{
	my ($node, $receiver, $name, $path, %option) = @_;
	my $dbname = delete $option{dbname} // 'postgres';
	my $url = $receiver->url($path);
	my $more = join '', map { ", $_ => $option{$_}" } sort keys %option;
	my ($id, $secret) = split /\|/, $node->safe_psql($dbname,
		"SELECT endpoint_id, secret FROM webhook_outbox.create_endpoint("
		  . "'$name', '$url'$more)");

	$receiver->secrets($path, $secret);
	return $id;
}

# Publish one event in a transaction of its own.  Returns its id.
sub publish
{
	my ($node, $type, $payload, $dbname) = @_;

	$payload //= '{}';
	return $node->safe_psql($dbname // 'postgres',
		    "INSERT INTO webhook_outbox.event (type, payload) "
		  . "VALUES ('$type', \$json\$$payload\$json\$) RETURNING id");
}

# Publish so many events in one transaction: the payloads are 1, 2, 3.
sub publish_many
{
	my ($node, $type, $n, $dbname) = @_;

	$node->safe_psql($dbname // 'postgres',
		    'INSERT INTO webhook_outbox.event (type, payload) '
		  . "SELECT '$type', to_json(n) FROM generate_series(1, $n) n");
	return;
}

sub sql_value
{
	my ($node, $query, $dbname) = @_;

	return $node->safe_psql($dbname // 'postgres', $query);
}

# How often a pattern is in the server's log, from that byte of it on.
sub n_logged
{
	my ($node, $pattern, $from) = @_;

	return scalar(() = slurp_file($node->logfile, $from) =~ /$pattern/g);
}

# The pause between two looks at a condition, for a loop that ends with it;
# longer for looks that cost more.
sub tick
{
	my ($times) = @_;

	usleep($tick_us * ($times // 1));
	return;
}

# A check that passes once the query says true.
sub wait_for_sql
{
	my ($node, $query, $claim, $dbname) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until($dbname // 'postgres', $query), $claim);
}

# A check that passes once the code returns true.
sub wait_until
{
	my ($code, $claim) = @_;
	my $end = time + $timeout_s;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	while (time < $end)
	{
		return pass($claim) if $code->();
		tick();
	}
	return ok($code->(), $claim);
}

# Wait until nothing is owed to anybody.
sub all_delivered
{
	my ($node, $claim, $dbname) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_for_sql(
		$node, q(
		SELECT count(*) = 0 FROM webhook_outbox.delivery_status
		WHERE state IN ('pending', 'retrying')), $claim, $dbname);
}

# A check that passes when no attempt took longer than its endpoint permits.
sub all_in_time
{
	my ($node) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		sql_value(
			$node, q(
			SELECT string_agg(format('%s: %s ms', name, total_ms), ', ')
			FROM webhook_outbox.attempt a
			  JOIN webhook_outbox.endpoint e USING (endpoint_id)
			WHERE total_ms > extract(epoch FROM e.timeout) * 1000 + 1000)),
		'', 'none took longer than its endpoint permits');
}

# A check that passes once delivery is on, or off, in the database postgres.
sub switch_delivery
{
	my ($node, $to, $claim) = @_;
	my $not = $to eq 'on' ? 'NOT' : '';

	$node->append_conf('postgresql.conf', "webhook_outbox.enabled = $to");
	$node->reload;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_for_sql(
		$node, qq(SELECT state $not LIKE '%enabled is off%'
		FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher' AND database = 'postgres' AND is_running),
		$claim // "delivery is $to");
}

# The process id of the launcher, or of a database's dispatcher, once there is
# one (other than the one to forget).
sub worker_pid
{
	my ($node, $type, $forget, $dbname) = @_;
	my $query = sprintf q(
		SELECT min(pid) FROM pg_stat_activity
		WHERE backend_type = 'webhook_outbox %s' AND pid <> %d AND %s), $type,
	  $forget // 0,
	  $dbname ? "datname = '$dbname'" : 'true';
	my $end = time + $timeout_s;

	while (time < $end)
	{
		my $pid = $node->safe_psql('postgres', $query);
		return $pid if $pid ne '';
		tick();
	}
	die "no webhook_outbox $type came up";
}

# What a server only warns of, and never does when all is well: memory that was
# written beyond its end (noticed where the server has assertions), and what a
# transaction left open.
my $damage = join '|', map { "WARNING:  $_" } 'problem in ',
  'detected write past ', '[\w ]+ leak: ', 'resource was not closed',
  'temporary file .* not closed', 'snapshot \w+ still active',
  'registered snapshots seem to remain', '(?:sub)?transaction left ',
  '\w+Transaction while in ';

# The first such lines in the logs of all servers of this test.
sub damage
{
	my $name = basename($0) =~ s/\.pl$//r;
	my @lines = grep { /TRAP:|$damage/ } map { split /\n/, slurp_file($_) }
	  glob "$PostgreSQL::Test::Utils::log_path/${name}_*.log";

	splice @lines, 10 if @lines > 10;
	return @lines;
}

# The end of every test: nothing crashed (unless may_crash => 1) or is damaged,
# and every signature was right.
sub finish
{
	my ($node, $receiver, %option) = @_;

	$receiver->check_signatures(
		'no path got a request with a missing or wrong signature')
	  if $receiver;
	$node->stop;
	my @crashes = grep { /PANIC:|was terminated by signal/ }
	  split /\n/, slurp_file($node->logfile);
	is("@crashes", '', 'no process of the server crashed')
	  if !$option{may_crash};
	is(join("\n", damage()), '', 'no server noticed any damage');
	return done_testing();
}

# On failure, what the servers said is worth more than the failed check alone.
END
{
	if ($? || !Test::More->builder->is_passing)
	{
		my $name = basename($0) =~ s/\.pl$//r;
		for my $file (glob "$PostgreSQL::Test::Utils::log_path/${name}_*.log")
		{
			my @lines = grep { !/ LOG:  (statement|checkpoint)/ }
			  split /\n/, slurp_file($file);
			splice @lines, 0, -30 if @lines > 30;
			diag("the end of $file:") if @lines;
			diag($_) for @lines;
		}
	}
}

package WebhookOutbox::Receiver;

use HTTP::Tiny;
use JSON::PP;
use Test::More;

# Starts receiver.pl (options: address, port), which lives as long as the pipe
# to its standard input.
sub new
{
	my ($class, %option) = (shift, address => '127.0.0.1', port => 0, @_);
	my $log = "$PostgreSQL::Test::Utils::tmp_check/receiver_$$"
	  . ($WebhookOutbox::Receiver::count++ || '') . '.jsonl';
	my ($in, $out, $err) = ('', '', '');
	my $run = IPC::Run::start(
		[ $^X, "$WebhookOutbox::HERE/receiver.pl", '--with-stdin', '--log',
			$log, '--address', $option{address}, '--port', $option{port} ],
		'<', \$in, '>', \$out, '2>', \$err,
		IPC::Run::timeout($timeout_s * 10));

	$run->pump until $out =~ /listening on (\d+)\n/;
	return bless {
		run => $run,
		address => $option{address},
		port => $1,
		log => $log,
		in => \$in }, $class;
}

our $count = 0;

sub port { return $_[0]{port}; }
sub url { return "http://$_[0]{address}:$_[0]{port}$_[1]"; }

# One control request; what it answers.
sub ask
{
	my ($self, $method, $target, $in) = @_;
	my $http =
	  HTTP::Tiny->new(proxy => undef, http_proxy => undef, timeout => 30);
	my $answer = $http->request($method, $self->url($target),
		$in ? { content => encode_json($in) } : {});

	die "receiver: $answer->{status} $answer->{content}"
	  if !$answer->{success};
	return $answer->{content};
}

# Change how a path answers; without a rule, back to what the path says.
sub script
{
	my ($self, $path, $rule) = @_;

	return $self->ask('POST', '/_script', { path => $path, rule => $rule });
}

# The secrets whose signatures this path accepts.
sub secrets
{
	my ($self, $path, @secrets) = @_;

	return $self->ask('POST', '/_secrets',
		{ path => $path, secrets => \@secrets });
}

# Answer requests that a path with /hold has kept waiting (all, or count).
sub release
{
	my ($self, $path, $count) = @_;

	return decode_json(
		$self->ask('POST', '/_release',
			{ path => $path, $count ? (count => $count) : () }))->{released};
}

# All counters, or those of a path.
sub stats
{
	my ($self, $path) = @_;
	my $stats = decode_json($self->ask('GET', '/_stats'));

	return $stats if !defined $path;
	return $stats->{$path}
	  // { map { $_ => 0 }
		  qw(requests ids accepted duplicates bad_signatures in_flight
		  max_in_flight) };
}

# The requests of all paths together.
sub n_requests
{
	my ($self) = @_;
	my $stats = $self->stats;
	my $n = 0;

	$n += $_->{requests} for values %$stats;
	return $n;
}

# A check that passes when no path got a missing or wrong signature.
sub check_signatures
{
	my ($self, $claim) = @_;
	my $stats = $self->stats;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(join(' ', grep { $stats->{$_}{bad_signatures} } sort keys %$stats),
		'', $claim);
}

# The ids that a path answered with a 2xx, in order.
sub accepted_ids
{
	my ($self, $path) = @_;

	return split /\n/, $self->ask('GET', "/_ids?$path");
}

# The logged requests of a path, in order.
sub requests
{
	my ($self, $path) = @_;
	my @found;

	open my $fh, '<', $self->{log} or die "$self->{log}: $!";
	while (my $line = <$fh>)
	{
		next if index($line, qq("path":"$path",)) < 0;
		push @found, decode_json($line);
	}
	close $fh;
	return @found;
}

# A check that passes once a path has accepted n different events.
sub wait_for
{
	my ($self, $path, $n, $claim) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return WebhookOutbox::wait_until(
		sub { $self->stats($path)->{accepted} >= $n }, $claim);
}

# A check that passes once a path has had n requests, whatever the answer.
sub wait_for_requests
{
	my ($self, $path, $n, $claim) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return WebhookOutbox::wait_until(
		sub { $self->stats($path)->{requests} >= $n }, $claim);
}

1;
