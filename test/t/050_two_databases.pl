# Each database that has the extension has a dispatcher of its own; databases
# and the extension come and go while the server runs.
# Plain SQL cannot show it: workers have to notice.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my $dispatchers = q(SELECT string_agg(datname, ' ' ORDER BY datname)
	FROM pg_stat_activity WHERE backend_type LIKE 'webhook_outbox dispatcher%');
create_endpoint($node, $receiver, 'well', '/first');
publish($node, 'order.created');
$receiver->wait_for('/first', 1, 'the first database delivers');

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION webhook_outbox');
create_endpoint($node, $receiver, 'well', '/second', dbname => 'other');
publish($node, 'order.created', '{}', 'other');
$receiver->wait_for('/second', 1, 'so does a second, at once');
is(sql_value($node, $dispatchers), 'other postgres', 'each by its own dispatcher');
publish($node, 'order.created');
$receiver->wait_for('/first', 2, 'while the first goes on');
is($receiver->stats('/second')->{requests}, 1, 'events do not mix');

# CREATE EXTENSION that rolls back leaves nothing behind
$node->safe_psql('postgres', 'CREATE DATABASE third');
$node->safe_psql('third', 'BEGIN; CREATE EXTENSION webhook_outbox; ROLLBACK');

$node->safe_psql('other', 'DROP EXTENSION webhook_outbox');
wait_for_sql($node, "SELECT ($dispatchers) = 'postgres'",
	'DROP EXTENSION ends the dispatcher');
$node->safe_psql('other', 'CREATE EXTENSION webhook_outbox');
create_endpoint($node, $receiver, 'well', '/again', dbname => 'other');
publish($node, 'order.created', '{}', 'other');
$receiver->wait_for('/again', 1, 'created again, it delivers again');

$node->safe_psql('postgres', 'DROP DATABASE other WITH (FORCE)');
wait_for_sql($node, "SELECT ($dispatchers) = 'postgres'",
	'DROP DATABASE ends the dispatcher');
publish($node, 'order.created');
$receiver->wait_for('/first', 3, 'the first database still delivers');
$node->safe_psql('postgres', 'DROP DATABASE third');

# the list of databases
$node->safe_psql('postgres', 'CREATE DATABASE listed');
$node->safe_psql('listed', 'CREATE EXTENSION webhook_outbox');
$node->append_conf('postgresql.conf', "webhook_outbox.databases = 'listed'");
$node->reload;
wait_for_sql($node, "SELECT ($dispatchers) = 'listed'",
	'webhook_outbox.databases says which ones run');
$node->append_conf('postgresql.conf', "webhook_outbox.databases = ''");
$node->restart;
publish($node, 'order.created');
$receiver->wait_for('/first', 4, 'the list emptied, all run');

finish($node, $receiver);
