# replay sends old events to an endpoint again, also to one that did not exist.
# Plain SQL cannot show it: only the receiver knows what arrived.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => 'webhook_outbox.poll_interval = 100');
create_endpoint($node, $receiver, 'old', '/old');
my $since = sql_value($node, 'SELECT clock_timestamp()');
my @ids = map { publish($node, 'order.created', $_) } 1 .. 10;
push @ids, publish($node, 'invoice.paid');
my $until = sql_value($node, 'SELECT clock_timestamp()');
publish($node, 'order.created');
$receiver->wait_for('/old', 12, 'the events are delivered');
all_delivered($node, 'and recorded');

create_endpoint($node, $receiver, 'young', '/young');
my $replay =
  "SELECT webhook_outbox.replay('%s', '$since', '$until', event_types => '{%s}')";
$node->safe_psql('postgres', sprintf $replay, 'young', 'order.*');
$receiver->wait_for('/young', 10, 'a young endpoint gets what is replayed');
all_delivered($node, 'and it is recorded');
is_deeply([ sort $receiver->accepted_ids('/young') ],
	[ @ids[ 0 .. 9 ] ], 'only the types and times asked for');

$node->safe_psql('postgres', sprintf $replay, 'old', '*');
wait_until(
	sub { $receiver->stats('/old')->{duplicates} == 11 },
	'the old endpoint gets them once more');
all_delivered($node, 'and it is recorded');
is( sql_value(
		$node, q(SELECT max(number) FROM webhook_outbox.attempt
		JOIN webhook_outbox.endpoint USING (endpoint_id) WHERE name = 'old')),
	'2', 'as second attempts');

# explain_event says how to send one of them alone
create_endpoint($node, $receiver, 'youngest', '/youngest');
my ($statement) = sql_value($node, "SELECT webhook_outbox.explain_event('$ids[4]')")
  =~ /^ *(SELECT webhook_outbox\.replay\('youngest',.*\)) sends it\.$/m;
is(sql_value($node, $statement), '1', 'what explain_event shows replays one event');
$receiver->wait_for('/youngest', 1, 'and it arrives');
is_deeply([ $receiver->accepted_ids('/youngest') ], [ $ids[4] ], 'the right one');

# an endpoint and its replay in one transaction, again and again: the dispatcher
# must never meet the one without the other
my $url = $receiver->url('');
$node->safe_psql('postgres',
	"BEGIN; SELECT webhook_outbox.create_endpoint('n$_', '$url/n$_'); "
	  . sprintf($replay, "n$_", 'order.*') . '; COMMIT')
  for 1 .. 30;
wait_until(
	sub {
		my $stats = $receiver->stats;
		30 == grep { /^\/n/ && $stats->{$_}{accepted} == 10 } keys %$stats;
	},
	'what is replayed as the endpoint is made arrives');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.dead_letter'),
	'0', 'nothing was taken for a deleted endpoint');

finish($node, $receiver);
