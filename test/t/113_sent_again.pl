# A request whose kept connection ends before any answer is sent again on another
# one: in one attempt, of which nothing has come so far.
# Plain SQL cannot show it: it takes a receiver that drops connections.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.max_payload = 4MB\n");

# libcurl looks many times at a request that is so big, after which what comes
# is counted
create_endpoint($node, $receiver, 'forgetful', '/keep/1',
	event_types => q('{big}'), max_in_flight => 1, timeout => "'5 min'");
publish($node, 'big', sprintf '"%s"', 'x' x 3_000_000) for 1 .. 2;
all_delivered($node, 'requests are delivered whose connection is closed');
is( sql_value($node, q(
		SELECT string_agg(concat_ws(' ', number, outcome, http_status, error), ', ')
		FROM webhook_outbox.attempt)),
	'1 delivered 200, 1 delivered 200', 'each in its first attempt');
my ($first, $dropped, $again) = $receiver->requests('/keep/1');
is_deeply([ $dropped->{conn}, $dropped->{status} ],
	[ $first->{conn}, 0 ], 'the second request met a connection that ended');
is_deeply([ $again->{id}, $again->{status}, $again->{conn} != $first->{conn} ],
	[ $dropped->{id}, 200, !!1 ], 'and came again on another one');

# both times together are bounded by the time that the endpoint has
create_endpoint($node, $receiver, 'late', '/late', event_types => q('{late}'),
	max_in_flight => 1, retry_schedule => "'{1h}'", timeout => "'3 s'");
$receiver->script('/late', { status => 200 });
publish($node, 'late');
$receiver->wait_for('/late', 1, 'an event is delivered');
$receiver->script('/late', { act => 'drop', delay => 2000 });
publish($node, 'late');
wait_for_sql($node, q(SELECT count(*) = 2 FROM webhook_outbox.attempt
	JOIN webhook_outbox.endpoint USING (endpoint_id) WHERE name = 'late'),
	'the next one is dropped late, twice');
is($receiver->stats('/late')->{requests}, 3, 'it was sent again');
like(
	sql_value($node, q(SELECT outcome, error FROM webhook_outbox.attempt
		JOIN webhook_outbox.endpoint USING (endpoint_id)
		WHERE name = 'late' AND outcome <> 'delivered')),
	qr/^timeout\|no answer after 3\.\d s$/, 'and got no more time for that');

finish($node, $receiver);
