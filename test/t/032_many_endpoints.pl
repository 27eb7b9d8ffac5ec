# Hundreds of endpoints, some failing, each get every event once.
# Plain SQL cannot show it: it takes many receivers.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my $base = $receiver->url('');
my $n = 200;
$node->safe_psql(
	'postgres', qq(
	SELECT webhook_outbox.create_endpoint('e' || n,
	  '$base/e' || n || CASE n % 3 WHEN 0 THEN '/fail/1' ELSE '/ok' END,
	  retry_schedule => '{50ms}')
	FROM generate_series(1, $n) n));
publish_many($node, 'order.created', 20);
wait_until(
	sub {
		my $stats = $receiver->stats;
		$n == grep { $stats->{$_}{accepted} == 20 } keys %$stats;
	},
	'each endpoint gets each event');
all_delivered($node, 'all is recorded');
my $stats = $receiver->stats;
is((grep { $stats->{$_}{duplicates} } keys %$stats), 0, 'each once');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.delivery_status
		WHERE state = 'delivered')),
	$n * 20, 'delivery_status knows each');

finish($node, $receiver);
