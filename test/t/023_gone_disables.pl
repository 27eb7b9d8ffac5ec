# HTTP 410 disables the endpoint and loses nothing: deliveries wait until it is
# enabled again.
# Plain SQL cannot show it: the 410 comes from a receiver.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
$receiver->script('/gone', { status => 410 });
create_endpoint($node, $receiver, 'gone', '/gone', max_in_flight => 1,
	retry_schedule => "'{10ms,10ms}'");
create_endpoint($node, $receiver, 'well', '/well');
my @ids = map { publish($node, 'order.created') } 1 .. 3;

wait_for_sql(
	$node, q(SELECT NOT enabled AND disabled_at IS NOT NULL
	  AND disabled_reason LIKE '%410%'
	FROM webhook_outbox.endpoint WHERE name = 'gone'),
	'the endpoint is disabled and says why');
push @ids, publish($node, 'order.paid');
$receiver->wait_for('/well', 4, 'others go on');
is($receiver->stats('/gone')->{requests}, 1, 'nothing more is sent to it');
wait_for_sql(
	$node, q(SELECT count(*) = 4 AND bool_and(state IN ('pending', 'retrying'))
	FROM webhook_outbox.delivery_status WHERE endpoint_name = 'gone'),
	'its deliveries wait');

$receiver->script('/gone', { status => 200 });
$node->safe_psql('postgres',
	"UPDATE webhook_outbox.endpoint SET enabled = true WHERE name = 'gone'");
$receiver->wait_for('/gone', 4, 'enabled again, it gets all of them');
all_delivered($node, 'and they are recorded');
is( sql_value(
		$node, q(SELECT disabled_reason IS NULL AND disabled_at IS NULL
		FROM webhook_outbox.endpoint WHERE name = 'gone')),
	't', 'the reason is cleared');

# A lock that somebody has on it only puts that off.
my $session = $node->background_psql('postgres');
$session->query_safe(q(BEGIN; SELECT FROM webhook_outbox.endpoint
	WHERE name = 'gone' FOR UPDATE));
$receiver->script('/gone', { status => 410 });
my $locked = publish($node, 'order.created');
wait_for_sql(
	$node, qq(SELECT count(*) > 0 FROM webhook_outbox.attempt
	WHERE event_id = '$locked' AND http_status = 410),
	'a 410 is recorded while the endpoint is locked');
$session->query_safe('ROLLBACK');
$session->quit;
wait_for_sql(
	$node, q(SELECT NOT enabled FROM webhook_outbox.endpoint
	WHERE name = 'gone'), 'unlocked, it is disabled');

# Nor does what is wrong with the rest of it, and came past the checks.
my $pid = worker_pid($node, 'dispatcher');
$node->safe_psql(
	'postgres', q(BEGIN;
	UPDATE webhook_outbox.endpoint SET enabled = true WHERE name = 'gone';
	SET LOCAL session_replication_role = replica;
	UPDATE webhook_outbox.endpoint SET max_in_flight = 2000 WHERE name = 'gone';
	COMMIT));
wait_for_sql(
	$node, q(SELECT NOT enabled FROM webhook_outbox.endpoint
	WHERE name = 'gone'), 'with a column out of range, it is disabled');
is(worker_pid($node, 'dispatcher'), $pid, 'by the same dispatcher');

finish($node, $receiver);
