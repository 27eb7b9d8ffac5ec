# An event whose payload is made by a function that publishes too is stored, also
# if the ring turns while that function runs.
# Plain SQL cannot show it: the dispatcher has to turn the ring.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.event_retention = '6s'\n");

create_endpoint($node, $receiver, 'well', '/ok');
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION turn() RETURNS bigint LANGUAGE sql VOLATILE AS
	'SELECT max(turn) FROM webhook_outbox.ring_leaf WHERE ring = ''event''';
	CREATE FUNCTION told() RETURNS json LANGUAGE plpgsql AS $$
	DECLARE
	  before bigint := turn();
	  tick interval := '20 ms';
	BEGIN
	  WHILE turn() = before LOOP
	    PERFORM pg_sleep_for(tick);
	  END LOOP;
	  RETURN to_json(webhook_outbox.publish('order.told', '{}'));
	END $$));
my ($rc, $out, $err) = $node->psql('postgres',
	q(INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', told())));
is($err, '', 'the event is stored');
$receiver->wait_for('/ok', 2, 'it is delivered, and so is what the function told');
($rc, $out, $err) = $node->psql('postgres',
	q(INSERT INTO webhook_outbox.event (type, payload, slot) VALUES ('order.created', '{}', 8)));
like($err, qr/column "slot" of an event cannot be set/, 'nobody sets the leaf by hand');

finish($node, $receiver);
