# A restored dump, in the same cluster or another, sends nothing until
# resume_delivery() is called; then what was not settled is delivered, with its
# old id, and what was settled is not.
# Plain SQL cannot show it: only a receiver knows what was not sent.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump_$$.sql";

# Requests so far, a number for each path.
sub requests
{
	return join ' ', map { $receiver->stats($_)->{requests} }
	  qw(/well /paused /retry /dead);
}

# A source with a bit of everything: delivered, parked, waiting for a retry,
# given up, asked for again, and not begun.
create_endpoint($node, $receiver, 'well', '/well');
create_endpoint($node, $receiver, 'paused', '/paused', enabled => 'false');
create_endpoint($node, $receiver, 'down', '/retry',
	retry_schedule => "'{1h}'");
create_endpoint($node, $receiver, 'dead', '/dead',
	retry_schedule => "'{1ms}'");
$receiver->script($_, { status => 503 }) for qw(/retry /dead);
my @old = map { publish($node, 'order.created') } 1 .. 3;
$receiver->wait_for('/well', 3, 'some events are delivered');
wait_for_sql(
	$node, q(SELECT count(*) = 6 FROM webhook_outbox.delivery),
	'some wait for a retry or a paused endpoint');
wait_for_sql($node, 'SELECT count(*) = 3 FROM webhook_outbox.dead_letter',
	'some are given up');
switch_delivery($node, 'off');
my @new = map { publish($node, 'order.created') } 1 .. 2;
$node->safe_psql('postgres',
	"SELECT webhook_outbox.redeliver('$old[0]', 'well')");
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'it is dumped');
switch_delivery($node, 'on');
$receiver->wait_for('/well', 5, 'the source goes on');
wait_for_sql($node, 'SELECT count(*) = 5 FROM webhook_outbox.dead_letter',
	'at all its endpoints');
all_delivered_but_waiting($node, 'postgres');

sub all_delivered_but_waiting
{
	my ($server, $dbname) = @_;

	return wait_for_sql(
		$server, q(SELECT count(*) = 0 FROM webhook_outbox.delivery_status
		WHERE state = 'pending' AND endpoint_name <> 'paused'),
		"all is recorded in $dbname", $dbname);
}

sub load_dump
{
	my ($server, $dbname, $claim) = @_;
	my ($rc, $out, $err) =
	  $server->psql($dbname, slurp_file($dump), on_error_stop => 0);

	return unlike($err,
		qr/ERROR: (?! *schema "webhook_outbox" already exists)/,
		"$claim: loads without an error");
}

# What every restored copy does, after so many requests.
sub check_copy
{
	my ($server, $dbname, $claim, $before) = @_;

	wait_for_sql(
		$server, qq(SELECT ($IS_HELD)
		OR NOT EXISTS (SELECT FROM webhook_outbox.command)),
		"$claim: a dispatcher looks at it", $dbname);
	return if !is(sql_value($server, $IS_HELD, $dbname),
		't', "$claim: worker_status tells that it is a copy");
	like(
		slurp_file($server->logfile),
		qr/does not deliver from database "$dbname": it is a copy\n.*HINT: .*resume_delivery/,
		"$claim: so does the log, with a hint");
	my $own = publish($server, 'order.created', '{}', $dbname);
	# a dispatcher that is new has nothing to do but to send
	my $pid = worker_pid($server, 'dispatcher', 0, $dbname);
	$server->safe_psql($dbname, "SELECT pg_terminate_backend($pid)");
	worker_pid($server, 'dispatcher', $pid, $dbname);
	wait_for_sql($server, $IS_HELD, "$claim: again after its worker ended",
		$dbname);
	is( sql_value(
			$server, qq(SELECT count(*) FROM webhook_outbox.delivery_status
			WHERE event_id = '$own' AND state = 'pending'), $dbname),
		'4', "$claim: what is published waits");
	is(requests(), $before, "$claim: nothing is sent");
	is( sql_value(
			$server, q(SELECT string_agg(id::text, ' ' ORDER BY id)
			FROM webhook_outbox.event WHERE xid = '0'), $dbname),
		"@old @new", "$claim: events have their old ids");

	my $n_well = $receiver->stats('/well')->{requests};
	is( sql_value($server, 'SELECT webhook_outbox.resume_delivery()', $dbname),
		'8', "$claim: two events had not begun, at four endpoints");
	all_delivered_but_waiting($server, $dbname);
	my @sent = $receiver->requests('/well');
	is_deeply(
		[ sort map { $_->{id} } @sent[ $n_well .. $#sent ] ],
		[ sort $old[0], @new, $own ],
		"$claim: they are sent, and what was asked for, but nothing settled");
	wait_for_sql(
		$server, q(SELECT count(*) = 6 FROM webhook_outbox.delivery_status
		WHERE endpoint_name = 'down' AND state = 'retrying'),
		"$claim: retries still wait", $dbname);
	wait_for_sql($server,
		'SELECT count(*) = 6 FROM webhook_outbox.dead_letter',
		"$claim: dead letters are there", $dbname);
	my $n_paused = $receiver->stats('/paused')->{requests};
	$server->safe_psql($dbname,
		"SELECT webhook_outbox.resume_endpoint('paused')");
	$receiver->wait_for_requests('/paused', $n_paused + 6,
		"$claim: what was parked is sent when its endpoint is resumed");
	all_delivered_but_waiting($server, $dbname);
	return is(
		sql_value(
			$server, 'SELECT webhook_outbox.resume_delivery()', $dbname),
		'0', "$claim: a second call does nothing");
}

my $before = requests();
$node->append_conf('postgresql.conf', 'webhook_outbox.databases = postgres');
$node->reload;
$node->safe_psql('postgres', 'CREATE DATABASE unlisted');
load_dump($node, 'unlisted', 'a database that has no dispatcher yet');
$node->append_conf('postgresql.conf', "webhook_outbox.databases = ''");
$node->reload;
check_copy($node, 'unlisted', 'a database that has no dispatcher yet',
	$before);

my $other = start_node(name => 'other', extension => 0,
	conf => 'webhook_outbox.enabled = off');
$before = requests();
load_dump($other, 'postgres', 'another cluster');
$other->append_conf('postgresql.conf', 'webhook_outbox.enabled = on');
$other->restart;
check_copy($other, 'postgres', 'another cluster', $before);

$before = requests();
$node->safe_psql('postgres', 'CREATE DATABASE prepared');
$node->safe_psql('prepared', 'CREATE EXTENSION webhook_outbox');
wait_for_sql($node, q(SELECT state = 'idle' FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND database = current_database()),
	'a dispatcher is at work', 'prepared');
load_dump($node, 'prepared', 'a database with a dispatcher');
check_copy($node, 'prepared', 'a database with a dispatcher', $before);

$other->stop;
unlink $dump;
finish($node, $receiver);
