# Requests reuse connections, and no more than max_in_flight are open.
# Plain SQL cannot show it: only the receiver sees connections.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'narrow', '/delay/5', max_in_flight => 3,
	event_types => "'{order.*}'");
publish_many($node, 'order.created', 300);
$receiver->wait_for('/delay/5', 300, 'all events arrive');
is($receiver->stats('/delay/5')->{max_in_flight},
	3, 'three requests at a time, no more and no fewer');
my %conns = map { $_->{conn} => 1 } $receiver->requests('/delay/5');
cmp_ok(scalar keys %conns, '<=', 3, 'over as many connections');
all_delivered($node, 'all is recorded');
is( sql_value(
		$node, q(SELECT count(*) >= 297 FROM webhook_outbox.attempt
		WHERE connect_ms = 0)),
	't', 'attempts say that the connection was reused');

# what an answer may bring is counted for each by itself
create_endpoint($node, $receiver, 'talkative', '/big/60000',
	event_types => "'{talk}'", max_in_flight => 1);
publish($node, 'talk') for 1 .. 12;
all_delivered($node, 'answers of 60 kB each are in order');
%conns = map { $_->{conn} => 1 } $receiver->requests('/big/60000');
is(scalar keys %conns, 1, 'over one connection');

# of longer ones the rest is left, and the next request is not taken for it
create_endpoint($node, $receiver, 'verbose', '/big/1000000',
	event_types => "'{long}'", max_in_flight => 1);
publish($node, 'long') for 1 .. 5;
all_delivered($node, 'answers of 1 MB each are in order');
%conns = map { $_->{conn} => 1 } $receiver->requests('/big/1000000');
is(scalar keys %conns, 5, 'each over a connection of its own');

# closing a connection that was used before may be no answer: it is sent again,
# but not on all others that are kept
create_endpoint($node, $receiver, 'kept', '/delay/100/kept',
	event_types => "'{kept}'", max_in_flight => 6, retry_schedule => "'{1h}'");
$node->safe_psql(
	'postgres', q(
	INSERT INTO webhook_outbox.event (type, payload)
	SELECT 'kept', to_json(n) FROM generate_series(1, 6) n));
all_delivered($node, 'six connections are kept');
$receiver->script('/delay/100/kept', { act => 'drop' });
my $id = publish($node, 'kept');
wait_for_sql(
	$node, qq(
	SELECT outcome = 'protocol_error' FROM webhook_outbox.attempt
	  JOIN webhook_outbox.endpoint USING (endpoint_id)
	WHERE event_id = '$id' AND name = 'kept'), 'an event gets no answer');
is(scalar(grep { $_->{id} eq $id } $receiver->requests('/delay/100/kept')),
	2, 'it was sent on one of them, and on a new one');

finish($node, $receiver);
