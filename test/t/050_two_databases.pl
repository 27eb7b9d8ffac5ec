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

# Whoever may look at one database learns no names out of another.
$node->safe_psql('postgres', q(CREATE ROLE watcher LOGIN;
	SELECT webhook_outbox.grant_monitor('watcher')));
$node->safe_psql('other', q(CREATE TABLE public.acquisition (reason text PRIMARY KEY);
	ALTER TABLE webhook_outbox.dead_letter ADD CONSTRAINT acme FOREIGN KEY (reason)
	REFERENCES public.acquisition));
wait_for_sql(
	$node, q(SELECT state ~ 'acquisition' AND last_error ~ 'acquisition'
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher' AND database = 'other'),
	'a superuser sees what is wrong in another database');
my $looks = q(SET ROLE watcher; SELECT string_agg(database || ': ' || state || ', ' ||
	coalesce(last_error, 'none'), '; ' ORDER BY database)
	FROM webhook_outbox.worker_status WHERE process = 'dispatcher');
is( sql_value($node, $looks),
	'other: <insufficient privilege>, <insufficient privilege>; postgres: idle, none',
	'a monitor sees that alone which is in his own');
$node->safe_psql('postgres', 'GRANT pg_read_all_stats TO watcher');
like(sql_value($node, $looks), qr/^other: not sending: .*acquisition;/,
	'unless he may see what all are doing');
$node->safe_psql('other', 'ALTER TABLE webhook_outbox.dead_letter DROP CONSTRAINT acme');

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
