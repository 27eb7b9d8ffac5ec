# Events committed before their endpoint was deleted, but read only afterwards,
# become dead letters; those committed later are not owed to it.
# Plain SQL cannot show it: the dispatcher has to look after the fact.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.enabled = off\nmax_prepared_transactions = 2\n");
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
switch_delivery($node, 'on');
$receiver->wait_for('/well', 7, 'the endpoint that stays gets the event');
all_delivered($node, 'all is recorded');
like(sql_value($node, $dead),
	qr/last user\.deleted/, 'an event that committed first is owed');

# A deletion that was prepared when an event commits, and one that was told not to wait for its own commit with what
# it writes down: neither knows when it commits.
create_endpoint($node, $receiver, $_, "/$_") for qw(immediate prepared);
switch_delivery($node, 'off');
$node->safe_psql('postgres', q(BEGIN;
	DELETE FROM webhook_outbox.endpoint WHERE name = 'prepared'; PREPARE TRANSACTION 'deletion'));
$open->query_safe('BEGIN; SET CONSTRAINTS ALL IMMEDIATE');
$open->query_safe("DELETE FROM webhook_outbox.endpoint WHERE name = 'immediate'");
publish($node, 'user.left');
$open->query_safe('COMMIT');
$node->safe_psql('postgres', q(COMMIT PREPARED 'deletion'));
switch_delivery($node, 'on');
$receiver->wait_for('/well', 8, 'the endpoint that stays gets one event more');
all_delivered($node, 'all is recorded');
like(sql_value($node, $dead), qr/immediate user\.left, last user\.deleted, prepared user\.left/,
	'it is owed to those two as well');
publish($node, 'user.returned');
$receiver->wait_for('/well', 9, 'what is published later arrives');
unlike(sql_value($node, $dead), qr/user\.returned/, 'and is owed to nobody else');
wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.endpoint_change',
	'no change is left to be dealt with');
$open->quit;

finish($node, $receiver);
