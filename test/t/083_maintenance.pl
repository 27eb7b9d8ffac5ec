# The dispatcher has maintenance run by itself; what fails is shown and stops
# nothing else; a crash in the middle of it does half of nothing.
# Plain SQL cannot show it: workers are started, killed, and miss their slots.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
# two slots for the launchers, two for dispatcher and sender: none is left
my $full = start_node(name => 'full', conf => 'max_worker_processes = 4');
my $off = start_node(name => 'off', conf => 'webhook_outbox.maintenance = off');

sub is_run
{
	my ($claim, $dbname, $by) = @_;

	return wait_for_sql($by // $node,
		q(SELECT state = 'ok' AND run_by = 'dispatcher'
		FROM webhook_outbox.maintenance_status WHERE step = 'rollup_retention'),
		$claim, $dbname);
}

# A step that fails, and one that waits until it is let go on.
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', q(
	CREATE EXTENSION webhook_outbox;
	CREATE TABLE gate (is_open boolean);
	INSERT INTO gate VALUES (false);
	CREATE FUNCTION wait_at_gate() RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
	  v_tick double precision := 0.01;
	BEGIN
	  WHILE NOT (SELECT is_open FROM public.gate) LOOP
	    PERFORM pg_sleep(v_tick);
	  END LOOP;
	  RETURN 1;
	END $$;
	CREATE FUNCTION fail() RETURNS bigint LANGUAGE plpgsql AS
	  $$ BEGIN RAISE EXCEPTION 'out of order'; END $$;
	INSERT INTO webhook_outbox.maintenance_step (step, position, function)
	VALUES ('broken', 1, 'public.fail()'), ('gate', 1000, 'public.wait_at_gate()')));
# Minutes that are to be joined.
$node->safe_psql('shop', q(
	INSERT INTO webhook_outbox.error_rollup
	  SELECT date_trunc('hour', now(), 'UTC') - n * interval '1 minute', 1, 500, 1,
	    'http_error', n
	  FROM generate_series(61, 240) n;
	UPDATE webhook_outbox.open_rollup SET since_at = now();
	UPDATE webhook_outbox.rollup_watermark SET hour_until = now() - interval '10 hours'));
create_endpoint($node, $receiver, 'well', '/well', dbname => 'shop');
my $hours = q(SELECT coalesce(sum(attempts), 0) FROM webhook_outbox.error_rollup
	WHERE resolution = 60);
my $at_gate = q(SELECT count(*) > 0 FROM pg_stat_activity
	WHERE backend_type = 'webhook_outbox maintenance' AND datname = 'shop'
	AND wait_event = 'PgSleep');

is_run('it runs by itself');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.maintenance_status
		WHERE state <> 'ok' OR run_by <> 'dispatcher' OR problem IS NOT NULL)),
	'0', 'every step of it');
wait_for_sql($node, $at_gate, 'another one is under way', 'postgres');
publish($node, 'order.created', '{}', 'shop');
$receiver->wait_for('/well', 1, 'delivery does not wait for it');
is(sql_value($node, $hours, 'shop'), '0', 'what it has joined is not committed');

$node->stop('immediate');
my $crashed_at = -s $node->logfile;
$node->start;
is(sql_value($node, $hours, 'shop'), '0', 'after a crash nothing is joined');
$node->safe_psql('shop', 'UPDATE gate SET is_open = true');
is_run('after the restart it runs again', 'shop');
is(sql_value($node, $hours, 'shop'), '27090', 'and has joined everything, once');
is( sql_value(
		$node, q(SELECT state || ': ' || error FROM webhook_outbox.maintenance_status
		WHERE step = 'broken'), 'shop'),
	'failing: out of order', 'a step that fails is shown');
$node->safe_psql('shop', 'SELECT webhook_outbox.maintain()');
is( sql_value(
		$node, q(SELECT failures FROM webhook_outbox.maintenance_status
		WHERE step = 'broken'), 'shop'),
	'2', 'and tried again at each run');
is( n_logged($node, qr/WARNING: .*step "broken" failed: out of order/, $crashed_at),
	1, 'but logged once');

my $words = qr/WARNING: .*cannot run its maintenance: no worker slot is free/;
wait_until(sub { n_logged($full, $words) },
	'without a free worker slot the log says so');
is( sql_value(
		$full, q(SELECT DISTINCT state || ': ' || problem
		FROM webhook_outbox.maintenance_status)),
	'never run: no worker slot is free for maintenance: raise max_worker_processes',
	'and maintenance_status, with the setting to raise');
is($full->psql('postgres', 'SELECT webhook_outbox.maintain()'),
	0, 'a session can run it');
is( sql_value(
		$full, q(SELECT count(*) FROM webhook_outbox.maintenance_status
		WHERE state <> 'ok' OR run_by <> 'session' OR problem IS NOT NULL)),
	'0', 'then all is well');
is(n_logged($full, $words), 1, 'it is said once');
$full->append_conf('postgresql.conf', 'max_worker_processes = 8');
$full->restart;
is_run('with enough slots the dispatcher does it', 'postgres', $full);

is( sql_value(
		$off, q(SELECT DISTINCT state || ': ' || problem
		FROM webhook_outbox.maintenance_status)),
	'never run: webhook_outbox.maintenance is off, and nobody else calls maintain()',
	'switched off, it is not run, and maintenance_status says why');
is(slurp_file($off->logfile) =~ /webhook_outbox maintenance/ ? 1 : 0,
	0, 'nor was it started');
$off->append_conf('postgresql.conf', 'webhook_outbox.maintenance = on');
$off->reload;
is_run('switched on, it is', 'postgres', $off);

$full->stop;
$off->stop;
finish($node, $receiver);
