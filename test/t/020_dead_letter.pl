# After the last attempt a delivery is a dead letter; sent again it arrives with
# its old id, in a transaction that can roll back.
# Plain SQL cannot show it: it takes a receiver that fails and is repaired.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();

# Whoever explains all statements sees those of workers in the log.
my $node = start_node(preload => 0, conf => <<'CONF');
shared_preload_libraries = 'webhook_outbox, auto_explain'
auto_explain.log_min_duration = 0
CONF
$receiver->script('/dead', { status => 500, body => 'out of order' });
create_endpoint($node, $receiver, 'dead', '/dead',
	retry_schedule => "'{20ms,20ms}'");
create_endpoint($node, $receiver, 'well', '/well');
my $id = publish($node, 'order.created', '{"order_id": 42}');

wait_for_sql(
	$node, q(SELECT reason = 'attempts_exhausted' AND attempts = 3
	  AND last_status = 500 AND last_response = 'out of order'
	  AND endpoint_name = 'dead' AND event_type = 'order.created'
	  AND first_attempt_at < last_attempt_at
	FROM webhook_outbox.dead_letter),
	'the dead letter has all that a person needs');
is( sql_value(
		$node, qq(SELECT endpoint_name, state FROM webhook_outbox.delivery_status
		WHERE event_id = '$id' ORDER BY 1)),
	"dead|dead\nwell|delivered", 'the other endpoint has the event');
is($receiver->stats('/dead')->{requests}, 3, 'there were three requests');
my $states = q(SELECT name, state FROM webhook_outbox.endpoint_status
	ORDER BY name);
is(sql_value($node, $states),
	"dead|failing\nwell|idle", 'an endpoint with nothing to retry still fails');

# the dispatcher gets to see what was rolled back, if it can see it at all
my $redeliver = "SELECT webhook_outbox.redeliver('$id', 'dead')";
$node->safe_psql('postgres', "BEGIN; $redeliver; ROLLBACK");
my $witness = publish($node, 'order.paid');
$receiver->wait_for('/well', 2, 'a later event is delivered');
wait_for_sql($node, 'SELECT count(*) = 2 FROM webhook_outbox.dead_letter',
	'and dies at the other endpoint');
is($receiver->stats('/dead')->{requests},
	6, 'a redelivery that was rolled back is not sent');

$receiver->script('/dead', { status => 200 });
$node->safe_psql('postgres', $redeliver);
$receiver->wait_for('/dead', 1, 'a redelivery that was committed arrives');
all_delivered($node, 'and is recorded');
my @requests = $receiver->requests('/dead');
is($requests[-1]{id}, $id, 'with its old id');
is($requests[-1]{body}, $requests[0]{body}, 'and its old body');
is( sql_value(
		$node, qq(SELECT state, attempts FROM webhook_outbox.delivery_status
		WHERE event_id = '$id' AND endpoint_name = 'dead')),
	'delivered|4', 'attempts go on counting');
is( sql_value($node, 'SELECT event_id FROM webhook_outbox.dead_letter'),
	$witness, 'its dead letter is gone, the other one stays');

sql_value($node,
	"SELECT webhook_outbox.redeliver_dead_letters(endpoint => 'dead')");
$receiver->wait_for('/dead', 2, 'redeliver_dead_letters sends the rest');
all_delivered($node, 'and it is recorded');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.dead_letter'),
	'0', 'no dead letter is left');
is(sql_value($node, $states), "dead|idle\nwell|idle", 'and nothing fails');

ok(n_logged($node, 'INSERT INTO webhook_outbox\.dead_letter', 0) > 0, 'statements of the dispatcher are in the log');
is(n_logged($node, 'Query Parameters:[^\n]*out of order', 0), 0, 'but not what receivers answer');

finish($node, $receiver);
