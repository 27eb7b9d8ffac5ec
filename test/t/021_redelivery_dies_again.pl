# A redelivery goes through the whole schedule again and dies again; discarded
# dead letters are not sent.
# Plain SQL cannot show it: it takes a receiver that keeps failing.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'dead', '/status/500',
	retry_schedule => "'{10ms,10ms}'");
my $id = publish($node, 'order.created');
my $is_dead = 'SELECT attempts = %d FROM webhook_outbox.dead_letter';

wait_for_sql($node, sprintf($is_dead, 3), 'it dies after three attempts');
$node->safe_psql('postgres', "SELECT webhook_outbox.redeliver('$id', 'dead')");
wait_for_sql($node, sprintf($is_dead, 6), 'and again after three more');
is( sql_value(
		$node, q(SELECT string_agg(number::text, ' ' ORDER BY number)
		FROM webhook_outbox.attempt)),
	'1 2 3 4 5 6', 'attempts are numbered on');
is( sql_value(
		$node, q(SELECT string_agg(number::text, ' ' ORDER BY number)
		FROM webhook_outbox.attempt WHERE next_attempt_at IS NULL)),
	'3 6', 'the last of each round is final');

$node->safe_psql('postgres',
	"SELECT webhook_outbox.discard_dead_letters(endpoint => 'dead')");
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.dead_letter'),
	'0', 'discard_dead_letters removes it');
publish($node, 'order.paid');
wait_for_sql($node, sprintf($is_dead, 3), 'another event has had its attempts');
is($receiver->stats('/status/500')->{requests}, 9, 'and this one no more');

finish($node, $receiver);
