# What the transaction that creates the extension publishes is delivered, also
# where the extension was before: its ring had turned, the new one's has not.
# Plain SQL cannot show it: such an event is stored, and read by nobody.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
# a ring turns once in a sixth of the retention
my $node = start_node(conf => 'webhook_outbox.event_retention = 6s');
my $create = q(CREATE EXTENSION webhook_outbox;
	SELECT FROM webhook_outbox.create_endpoint('first', '%s');
	INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '1'));

wait_for_sql(
	$node, q(SELECT max(turn) > 1 FROM webhook_outbox.ring_leaf
	WHERE ring = 'event'), 'the ring turns');
$node->safe_psql('postgres',
	'BEGIN; DROP EXTENSION webhook_outbox;'
	  . sprintf($create, $receiver->url('/again'))
	  . '; COMMIT');
$receiver->wait_for('/again', 1,
	'published by the transaction that creates it again, it is delivered');

# The transaction has its xid, and a later one ends before it goes on.
$node->safe_psql('postgres', 'DROP EXTENSION webhook_outbox');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; SELECT pg_current_xact_id()');
$node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
$session->query_safe(sprintf($create, $receiver->url('/late')) . '; COMMIT');
$session->quit;
$receiver->wait_for('/late', 1,
	'so it is if others have ended meanwhile that began later');
all_delivered($node, 'and that is recorded');

finish($node, $receiver);
