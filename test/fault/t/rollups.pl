# Thousands of rows of rollups are written in slices. What they and the open part of
# attempt say together is what was recorded: between two slices, while events flow,
# and after the server has died there, or a slice could not be written.
#
# Settings: FAULT_ENDPOINTS (each makes three rows a minute).
use strict;
use warnings FATAL => 'all';
use Fault;
use OwnClock;
use Test::More;
use WebhookOutbox;

my $n_endpoints = fault_size(10_000, 1_000, 'ENDPOINTS');
my @strikes = fault_size(1, 0)
  ? map { my $n = $_; map { [ @$_, $n ] } [ mid_rollup => 'kill' ], [ after_rollup => 'immediate' ],
	[ after_rollup => 'flushed' ], [ after_rollup => 'exit' ] } 1, 2, 5
  : ([ mid_rollup => 'kill', 2 ], [ after_rollup => 'flushed', 2 ]);
my ($minute, $n_published) = (0, 0);

my $node = start_node(start => 0, conf => "webhook_outbox.poll_interval = 200ms\n"
	  . "webhook_outbox.max_series = 100000\nrestart_after_crash = on\n");
start_with_clock($node);
$node->safe_psql('postgres', 'CREATE EXTENSION webhook_outbox');
my $world = fault_world(node => $node, restart => \&start_with_clock, endpoints => []);
my $url = $world->receiver->url('');
$node->safe_psql('postgres', qq(
	SELECT count(webhook_outbox.create_endpoint('e' || n, '$url/' || CASE WHEN n % 50 = 0
		THEN 'status/400/bad' ELSE 'well' END, event_types => '{order.*}', retry_schedule => '{7 days}'))
	FROM generate_series(1, $n_endpoints) n));

# Two events for every endpoint; the first are recorded and the minute is over
# before anything else happens.
sub publish_to_all
{
	$node->safe_psql('postgres', q(INSERT INTO webhook_outbox.event (type, payload)
		VALUES ('order.paid', '1'), ('order.sent', '2')));
	$n_published += 2;
	return;
}

sub wait_recorded
{
	my ($when) = @_;

	return wait_for_sql($node, 'SELECT count(*) = ' . $n_published * $n_endpoints
		  . ' FROM webhook_outbox.attempt', "$when: all is recorded");
}

sub next_minute { return set_clock(++$minute * 61); }

# How many endpoints, series and errors of endpoints have other numbers in what
# readers add up than in attempt; one statement sees one moment.
sub n_different
{
	return sql_value($node, q(
		WITH told AS (
		  SELECT endpoint_id, attempts, failures FROM webhook_outbox.endpoint_rollup UNION ALL
		  SELECT endpoint_id, attempts, failures FROM webhook_outbox.open_endpoint_minutes()),
		series_told AS (
		  SELECT i.endpoint_id, i.event_type, r.attempts, r.failures
		  FROM webhook_outbox.series_rollup r JOIN webhook_outbox.series i USING (series_id) UNION ALL
		  SELECT endpoint_id, event_type, attempts, failures FROM webhook_outbox.open_series_minutes()),
		errors_told AS (
		  SELECT endpoint_id, attempts FROM webhook_outbox.error_rollup UNION ALL
		  SELECT endpoint_id, attempts FROM webhook_outbox.open_error_minutes()),
		told_at_all AS (
		  SELECT endpoint_id, '' AS type, sum(attempts) AS n, sum(failures) AS n_failed FROM told GROUP BY 1 UNION ALL
		  SELECT endpoint_id, event_type, sum(attempts), sum(failures) FROM series_told GROUP BY 1, 2 UNION ALL
		  SELECT endpoint_id, '(error)', sum(attempts), 0 FROM errors_told GROUP BY 1),
		recorded AS (
		  SELECT endpoint_id, '' AS type, count(*) AS n, count(*) FILTER (WHERE outcome <> 'delivered') AS n_failed
		  FROM webhook_outbox.attempt GROUP BY 1 UNION ALL
		  SELECT a.endpoint_id, e.type, count(*), count(*) FILTER (WHERE a.outcome <> 'delivered')
		  FROM webhook_outbox.attempt a JOIN webhook_outbox.event e ON e.id = a.event_id GROUP BY 1, 2 UNION ALL
		  SELECT endpoint_id, '(error)', count(*), 0 FROM webhook_outbox.attempt WHERE outcome <> 'delivered' GROUP BY 1)
		SELECT count(*) FROM told_at_all t FULL JOIN recorded r USING (endpoint_id, type)
		WHERE t.n IS DISTINCT FROM r.n OR t.n_failed IS DISTINCT FROM r.n_failed));
}

sub is_writing
{
	return sql_value($node, 'SELECT written_to IS NOT NULL FROM webhook_outbox.open_rollup') eq 't';
}

sub wait_written
{
	my ($when) = @_;

	return wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.open_attempts()',
		"$when: all is in rollups");
}

note("$n_endpoints endpoints");
publish_to_all();
wait_recorded('at first');
is(n_different(), '0', 'before anything is written');

my $dispatcher = worker_pid($node, 'dispatcher');
$world->arm('after_rollup', 'stop');
next_minute();
ok($world->wait_reached, 'a slice is written');
ok(is_writing(), 'which is not the last one');
is(n_different(), '0', 'between two slices');
kill 'CONT', $dispatcher;
my ($n_looks, $n_wrong) = (0, 0);
publish_to_all();
while (is_writing())
{
	$n_looks++;
	$n_wrong += n_different() ne '0';
}
is($n_wrong, 0, "while slices are written and events flow ($n_looks looks)");
wait_recorded('while slices are written');
next_minute();
wait_written('then');
is(n_different(), '0', 'when all is written');

for (@strikes)
{
	my ($point, $action, $times) = @$_;
	my $when = "$action at $point, slice $times";

	publish_to_all();
	wait_recorded("before $when");
	is($world->strike_at($point, $action, \&next_minute, $times), $point, "the server dies: $when");
	is(n_different(), '0', "right after $when");
	$world->wait_for('the next dispatcher works', sub { $world->workers('dispatcher') });
	publish_to_all();
	wait_recorded("after $when");
	next_minute();
	wait_written("after $when");
	is(n_different(), '0', "once more after $when");
}

# Metrics cannot be written while this table is locked, and nothing else suffers;
# the trigger makes somebody try. Afterwards nothing is missing.
sub hold_up
{
	my ($table, $when, $trigger, $meanwhile) = @_;
	my $words = qr/could not write metrics: /;

	publish_to_all();
	wait_recorded("before $when");
	my $holder = $node->background_psql('postgres');
	my $n_before = n_logged($node, $words);
	$holder->query_safe("BEGIN; LOCK TABLE webhook_outbox.$table IN ACCESS EXCLUSIVE MODE");
	$trigger->();
	wait_until(sub { n_logged($node, $words) > $n_before }, "$when, metrics wait");
	$meanwhile->() if $meanwhile;
	$holder->query_safe('COMMIT');
	$holder->quit;
	publish_to_all();
	wait_recorded("after $when");
	is(n_different(), '0', "after $when");
	next_minute();
	wait_written("after $when");
	return is(n_different(), '0', "a minute after $when");
}

$dispatcher = worker_pid($node, 'dispatcher');
my $leaf = sql_value($node, q(SELECT 'attempt_' || slot FROM webhook_outbox.ring_leaf
	WHERE ring = 'attempt' ORDER BY turn DESC LIMIT 1));
hold_up($leaf, 'the leaf of attempts is locked when the minute ends', \&next_minute);
is(worker_pid($node, 'dispatcher'), $dispatcher, 'all in the same process');
hold_up('endpoint_rollup', 'a rollup is locked when a dispatcher begins',
	sub { $node->safe_psql('postgres', "SELECT pg_terminate_backend($dispatcher)") },
	sub { publish_to_all(); wait_recorded('behind the lock') });

# one that fails is no reason to stop: what is missing is written a minute later
publish_to_all();
wait_recorded('before an error');
$world->arm('mid_rollup', 'error', 3);
next_minute();
ok($world->wait_reached, 'a slice fails');
publish_to_all();
wait_recorded('after an error');
is(n_different(), '0', 'after an error');
next_minute();
wait_written('after an error');
is(n_different(), '0', 'a minute after an error');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.endpoint_rollup r '
	. 'WHERE bucket > now() OR resolution <> 1'), '0', 'every bucket has begun');
$world->finish;
