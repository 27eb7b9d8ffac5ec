# Each body format is what its specification says.
# Plain SQL cannot show it: the receiver sees body and headers.
use strict;
use warnings FATAL => 'all';
use JSON::PP;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my @formats = qw(envelope standard raw cloudevents cloudevents_binary);
create_endpoint($node, $receiver, $_, "/$_", body_format => "'$_'")
  for @formats;
my $id = sql_value($node,
	q(SELECT webhook_outbox.publish('order.created', '{"order_id": 42}',
	tenant => 'a\\c "me"', source => 'shop/1 "x"%2F')));
my $created_at = sql_value($node,
	q(SET timezone = 'UTC'; SELECT to_char(created_at,
	'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM webhook_outbox.event));
my (%request, %body);
for my $format (@formats)
{
	$receiver->wait_for("/$format", 1, "$format arrives");
	($request{$format}) = $receiver->requests("/$format");
	$body{$format} = decode_json($request{$format}{body});
	is($request{$format}{signature}, 'valid', "$format is signed");
	is($request{$format}{id}, $id, "$format has the webhook-id");
}

my $data = { order_id => 42 };
is_deeply(
	$body{envelope},
	{   event_id => $id,
		event_type => 'order.created',
		created_at => $created_at,
		data => $data },
	'envelope');
is_deeply(
	$body{standard},
	{ type => 'order.created', timestamp => $created_at, data => $data },
	'standard');
is($request{raw}{body}, '{"order_id": 42}', 'raw');
my $ce = $body{cloudevents};
is_deeply(
	$ce,
	{   specversion => '1.0',
		id => $id,
		source => 'shop/1%20%22x%22%2F',    # a URI
		tenant => 'a\\c "me"',
		datacontenttype => 'application/json',
		type => 'order.created',
		time => $created_at,
		data => $data },
	'cloudevents');
is(scalar(grep { !/^[a-z0-9]+$/ } keys %$ce),
	0, 'names of attributes are lower case letters and digits');
like($request{cloudevents}{headers}{'content-type'},
	qr{^application/cloudevents\+json}, 'with its content type');
my $h = $request{cloudevents_binary}{headers};
is($request{cloudevents_binary}{body}, '{"order_id": 42}',
	'cloudevents_binary: the payload is the body');
is_deeply(
	[ @$h{qw(ce-specversion ce-id ce-source ce-tenant ce-type ce-time content-type)} ],
	# in headers the specification wants % escaped
	[ '1.0', $id, 'shop/1%2520%2522x%2522%252F', 'a\\c%20%22me%22', 'order.created', $created_at,
		'application/json' ],
	'and the attributes are headers');

# what render shows is what was sent
for my $format (@formats)
{
	my $body = sql_value($node,
		"SELECT body FROM webhook_outbox.render('$id', '$format')");
	is($body, $request{$format}{body}, "render shows the body of $format");
}

finish($node, $receiver);
