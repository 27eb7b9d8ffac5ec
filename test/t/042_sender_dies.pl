# A sender that is terminated or killed is replaced, and what it held is sent.
# Plain SQL cannot show it: a process has to die with requests in flight.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => "restart_after_crash = on\n"
	  . 'webhook_outbox.senders = 2');
create_endpoint($node, $receiver, 'held', '/hold', max_in_flight => 4,
	retry_schedule => "'{20ms,20ms,20ms}'");
create_endpoint($node, $receiver, 'well', '/delay/5');

publish_many($node, 'order.created', 500);
$receiver->wait_for_requests('/hold', 4, 'requests are in flight');
# senders have no database connection, so pg_stat_activity has no row of them
my $senders = q(SELECT pid FROM webhook_outbox.worker_status
	WHERE process = 'sender' AND is_running ORDER BY number);
wait_for_sql($node, "SELECT count(*) = 2 FROM ($senders) s", 'there are two senders');
my @old = split /\n/, sql_value($node, $senders);

kill 'TERM', $old[0];
$receiver->script('/hold', { status => 200 });
$receiver->release('/hold');
wait_for_sql(
	$node, qq(SELECT count(*) = 2 AND bool_and(pid <> $old[0])
	FROM webhook_outbox.worker_status
	WHERE process = 'sender' AND is_running),
	'a terminated sender is replaced');
$receiver->wait_for('/delay/5', 500, 'all events arrive');
$receiver->wait_for('/hold', 500, 'also those that it held');
all_delivered($node, 'and are recorded');

# Were each pause before the next start twice as long, this would take minutes.
my %seen;
wait_until(
	sub {
		my ($pid) = split /\n/, sql_value($node, $senders);
		$seen{$pid} = kill 'TERM', $pid if $pid && !$seen{$pid};
		return keys %seen >= 32;
	},
	'senders that are terminated again and again come back at once');

# a process that dies by a signal takes the server through crash recovery
publish_many($node, 'order.created', 500);
$receiver->wait_for('/delay/5', 600, 'more is under way');
my ($victim) = split /\n/, sql_value($node, $senders);
kill 'KILL', $victim;
$receiver->wait_for('/delay/5', 1000, 'all events arrive after a kill -9');
$receiver->wait_for('/hold', 1000, 'at each endpoint');
$node->poll_query_until('postgres', 'SELECT true');
all_delivered($node, 'and are recorded');

finish($node, $receiver, may_crash => 1);
