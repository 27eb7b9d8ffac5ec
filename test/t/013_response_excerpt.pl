# The head of a response is kept with the attempt, whatever bytes it is made of.
# Plain SQL cannot show it: the bytes come from a receiver.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my @option = (retry_schedule => "'{1h}'");
my %expect = (
	'/bytes/48656c6c6f' => 'Hello',
	'/bytes/c3bcc3' => "\xc3\xbc\\xC3",
	'/bytes/41004200' => 'A\x00B\x00',
	# no control sequence reaches a terminal
	'/bytes/ff1b5b324a0d0a' => "\\xFF\\x1B[2J\\x0D\n");

create_endpoint($node, $receiver, $_, "/status/500$_", @option)
  for sort keys %expect;
create_endpoint($node, $receiver, 'big', '/status/500/big/100000', @option);
publish($node, 'order.created');
wait_for_sql($node, 'SELECT count(*) = 5 FROM webhook_outbox.attempt',
	'every endpoint got its attempt');

my $response = q(SELECT response FROM webhook_outbox.attempt
	JOIN webhook_outbox.endpoint USING (endpoint_id) WHERE name = ');
for my $name (sort keys %expect)
{
	is(lc sql_value($node, "$response$name'"),
		lc $expect{$name}, "$name is kept as text");
}
is( sql_value(
		$node, q(SELECT octet_length(response) FROM webhook_outbox.attempt
		JOIN webhook_outbox.endpoint USING (endpoint_id) WHERE name = 'big')),
	'4096', 'a big response is cut at response_excerpt');

$node->append_conf('postgresql.conf', 'webhook_outbox.response_excerpt = 10');
$node->restart;
my $id = publish($node, 'order.created');
wait_for_sql(
	$node, qq(
	SELECT count(*) = 5 AND bool_or(name = 'big' AND length(response) = 10)
	FROM webhook_outbox.attempt JOIN webhook_outbox.endpoint USING (endpoint_id)
	WHERE event_id = '$id'), 'the setting changes where');

finish($node, $receiver);
