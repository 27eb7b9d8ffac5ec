# The clock is set forth and back by hours: no sender is taken for dead, no
# delivery is repeated, records and new events do not wait for the old time,
# no retry is lost or early, and metrics count all that is recorded.
# Plain SQL cannot show it: it takes a server whose clock can be set.
use strict;
use warnings FATAL => 'all';
use OwnClock;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(start => 0, conf => "autovacuum = off\n"
	  . 'webhook_outbox.poll_interval = 200ms');
start_with_clock($node);
$node->safe_psql('postgres', 'CREATE EXTENSION webhook_outbox');
create_endpoint($node, $receiver, 'slow', '/delay/3000',
	event_types => "'{slow.*}'");
create_endpoint($node, $receiver, 'well', '/well',
	event_types => "'{order.*}'");
create_endpoint($node, $receiver, 'down', '/down',
	event_types => "'{order.*}'", retry_schedule => "'{10min,1h}'", retry_jitter => 0);
$receiver->script('/down', { status => 503 });

# forth, while a request is under way
my $slow = publish($node, 'slow.one');
$receiver->wait_for_requests('/delay/3000', 1, 'a request is under way');
my $before = sql_value($node, 'SELECT clock_timestamp()');
set_clock(3600);
cmp_ok(sql_value($node, "SELECT extract(epoch FROM clock_timestamp() - '$before') > 3000"),
	'eq', 't', 'an hour passes in a moment');
wait_for_sql(
	$node, qq(SELECT state = 'delivered' FROM webhook_outbox.delivery_status
	WHERE event_id = '$slow'), 'the request is recorded');
is($receiver->stats('/delay/3000')->{requests}, 1, 'it was not made again');
is( sql_value(
		$node, q(SELECT sum(restarts) FROM webhook_outbox.worker_status
		WHERE process = 'sender')),
	'0', 'no sender was taken for dead');

my $order = publish($node, 'order.one');
$receiver->wait_for('/well', 1, 'events are delivered');
$receiver->wait_for_requests('/down', 1, 'one fails');
wait_for_sql(
	$node, q(SELECT count(*) = 1 FROM webhook_outbox.delivery
	WHERE state = 'retrying'), 'and waits for its retry');

# back by two hours: records are few, so they would wait for company
set_clock(-3600);
publish($node, 'order.two');
$receiver->wait_for('/well', 2, 'set back, events are delivered');
wait_for_sql(
	$node, q(SELECT count(*) = 2 FROM webhook_outbox.delivery
	WHERE state = 'retrying'), 'failures are recorded');
wait_for_sql(
	$node, q(SELECT count(*) = 0 FROM webhook_outbox.new_event),
	'the cursor moves on');
is(n_logged($node, qr/clock was set back by 7\d\d\d\./), 1,
	'the log says so once');
$node->safe_psql('postgres', q(
	BEGIN; INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.three', '3');
	SELECT pg_notify('x', ''); COMMIT));
$receiver->wait_for('/well', 3, 'and again');
is($receiver->stats('/down')->{requests}, 3, 'no retry is early');

# forth: the retries of before and after are due
set_clock(7200);
$receiver->wait_for_requests('/down', 6, 'no retry is lost');
is(sql_value($node, q(SELECT count(*) FROM webhook_outbox.attempt WHERE outcome = 'unknown')),
	'0', 'and no attempt has an outcome that nobody knows');

# What the metrics say was delivered, up to now and at any time.
sub counted
{
	return sql_value($node, q(
		SELECT (SELECT value FROM webhook_outbox.signal
		        WHERE scope = 'overall' AND time_window = '24h' AND signal = 'deliveries'),
		       (SELECT sum(delivered) FROM webhook_outbox.counter_facts()),
		       (SELECT count(*) FROM webhook_outbox.open_attempts())));
}

# An orderly end of the dispatcher writes what it has counted.
sub restart_dispatcher
{
	my $pid = worker_pid($node, 'dispatcher');

	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	return worker_pid($node, 'dispatcher', $pid);
}

# set back, rollups are written for hours that have been joined already
$node->safe_psql('postgres', "DELETE FROM webhook_outbox.endpoint WHERE name = 'down'");
my $n_before = sql_value($node,
	q(SELECT count(*) FROM webhook_outbox.attempt WHERE outcome = 'delivered'));
restart_dispatcher();
$node->safe_psql('postgres', "SELECT webhook_outbox.maintain('rollup_hours')");
is(sql_value($node, q(SELECT hour_until > now() - interval '2 hours' FROM webhook_outbox.rollup_watermark)),
	't', 'the hours that are over are joined');
set_clock(0);
publish($node, 'order.four') for 1 .. 5;
$receiver->wait_for('/well', 8, 'set back, events are delivered once more');
restart_dispatcher();
is(counted(), join('|', ($n_before + 5) x 2, 0),
	'what was recorded after that is counted');
publish($node, 'order.five') for 1 .. 2;
$receiver->wait_for('/well', 10, 'and more');
all_delivered($node, 'all is recorded');
# and is on disk, which asynchronous commits are a moment later
$node->safe_psql('postgres', "SELECT pg_logical_emit_message(true, '', '')");
$node->stop('immediate');
start_with_clock($node);
worker_pid($node, 'dispatcher');
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.open_attempts()',
	'what a crash left open is rolled up');
is(counted(), join('|', ($n_before + 7) x 2, 0), 'and counted too');

# What is due without the dispatcher's knowledge is found when it looks at all that waits,
# once a minute: of more endpoints than it looks at in one go, and in each state.
my $n_many = 1200;
my $many = "SELECT endpoint_id FROM webhook_outbox.endpoint WHERE name LIKE 'many%'";
$node->safe_psql('postgres', qq(
	SELECT webhook_outbox.create_endpoint('many' || n, '@{[ $receiver->url('/many') ]}',
	  event_types => '{none}') FROM generate_series(1, $n_many) n));
my %id_of = map { $_ => publish($node, 'nobody.' . $_) } qw(parked retrying cancelled);
for my $state (sort keys %id_of)
{
	$node->safe_psql('postgres', qq(
		INSERT INTO webhook_outbox.delivery (endpoint_id, event_id, next_attempt_at, state)
		SELECT endpoint_id, '$id_of{$state}', now(), '$state' FROM ($many) p));
}
set_clock(70);
publish($node, 'order.six');
wait_for_sql($node, qq(SELECT count(*) = 2 * $n_many FROM webhook_outbox.attempt
	WHERE outcome = 'delivered' AND endpoint_id IN ($many)), 'what is due to many endpoints is found');
is(sql_value($node, "SELECT string_agg(DISTINCT state, ',') || count(*) FROM webhook_outbox.delivery"),
	"cancelled$n_many", 'and what is cancelled is left');

# back, while a worker that was told to end waits for a request that may take
# minutes
create_endpoint($node, $receiver, 'held', '/hold',
	event_types => "'{held}'", timeout => "'5 min'");
publish($node, 'held');
$receiver->wait_for_requests('/hold', 1, 'a request is under way again');
my $dispatcher = worker_pid($node, 'dispatcher');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($dispatcher)");
wait_for_sql($node, q(SELECT state = 'stopping' FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher'), 'the dispatcher is told to end');
set_clock(-3600);
isnt(worker_pid($node, 'dispatcher', $dispatcher),
	$dispatcher, 'it does so though the request is held');
$receiver->wait_for_requests('/hold', 2, 'the next one makes it again');
my $n_senders = q(SELECT sum(restarts) FROM webhook_outbox.worker_status WHERE process = 'sender');
is(sql_value($node, $n_senders), '0', 'it has the sender that it began with');
kill 'TERM', sql_value($node, q(SELECT pid FROM webhook_outbox.worker_status
	WHERE process = 'sender'));
# it sees that at once, and has done so when this is answered
sql_value($node, 'SELECT 1');
set_clock(-7200);
wait_for_sql($node, "SELECT ($n_senders) = 1", 'a sender that is told to end does, too');

# signatures hold the time, and the receiver's clock is another one
finish($node);
