# Commands about the extension and its tables while events are published and
# delivered: each table rewritten, indexed anew, locked, analysed, truncated; each
# setting changed and put back; an extension of another version than the library;
# DROP EXTENSION, DROP DATABASE (FORCE). No command hangs, nothing crashes, and
# nothing is lost where the table survives.
#
# Settings: FAULT_EVENTS, FAULT_SECONDS (over which they are published).
use strict;
use warnings FATAL => 'all';
use Fault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WebhookOutbox;

# A command that takes longer hangs. What is promised are 2 s on a machine with
# nothing else to do; the time that it took is shown.
my $limit_s = 30;

my $n_events = fault_size(20_000, 400, 'EVENTS');
my $seconds = fault_size(120, 8, 'SECONDS');
my $world = fault_world(conf => "allow_in_place_tablespaces = on\n");
my $node = $world->node;
my $dispatcher = worker_pid($node, 'dispatcher');
my @tables = split /\n/, sql_value($node, q(
	SELECT c.relname FROM pg_class c
	WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND c.relkind = 'r' ORDER BY 1));
my @core = qw(event_0 event_kept attempt_0 delivery dead_letter command endpoint
  endpoint_secret endpoint_change operation cursor claim ring_leaf rollup_watermark);
my @chosen = fault_size('all', 'core') eq 'all' ? @tables : @core;

# Runs statements in one session, one after the other; checks that each succeeds,
# and shows the slowest.
sub run_all
{
	my ($what, @statements) = @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		join("\n", "SET statement_timeout = '${limit_s}s'; SET client_min_messages = warning;",
			'\timing on',
			map { "$_;" } @statements));
	my ($slowest) = sort { $b <=> $a } 0, $out =~ /^Time: ([\d.]+) ms/mg;

	note(sprintf '%-40s %3d statements, slowest %8.1f ms', $what, scalar @statements,
		$slowest);
	is("$rc $err", '0 ', "$what succeeds");
	return;
}

# What a statement is refused with.
sub error_of
{
	my ($statement) = @_;
	my ($rc, $out, $err) =
	  $node->psql('postgres', "SET statement_timeout = '${limit_s}s'; $statement");

	return $err;
}

$world->start_producers(events => $n_events, seconds => $seconds, go_on => 1);
$world->wait_for('something is delivered',
	sub { $world->receiver->stats('/delay/40/well')->{accepted} > 0 });

# ---- the tables

$node->safe_psql('postgres', q(SET allow_in_place_tablespaces = on;
	CREATE TABLESPACE aside LOCATION ''));
my %clustered = map { split /\|/ } split /\n/, sql_value($node, q(
	SELECT c.relname, min(i.relname) FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid
	JOIN pg_class i ON i.oid = x.indexrelid
	WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND c.relkind = 'r'
	AND x.indpred IS NULL GROUP BY 1));
for my $command ('ANALYZE %s', 'VACUUM FULL %s', 'REINDEX TABLE %s',
	'REINDEX TABLE CONCURRENTLY %s', 'CLUSTER %s USING %s',
	'ALTER TABLE %s SET TABLESPACE aside', 'ALTER TABLE %s SET TABLESPACE pg_default',
	'ALTER TABLE %s SET (fillfactor = 90)', 'ALTER TABLE %s RESET (fillfactor)')
{
	my @on = $command =~ /CLUSTER/ ? grep { $clustered{$_} } @chosen : @chosen;

	no warnings 'redundant';
	run_all(sprintf($command, 'each table', 'an index'),
		map { sprintf $command, "webhook_outbox.$_", $clustered{$_} // '' } @on);
}

for my $table (qw(event endpoint endpoint_secret delivery dead_letter command
	endpoint_change cursor claim ring_leaf event_3 event_kept attempt attempt_0))
{
	like(error_of("TRUNCATE webhook_outbox.$table CASCADE"),
		qr/ERROR:  TRUNCATE on webhook_outbox\.\w+ is not allowed\nHINT:/,
		"TRUNCATE of $table is refused");
}
run_all('TRUNCATE of what loses nothing that is owed',
	map { "TRUNCATE webhook_outbox.$_" } qw(queue_sample operation error_rollup));

# ---- the settings

# Each to another value and back; what a value means is not what this is about. With
# it the workers are told to say no more in pg_stat_activity what they do: that shows
# when the value is in force.
my @settings = map { [ split /\|/ ] } split /\n/, sql_value($node, q(
	SELECT name, CASE
	  WHEN vartype = 'bool' THEN CASE setting WHEN 'on' THEN 'off' ELSE 'on' END
	  WHEN vartype IN ('integer', 'real') THEN
	    CASE setting WHEN min_val THEN max_val ELSE min_val END
	  WHEN vartype = 'enum' THEN (SELECT v FROM unnest(enumvals) v WHERE v <> setting LIMIT 1)
	  WHEN name ~ 'allowed_networks$' THEN '127.0.0.1/32,::1'
	  WHEN name ~ 'databases$' THEN 'postgres'
	  WHEN name ~ 'role$' THEN 'postgres' END
	FROM pg_settings
	WHERE name LIKE 'webhook\_outbox.%' AND context = 'sighup'
	AND name !~ '(instance_id|fault_point)$' ORDER BY name));
my $workers = q(SELECT string_agg(state, ' ') FROM pg_stat_activity
	WHERE backend_type IN ('webhook_outbox launcher', 'webhook_outbox dispatcher'));
cmp_ok(scalar @settings, '>', 10, 'there are settings to reload');
for my $setting (grep { defined $_->[1] && $_->[1] ne '' } @settings)
{
	my ($name, $value) = @$setting;

	run_all("$name = $value", "ALTER SYSTEM SET $name = '$value'",
		'ALTER SYSTEM SET track_activities = off', 'SELECT pg_reload_conf()');
	$world->wait_for("$name = $value is in force", sub {
		($world->sql($workers))[0] eq 'disabled disabled' });
	run_all("$name as it was", "ALTER SYSTEM RESET $name",
		'ALTER SYSTEM RESET track_activities', 'SELECT pg_reload_conf()');
	$world->wait_for("$name is as it was", sub {
		($world->sql($workers))[0] !~ /disabled/ });
}
note('not reloaded, no other value is known: '
	  . join(' ', map { $_->[0] } grep { !defined $_->[1] || $_->[1] eq '' } @settings));
$world->mark('settings');

# ---- an extension of another version than the library

$dispatcher = worker_pid($node, 'dispatcher');
my $version = sql_value($node,
	q(SELECT extversion FROM pg_extension WHERE extname = 'webhook_outbox'));
my $share = $node->config_data('--sharedir') . '/extension';
my $script = "$share/webhook_outbox--$version--99.0.sql";
my $back = "$share/webhook_outbox--99.0--$version.sql";
append_to_file($script, "COMMENT ON TABLE webhook_outbox.tier IS 'from version 99.0';\n");
append_to_file($back, "COMMENT ON TABLE webhook_outbox.tier IS NULL;\n");
run_all('ALTER EXTENSION UPDATE', q(ALTER EXTENSION webhook_outbox UPDATE TO '99.0'));
publish($node, 'order.created', '{"key": "ddl-1"}');
wait_for_sql($node, qq(SELECT state ~ '^not sending: .*of version 99.0.* version $version'
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher'),
	'with an older library nothing is sent, and worker_status says why');
like(slurp_file($node->logfile),
	qr/stopped sending: .*of version 99\.0.*\n.*HINT: .*restart the server/,
	'so does the log, with what to do');
is(worker_pid($node, 'dispatcher'), $dispatcher, 'the dispatcher stays');
run_all('ALTER EXTENSION UPDATE back',
	"ALTER EXTENSION webhook_outbox UPDATE TO '$version'");
wait_for_sql($node, q(SELECT state !~ '^not sending'
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher'),
	'with the right one it is again');
unlink $script, $back;

$world->finish_producers;
$world->wait_settled(120);
$world->judge;

# ---- away with it

sub load
{
	my ($dbname) = @_;

	create_endpoint($node, $world->receiver, 'well', "/delay/40/$dbname", dbname => $dbname);
	publish_many($node, 'order.created', 500, $dbname);
	$world->wait_for('requests are under way',
		sub { $world->receiver->stats("/delay/40/$dbname")->{requests} > 0 });
	return;
}


for my $command ('DROP DATABASE %s', 'DROP DATABASE %s WITH (FORCE)')
{
	$node->safe_psql('postgres', 'CREATE DATABASE shop');
	$node->safe_psql('shop', 'CREATE EXTENSION webhook_outbox');
	load('shop');
	run_all(sprintf($command, 'a busy database'), sprintf $command, 'shop');
}
$node->safe_psql('postgres', 'CREATE DATABASE shop');
for my $round (1, 2)
{
	$node->safe_psql('shop', 'CREATE EXTENSION webhook_outbox');
	load('shop');
	my $began = time;
	$node->safe_psql('shop',
		"SET statement_timeout = '${limit_s}s'; DROP EXTENSION webhook_outbox");
	note(sprintf 'DROP EXTENSION took %.1f ms', 1000 * (time - $began));
	wait_for_sql($node, q(SELECT count(*) = 0 FROM pg_stat_activity
		WHERE backend_type = 'webhook_outbox dispatcher' AND datname = 'shop'),
		'dropped, it has no dispatcher');
}
unlike(slurp_file($node->logfile),
	qr/PANIC:|TRAP:|deadlock detected|was terminated by signal/,
	'nothing has crashed or stood in its own way');
$world->finish;
