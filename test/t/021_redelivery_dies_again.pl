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
	event_types => "'{order.*}'", retry_schedule => "'{10ms,10ms}'");
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

# It dies while somebody who sends it again, or discards it, has not committed yet: nobody waits for him.
create_endpoint($node, $receiver, 'again', '/again', event_types => "'{again}'",
	retry_schedule => "'{10ms,10ms}'");
create_endpoint($node, $receiver, 'well', '/well', event_types => "'{well}'");
my $again = publish($node, 'again');
my $redeliver = "SELECT webhook_outbox.redeliver('$again', 'again')";
my $n_attempts = "SELECT count(*) = %d FROM webhook_outbox.attempt WHERE event_id = '$again'";
my ($early, $late) = map { $node->background_psql('postgres') } 1 .. 2;

$receiver->wait_for('/again', 1, 'an event arrives');
wait_for_sql($node, sprintf($n_attempts, 1), 'which is recorded');
$receiver->script('/again', { status => 500 });
$early->query_safe("BEGIN; $redeliver");
$node->safe_psql('postgres', $redeliver);
wait_for_sql($node, "SELECT count(*) = 1 FROM webhook_outbox.dead_letter WHERE event_id = '$again'",
	'sent again by two, it dies once');
$late->query_safe("BEGIN; $redeliver");
$early->query_safe('COMMIT');
wait_for_sql($node, sprintf($n_attempts, 7), 'it dies again while a third one has it');
publish($node, 'well');
$receiver->wait_for('/well', 1, 'others do not wait for him');
$late->query_safe('COMMIT');
wait_for_sql($node, sprintf($n_attempts, 10), 'it is sent again when he commits');
wait_for_sql($node, "SELECT attempts = 10 FROM webhook_outbox.dead_letter WHERE event_id = '$again'",
	'and dies a third time');
$late->query_safe("BEGIN; SELECT webhook_outbox.discard('$again', 'again')");
$node->safe_psql('postgres', "SELECT webhook_outbox.replay('well', '-infinity', event_types => '{well}')");
$receiver->wait_for_requests('/well', 2, 'nor for one who discards it');
$late->query_safe('ROLLBACK');

# Nor when its endpoint is deleted, and its last request arrives after all.
create_endpoint($node, $receiver, 'doomed', '/doomed', event_types => "'{doomed}'",
	retry_schedule => "'{1h}'");
$receiver->script('/doomed', { status => 500 });
my $doomed = publish($node, 'doomed');
wait_for_sql($node, "SELECT count(*) = 1 FROM webhook_outbox.delivery WHERE event_id = '$doomed'",
	'another one has failed');
$receiver->script('/doomed', { status => 200, act => 'hold' });
$node->safe_psql('postgres', "SELECT webhook_outbox.redeliver('$doomed', 'doomed')");
$receiver->wait_for_requests('/doomed', 2, 'its second request is held');
$node->safe_psql('postgres', q(DELETE FROM webhook_outbox.endpoint WHERE name = 'doomed'));
wait_for_sql($node, "SELECT count(*) = 1 FROM webhook_outbox.dead_letter WHERE event_id = '$doomed'",
	'while its endpoint is deleted');
$late->query_safe("BEGIN; SELECT webhook_outbox.discard('$doomed', 'doomed')");
$receiver->release('/doomed');
wait_for_sql($node, "SELECT count(*) = 1 FROM webhook_outbox.attempt
	WHERE event_id = '$doomed' AND outcome = 'delivered'", 'it arrives while it is being discarded');
publish($node, 'well');
$receiver->wait_for('/well', 2, 'others do not wait for that either');
$late->query_safe('COMMIT');
is(n_logged($node, qr/has stopped sending/), 0, 'sending never stopped');
$_->quit for $early, $late;

finish($node, $receiver);
