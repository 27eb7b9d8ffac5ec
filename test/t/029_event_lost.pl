# A delivery whose event is gone from its table, which takes damage, becomes a
# dead letter that tells of its last attempt; others go on.
# Plain SQL cannot show it: the dispatcher has to miss the event.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
$receiver->script('/down', { status => 503, body => 'closed for today' });
create_endpoint($node, $receiver, 'down', '/down',
	retry_schedule => "'{1h,1h}'");
create_endpoint($node, $receiver, 'paused', '/paused', enabled => 'false');
create_endpoint($node, $receiver, 'well', '/well');
my $lost = publish($node, 'order.created', '{"order_id": 42}');
my $kept = publish($node, 'order.paid', '{"order_id": 43}');
$receiver->wait_for('/well', 2, 'events are delivered');
wait_for_sql(
	$node, q(SELECT count(*) = 4 FROM webhook_outbox.delivery
		WHERE state = 'retrying' OR state = 'parked'),
	'they wait for a retry, and for a paused endpoint');
my $last_attempt = sql_value(
	$node, qq(SELECT started_at FROM webhook_outbox.attempt
		JOIN webhook_outbox.endpoint USING (endpoint_id)
		WHERE event_id = '$lost' AND name = 'down'));

$node->safe_psql('postgres',
	"SET session_replication_role = replica; "
	  . "DELETE FROM webhook_outbox.event WHERE id = '$lost'");
$receiver->script('/down', { status => 200 });
$node->safe_psql(
	'postgres', q(
	SELECT webhook_outbox.retry_now('down');
	SELECT webhook_outbox.resume_endpoint('paused')));
$receiver->wait_for("/$_", 1, "what is still there reaches $_")
  for qw(down paused);
wait_for_sql($node, 'SELECT count(*) = 2 FROM webhook_outbox.dead_letter',
	'what is gone is given up, for both');
is( sql_value(
		$node, q(SELECT endpoint_name, reason, attempts, first_attempt_at,
			last_attempt_at, last_outcome, last_status, last_error, last_response
		FROM webhook_outbox.dead_letter ORDER BY endpoint_name)),
	"down|event_lost|1|$last_attempt|$last_attempt|http_error|503|HTTP 503|closed for today\n"
	  . 'paused|event_lost|0||||||',
	'its dead letter tells of the last attempt, if there was one');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.delivery'),
	'0', 'nothing waits any more');
is(join(' ', $receiver->accepted_ids('/down'), $receiver->accepted_ids('/paused')),
	"$kept $kept", 'nobody got what is gone');
like(
	sql_value($node, "SELECT webhook_outbox.explain_event('$lost')"),
	qr/"down": given up after 1 attempt, for the event itself is lost/,
	'explain_event says so');

# there is nothing to send again
is(sql_value($node, 'SELECT webhook_outbox.redeliver_dead_letters()'),
	'0', 'redeliver_dead_letters leaves them');
my ($rc, undef, $said) = $node->psql('postgres',
	"SELECT webhook_outbox.redeliver('$lost', 'down')");
isnt($rc, 0, 'redeliver fails');
like($said, qr/event $lost .*\n.*HINT/, 'and says why');
$node->safe_psql('postgres', "SELECT webhook_outbox.discard('$lost', 'down')");
is(sql_value($node, 'SELECT endpoint_name FROM webhook_outbox.dead_letter'),
	'paused', 'a person can discard one');

finish($node, $receiver);
