# A cancelled delivery is not sent any more, also when its attempt is under way.
# Plain SQL cannot show it: only a receiver knows what was not sent.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'failing', '/status/500',
	retry_schedule => "'{300ms,300ms,300ms,300ms,300ms}'",
	retry_jitter => 0);
create_endpoint($node, $receiver, 'slow', '/hold', max_in_flight => 1);
my $id = publish($node, 'order.created');
my $next = publish($node, 'order.paid');

$receiver->wait_for_requests('/status/500', 1, 'the first attempt fails');
wait_for_sql(
	$node, qq(SELECT count(*) > 0 FROM webhook_outbox.attempt
	WHERE event_id = '$id'), 'and is recorded');
$node->safe_psql('postgres',
	"BEGIN; SELECT webhook_outbox.cancel('$id'); ROLLBACK");
is( sql_value(
		$node, qq(SELECT count(*) FROM webhook_outbox.delivery_status
		WHERE event_id = '$id' AND state = 'cancelled')),
	'0', 'a rolled back cancel does nothing');

# one event to one endpoint, one event to all
$node->safe_psql('postgres', "SELECT webhook_outbox.cancel('$id')");
$node->safe_psql('postgres',
	"SELECT webhook_outbox.cancel('$next', endpoint => 'slow')");
wait_for_sql(
	$node, qq(SELECT bool_or(state = 'cancelled')
	FROM webhook_outbox.delivery_status
	WHERE event_id = '$id' AND endpoint_name = 'failing'),
	'the retry is cancelled');
wait_for_sql(
	$node, qq(SELECT state = 'cancelled' FROM webhook_outbox.delivery_status
	WHERE event_id = '$next' AND endpoint_name = 'slow'),
	'so is a delivery that waits for its turn');
my $n = grep { $_->{id} eq $id } $receiver->requests('/status/500');

# the answer of the request under way comes after the cancel
is($receiver->release('/hold'), 1, 'one request was under way');
wait_for_sql(
	$node, qq(SELECT state = 'dead' FROM webhook_outbox.delivery_status
	WHERE event_id = '$next' AND endpoint_name = 'failing'),
	'the other event goes on to all its retries');
is((grep { $_->{id} eq $id } $receiver->requests('/status/500')),
	$n, 'the cancelled one was not tried again');
is($receiver->stats('/hold')->{requests},
	1, 'what was cancelled while waiting was never sent');
is( sql_value(
		$node, q(SELECT count(*) FROM pg_stat_activity
		WHERE backend_type LIKE 'webhook_outbox dispatcher%')),
	'1', 'the dispatcher took the late answer');

finish($node, $receiver);
