# Rows that no table should hold, which who may write them all wrote (or who dropped the
# constraint that keeps them out), stop no server: the dispatcher refuses or ignores them.
# Plain SQL cannot show it: a process that crashes takes the server along.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();

create_endpoint($node, $receiver, 'down', '/down', retry_schedule => "'{50ms,1h,1h}'");
$receiver->script('/down', { status => 503 });
publish($node, 'order.created');
wait_for_sql($node, q(SELECT count(*) = 1 FROM webhook_outbox.delivery WHERE attempts = 2),
	'a delivery waits for a retry');

# It would not survive a crash of the server.
my $witness = $node->background_psql('postgres');
my %check = (
	'delivery_schedule_step_check' => 'delivery',
	'ring_leaf_slot_check' => 'ring_leaf',
	'endpoint_change_check' => 'endpoint_change');

is(sql_value($node, qq(SELECT count(*) FROM pg_constraint WHERE conrelid = 'webhook_outbox.$check{$_}'::regclass
	AND conname = '$_')), 1, "$check{$_} has a constraint") for sort keys %check;
$node->safe_psql('postgres', "ALTER TABLE webhook_outbox.$check{$_} DROP CONSTRAINT $_") for sort keys %check;

$node->safe_psql('postgres', q(UPDATE webhook_outbox.delivery SET schedule_step = -1000000;
	SELECT webhook_outbox.retry_now('down')));
wait_for_sql($node, q(SELECT count(*) = 1 FROM webhook_outbox.delivery WHERE attempts > 2 AND schedule_step < 0),
	'one that has come to no step of its schedule is tried, and recorded');

$node->safe_psql('postgres', q(INSERT INTO webhook_outbox.endpoint_change (endpoint_id, name, is_deleted)
	VALUES (77, 'nobody', true); SELECT webhook_outbox.pause_endpoint('down'), webhook_outbox.resume_endpoint('down')));
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.endpoint_change',
	'a deleted endpoint that had asked for nothing is forgotten');

my $dispatcher = worker_pid($node, 'dispatcher');
$node->safe_psql('postgres', qq(INSERT INTO webhook_outbox.ring_leaf (ring, slot, turn) VALUES ('event', 32000, 99);
	SELECT pg_terminate_backend($dispatcher)));
wait_for_sql($node, q(SELECT last_error = 'webhook_outbox.ring_leaf has a slot 32000'
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher'), 'a leaf that there is not is named');
$node->safe_psql('postgres', 'DELETE FROM webhook_outbox.ring_leaf WHERE slot > 7');
create_endpoint($node, $receiver, 'well', '/ok');
publish($node, 'order.created');
$receiver->wait_for('/ok', 1, 'and once it is gone, delivery goes on');

is($witness->query_safe('SELECT 1'), 1, 'the server has not restarted');
$witness->quit;

finish($node, $receiver);
