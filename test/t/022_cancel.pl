# A cancelled delivery is not sent any more, also when its attempt is under way.
# Plain SQL cannot show it: only a receiver knows what was not sent.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'failing', '/status/500',
	retry_schedule => "'{300ms,300ms,300ms,300ms,300ms}'",
	retry_jitter => 0);
create_endpoint($node, $receiver, 'slow', '/hold', max_in_flight => 1);
my $id = publish($node, 'order.created');
my $next = publish($node, 'order.paid');

$receiver->wait_for_requests('/status/500', 1, 'the first attempt fails');
wait_for_sql(
	$node, qq(SELECT count(*) > 0 FROM webhook_outbox.attempt
	WHERE event_id = '$id'), 'and is recorded');
$node->safe_psql('postgres',
	"BEGIN; SELECT webhook_outbox.cancel('$id'); ROLLBACK");
is( sql_value(
		$node, qq(SELECT count(*) FROM webhook_outbox.delivery_status
		WHERE event_id = '$id' AND state = 'cancelled')),
	'0', 'a rolled back cancel does nothing');

# one event to one endpoint, one event to all
$node->safe_psql('postgres', "SELECT webhook_outbox.cancel('$id')");
$node->safe_psql('postgres',
	"SELECT webhook_outbox.cancel('$next', endpoint => 'slow')");
wait_for_sql(
	$node, qq(SELECT bool_or(state = 'cancelled')
	FROM webhook_outbox.delivery_status
	WHERE event_id = '$id' AND endpoint_name = 'failing'),
	'the retry is cancelled');
wait_for_sql(
	$node, qq(SELECT state = 'cancelled' FROM webhook_outbox.delivery_status
	WHERE event_id = '$next' AND endpoint_name = 'slow'),
	'so is a delivery that waits for its turn');
my $n = grep { $_->{id} eq $id } $receiver->requests('/status/500');

# the answer of the request under way comes after the cancel
is($receiver->release('/hold'), 1, 'one request was under way');
wait_for_sql(
	$node, qq(SELECT state = 'dead' FROM webhook_outbox.delivery_status
	WHERE event_id = '$next' AND endpoint_name = 'failing'),
	'the other event goes on to all its retries');
is((grep { $_->{id} eq $id } $receiver->requests('/status/500')),
	$n, 'the cancelled one was not tried again');
is($receiver->stats('/hold')->{requests},
	1, 'what was cancelled while waiting was never sent');
is( sql_value(
		$node, q(SELECT count(*) FROM pg_stat_activity
		WHERE backend_type LIKE 'webhook_outbox dispatcher%')),
	'1', 'the dispatcher took the late answer');

# Commands are obeyed in the order in which they were given.
$node->safe_psql('postgres', 'DELETE FROM webhook_outbox.endpoint');
create_endpoint($node, $receiver, 'again', '/status/503',
	event_types => q('{again.*}'), retry_schedule => "'{1h,1h}'");
my $again = publish($node, 'again.first');
wait_for_sql(
	$node, qq(SELECT count(*) = 1 FROM webhook_outbox.delivery
	WHERE event_id = '$again' AND state = 'retrying'), 'one waits for a retry');
$node->safe_psql('postgres',
	qq(BEGIN; SELECT webhook_outbox.cancel('$again', 'again');
	SELECT webhook_outbox.redeliver('$again', 'again'); COMMIT));
$receiver->wait_for_requests('/status/503', 2,
	'cancelled and then sent again, it is sent again');
wait_for_sql(
	$node, qq(SELECT count(*) = 1 FROM webhook_outbox.delivery
	WHERE event_id = '$again' AND state = 'retrying' AND attempts = 2),
	'and waits for its retry again');
$node->safe_psql('postgres',
	qq(BEGIN; SELECT webhook_outbox.redeliver('$again', 'again');
	SELECT webhook_outbox.cancel('$again', 'again'); COMMIT));
wait_for_sql(
	$node, qq(SELECT NOT EXISTS (SELECT FROM webhook_outbox.command)
	AND EXISTS (SELECT FROM webhook_outbox.delivery
	WHERE event_id = '$again' AND state = 'cancelled')),
	'sent again and then cancelled, it is cancelled');

# Twice at once is as good as once.
create_endpoint($node, $receiver, 'twice', '/hold/twice',
	event_types => q('{twice.*}'), max_in_flight => 1);
my @twice = map { publish($node, 'twice.both') } 1 .. 3;
$receiver->wait_for_requests('/hold/twice', 1, 'one of three is held');
$node->safe_psql('postgres', join ';', 'BEGIN',
	(map { "SELECT webhook_outbox.cancel('$_')" } @twice, @twice), 'COMMIT');
wait_for_sql(
	$node, q(SELECT count(*) = 3 FROM webhook_outbox.delivery_status
	WHERE endpoint_name = 'twice' AND state = 'cancelled'),
	'cancelled twice, all three are cancelled');
$receiver->release('/hold/twice');
wait_for_sql(
	$node, q(SELECT count(*) = 1 FROM webhook_outbox.delivery_status
	WHERE endpoint_name = 'twice' AND state = 'delivered'),
	'but for the one that arrives');

# What fails after it was cancelled must not take back what came after that.
my $hold = '/hold/status/500';
create_endpoint($node, $receiver, 'late', $hold,
	event_types => q('{late.*}'), retry_schedule => "'{100ms,100ms}'");
my $late = publish($node, 'late.first');
my $state = q(SELECT state FROM webhook_outbox.delivery_status
	WHERE event_id = );
$receiver->wait_for_requests($hold, 1, 'a request is held');
$node->safe_psql('postgres', "SELECT webhook_outbox.cancel('$late')");
wait_for_sql($node, "SELECT ($state '$late') = 'cancelled'",
	'cancelled while it is under way');
$node->safe_psql('postgres',
	"SELECT webhook_outbox.redeliver('$late', 'late')");
wait_for_sql($node, "SELECT ($state '$late') = 'pending'", 'and sent again');
$receiver->release($hold);
$receiver->script($hold, { status => 200 });
wait_for_sql($node, "SELECT ($state '$late') = 'delivered'",
	'the request fails, and its retry arrives');

# Sent again and then cancelled at one stroke, it stays cancelled though it fails only after that.
$receiver->script($hold, undef);
my $both = publish($node, 'late.both');
$receiver->wait_for_requests($hold, 3, 'another one is held');
$node->safe_psql('postgres', "SELECT webhook_outbox.cancel('$both')");
wait_for_sql($node, "SELECT ($state '$both') = 'cancelled'", 'and cancelled');
$node->safe_psql('postgres', qq(BEGIN; SELECT webhook_outbox.redeliver('$both', 'late');
	SELECT webhook_outbox.cancel('$both', 'late'); COMMIT));
wait_for_sql($node, q(SELECT NOT EXISTS (SELECT FROM webhook_outbox.command)),
	'sent again and cancelled while it is held');
$receiver->release($hold);
wait_for_sql($node, qq(SELECT count(*) = 1 FROM webhook_outbox.attempt
	WHERE event_id = '$both' AND outcome = 'http_error'), 'it fails');
is(sql_value($node, "$state '$both'"), 'cancelled', 'and waits for no retry');

# What is under way has a row too once it is cancelled, for after a crash.
$late = publish($node, 'late.second');
$receiver->wait_for_requests($hold, 4, 'one more is held');
$node->safe_psql('postgres', "SELECT webhook_outbox.cancel('$late')");
wait_for_sql($node, "SELECT ($state '$late') = 'cancelled'", 'and cancelled');
publish($node, 'late.third');
$receiver->wait_for_requests($hold, 5, 'yet another one is held as well');
$node->stop('immediate');
$node->start;
$receiver->wait_for_requests($hold, 6, 'that one is sent after a crash');
is(scalar(grep { $_->{id} eq $late } $receiver->requests($hold)),
	1, 'the cancelled one is not');
$receiver->release($hold);

# Deliveries that have rows and are in memory as well, of several events at once.
for my $name ('one', 'other')
{
	create_endpoint($node, $receiver, $name, "/hold/$name",
		event_types => q('{stored}'), max_in_flight => 1, enabled => 'false');
}
my @stored = map { publish($node, 'stored') } 1 .. 4;
wait_for_sql($node, q(SELECT count(*) = 8 FROM webhook_outbox.delivery d
	JOIN webhook_outbox.endpoint e USING (endpoint_id) WHERE e.name IN ('one', 'other')),
	'four events wait for each of two that are paused');
$node->safe_psql('postgres',
	"SELECT webhook_outbox.resume_endpoint(n) FROM unnest('{one,other}'::text[]) n");
$receiver->wait_for_requests("/hold/$_", 1, "one is sent to $_") for 'one', 'other';
$node->safe_psql('postgres', "BEGIN; SELECT webhook_outbox.cancel('$stored[1]');
	SELECT webhook_outbox.cancel('$stored[2]');
	SELECT webhook_outbox.cancel('$stored[3]', 'one'); COMMIT");
wait_for_sql($node, q(SELECT count(*) = 5 FROM webhook_outbox.delivery_status
	WHERE endpoint_name IN ('one', 'other') AND state = 'cancelled'),
	'two are cancelled to both, one to one of them');
$receiver->release("/hold/$_") for 'one', 'other';
$receiver->wait_for_requests('/hold/other', 2, 'what is left is sent');
$receiver->release('/hold/other');
all_delivered($node, 'nothing else is owed');
is($receiver->stats('/hold/one')->{requests} . $receiver->stats('/hold/other')->{requests},
	'12', 'and what was cancelled never goes out');

finish($node, $receiver);
