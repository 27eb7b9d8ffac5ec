# After a crash everything committed is delivered; at most what was in flight or
# not yet recorded is sent twice, always with the same id.
# Plain SQL cannot show it: the server has to be killed.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'well', '/delay/3', max_in_flight => 16);
create_endpoint($node, $receiver, 'flaky', '/fail/1',
	retry_schedule => "'{100ms,100ms,100ms,100ms,100ms,100ms}'");

my $n = 0;
my $open = $node->background_psql('postgres');
for my $round (1 .. 3)
{
	publish_many($node, 'order.created', 1000);
	$n += 1000;
	if ($round == 1)
	{
		$open->query_safe('BEGIN');
		$open->query_safe("INSERT INTO webhook_outbox.event (type, payload) "
			  . "VALUES ('never.committed', '{}')");
	}
	$receiver->wait_for('/delay/3', $n - 700, "round $round is under way");
	$node->stop('immediate');
	$node->start;
}
$receiver->wait_for('/delay/3', $n, 'everything arrives');
$receiver->wait_for('/fail/1', $n, 'also where it had to be tried again');
all_delivered($node, 'and is recorded');

my @committed = split /\n/,
  sql_value($node, 'SELECT id FROM webhook_outbox.event ORDER BY id');
is(scalar @committed, $n, 'what was open when it crashed is gone');
for my $path ('/delay/3', '/fail/1')
{
	is_deeply([ sort $receiver->accepted_ids($path) ],
		\@committed, "$path got exactly what was committed");
}
# three crashes; what is unrecorded is bounded by what a recording round holds
cmp_ok($receiver->stats('/delay/3')->{duplicates},
	'<=', 3 * 1000, 'few were sent twice');
note('sent twice: ' . $receiver->stats('/delay/3')->{duplicates});
is( sql_value(
		$node, q(SELECT count(*) FROM (SELECT FROM webhook_outbox.attempt
		WHERE outcome = 'delivered' GROUP BY event_id, endpoint_id
		HAVING count(*) > 1) twice)),
	'0', 'and none was recorded twice');

finish($node, $receiver);
