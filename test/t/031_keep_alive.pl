# Requests reuse connections, and no more than max_in_flight are open.
# Plain SQL cannot show it: only the receiver sees connections.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'narrow', '/delay/5', max_in_flight => 3);
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

finish($node, $receiver);
