# Deleting an endpoint turns what it was owed into dead letters; others and the
# workers are not troubled.
# Plain SQL cannot show it: the dispatcher does it, with requests in flight.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'doomed', '/hold', max_in_flight => 2);
create_endpoint($node, $receiver, 'retrying', '/status/500',
	retry_schedule => "'{1h}'");
create_endpoint($node, $receiver, 'well', '/well');
publish($node, 'order.created') for 1 .. 5;
$receiver->wait_for('/well', 5, 'others get the events');
$receiver->wait_for_requests('/hold', 2, 'two requests are under way');
$receiver->wait_for_requests('/status/500', 5, 'and five retries wait');
wait_for_sql(
	$node, q(SELECT count(*) = 5 FROM webhook_outbox.delivery
	WHERE state = 'retrying'), 'in delivery');

$node->safe_psql('postgres',
	"DELETE FROM webhook_outbox.endpoint WHERE name IN ('doomed', 'retrying')");
wait_for_sql(
	$node, q(
	SELECT count(*) = 8 AND count(DISTINCT event_id) = 5
	FROM webhook_outbox.dead_letter WHERE reason = 'endpoint_deleted'),
	'what waited are dead letters with that reason');
publish($node, 'order.paid');
$receiver->wait_for('/well', 6, 'others go on');
$receiver->release('/hold');
wait_for_sql(
	$node, q(SELECT count(*) = 2 FROM webhook_outbox.attempt
	WHERE outcome = 'delivered' AND endpoint_id NOT IN (
	  SELECT endpoint_id FROM webhook_outbox.endpoint)),
	'what was under way counts as its answer says');
all_delivered($node, 'nothing more is owed');
is($receiver->stats('/hold')->{requests}, 2, 'nothing more is sent to it');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.delivery'),
	'0', 'nothing is left in delivery');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.dead_letter'),
	'8', 'and stays no dead letter');

finish($node, $receiver);
