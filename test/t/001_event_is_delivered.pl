# A committed event arrives once, signed, its payload byte for byte.
# Plain SQL cannot show it: it needs a receiver that keeps what came.
use strict;
use warnings FATAL => 'all';
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'envelope', '/envelope');
create_endpoint($node, $receiver, 'raw', '/raw', body_format => "'raw'");

# blanks, order and escapes that a round trip through jsonb would change
my $payload = qq({"b" : 1,  "a":"\\u00e9 \xc3\xbc", "b": 1.50\n});
my $id = publish($node, 'order.created', $payload);
like($id, qr/^[0-9a-f]{8}-[0-9a-f]{4}-7/, 'INSERT returns a UUIDv7');

$receiver->wait_for('/envelope', 1, 'the event arrives');
$receiver->wait_for('/raw', 1, 'and arrives at each endpoint');
my ($request) = $receiver->requests('/envelope');
my ($raw) = $receiver->requests('/raw');

is($request->{signature}, 'valid', 'the signature is right');
is($request->{method}, 'POST', 'it is a POST');
is($request->{id}, $id, 'webhook-id is the id of the event');
like($request->{headers}{'user-agent'}, qr{^webhook_outbox/1\.0},
	'the user agent names the version');
is($request->{headers}{'content-type'},
	'application/json', 'the body is said to be JSON');

my $sent = $payload;
utf8::decode($sent);
is($raw->{body}, $sent, 'raw: the body is the payload, byte for byte');
isnt(index($request->{body}, $sent), -1,
	'envelope: the payload is in it byte for byte');
my $body = decode_json(do { my $b = $request->{body}; utf8::encode($b); $b });
is(join(' ', sort keys %$body), 'created_at data event_id event_type',
	'envelope: has its four keys');
is($body->{event_id}, $id, 'envelope: names the event');
is($body->{event_type}, 'order.created', 'envelope: names the type');

wait_for_sql(
	$node, qq(
	SELECT count(*) = 2 AND bool_and(state = 'delivered' AND attempts = 1)
	FROM webhook_outbox.delivery_status WHERE event_id = '$id'),
	'both deliveries are recorded');
is( sql_value(
		$node, q(SELECT DISTINCT outcome, http_status, number, error
		FROM webhook_outbox.attempt)),
	'delivered|200|1|', 'each as one attempt');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.delivery'),
	'0', 'a delivered event leaves no row in delivery');
is($receiver->stats('/envelope')->{requests}, 1, 'it was sent once');

finish($node, $receiver);
