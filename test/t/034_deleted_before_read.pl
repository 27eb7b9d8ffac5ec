# Events committed before their endpoint was deleted, but read only afterwards,
# become dead letters; those committed later are not owed to it.
# Plain SQL cannot show it: the dispatcher has to look after the fact.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => 'webhook_outbox.enabled = off');
my $dead = q(SELECT string_agg(endpoint_name || ' ' || event_type, ', '
	ORDER BY endpoint_name, event_id)
	FROM webhook_outbox.dead_letter WHERE reason = 'endpoint_deleted');

create_endpoint($node, $receiver, 'well', '/well');
create_endpoint($node, $receiver, 'doomed', '/doomed',
	event_types => "'{order.*}'");
create_endpoint($node, $receiver, 'also', '/also',
	event_types => "'{order.paid}'");
publish($node, "order.$_") for qw(created paid);
publish($node, 'user.created');
$node->safe_psql('postgres',
	q(DELETE FROM webhook_outbox.endpoint WHERE name = 'doomed'));
publish($node, 'order.paid');
switch_delivery($node, 'on');
$receiver->wait_for('/well', 4, 'the endpoint that stays gets all events');
all_delivered($node, 'all is recorded');
is(sql_value($node, $dead),
	'doomed order.created, doomed order.paid',
	'the other is owed what it had asked for, until it was deleted');

# what is deleted between two lives of the dispatcher is noticed too
switch_delivery($node, 'off');
publish($node, 'order.paid');
$node->stop;
$node->start;
$node->safe_psql('postgres',
	q(DELETE FROM webhook_outbox.endpoint WHERE name = 'also'));
$node->restart;
publish($node, 'order.paid');
switch_delivery($node, 'on');
$receiver->wait_for('/well', 6, 'the endpoint that stays gets all events');
all_delivered($node, 'all is recorded');
is( sql_value($node, $dead),
	'also order.paid, doomed order.created, doomed order.paid',
	'after a restart likewise');
is($receiver->stats('/doomed')->{requests},
	0, 'nothing is sent to an endpoint that is gone');
is($receiver->stats('/also')->{requests}, 2, 'nothing more to the other');

# A deletion that is open when an event commits, and commits after it, though
# its xid is the lower one.
create_endpoint($node, $receiver, 'last', '/last');
switch_delivery($node, 'off');
my $open = $node->background_psql('postgres');
$open->query_safe('BEGIN');
$open->query_safe("DELETE FROM webhook_outbox.endpoint WHERE name = 'last'");
publish($node, 'user.deleted');
$open->query_safe('COMMIT');
$open->quit;
switch_delivery($node, 'on');
$receiver->wait_for('/well', 7, 'the endpoint that stays gets the event');
all_delivered($node, 'all is recorded');
like(sql_value($node, $dead),
	qr/last user\.deleted/, 'an event that committed first is owed');
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.endpoint_change',
	'no change is left to be dealt with');

finish($node, $receiver);
