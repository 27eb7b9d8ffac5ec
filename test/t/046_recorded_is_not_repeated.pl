# After a restart no event is sent again that is on record, however many of them
# lie behind one that is not settled.
# Plain SQL cannot show it: the server has to be restarted.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $n = 45_000;    # more than twice what is read between two cursors
my $receiver = start_receiver();
# no window that fills up, so nothing is parked and the cursor stays
my $node = start_node(conf => "webhook_outbox.window_events = 1000000\n"
	  . 'webhook_outbox.window_size = 1GB');
create_endpoint($node, $receiver, 'held', '/hold',
	event_types => "'{order.held}'", timeout => "'5 minutes'");
create_endpoint($node, $receiver, 'well', '/well',
	event_types => "'{order.created}'", max_in_flight => 256);

publish($node, 'order.held');
$receiver->wait_for_requests('/hold', 1, 'a request is under way');
publish_many($node, 'order.created', $n);
$receiver->wait_for('/well', $n, 'many events behind it are delivered');
wait_for_sql(
	$node, qq(SELECT count(*) = $n FROM webhook_outbox.attempt
	WHERE outcome = 'delivered'), 'and recorded');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.new_event'),
	$n + 1, 'while the cursor stands before them');

$node->restart;
$receiver->wait_for_requests('/hold', 2,
	'what did not end in time is sent again');
$receiver->script('/hold', { status => 200 });
$receiver->release('/hold');
publish($node, 'order.created');
$receiver->wait_for('/well', $n + 1, 'new events are delivered');
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.new_event',
	'the cursor passes them all');
is($receiver->stats('/well')->{requests},
	$n + 1, 'nothing else was sent again');

finish($node, $receiver);
