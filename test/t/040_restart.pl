# A clean restart under load loses nothing and sends nothing twice.
# Plain SQL cannot show it: the server has to be restarted.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => 'webhook_outbox.senders = 2');
create_endpoint($node, $receiver, 'well', '/delay/3');
create_endpoint($node, $receiver, 'flaky', '/fail/1',
	retry_schedule => "'{100ms}'");

my $n = 0;
for my $round (1 .. 3)
{
	publish_many($node, 'order.created', 1000);
	$n += 1000;
	# in the midst of it
	$receiver->wait_for('/delay/3', $n - 700, "round $round is under way");
	$node->restart;
}
$receiver->wait_for('/delay/3', $n, 'everything arrives');
$receiver->wait_for('/fail/1', $n, 'retries go on after a restart');
all_delivered($node, 'and is recorded');
is($receiver->stats('/delay/3')->{duplicates}, 0, 'nothing was sent twice');
is($receiver->stats('/fail/1')->{duplicates}, 0, 'not by a retry either');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.attempt
		WHERE outcome NOT IN ('delivered', 'http_error'))),
	'0', 'no attempt was cut off');

finish($node, $receiver);
