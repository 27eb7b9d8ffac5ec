# pg_restore with several jobs loads the tables in no order, and the one that
# says that this is a copy can be the last.  Nothing is sent before it all the
# same, nor afterwards.
# Plain SQL cannot show it: it takes the programs, and a receiver.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my $dump = "$PostgreSQL::Test::Utils::tmp_check/any_order_$$";
my $is_held = q(SELECT state LIKE 'not sending: this database is a copy%'
	FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND database = current_database());

create_endpoint($node, $receiver, 'down', '/status/503',
	retry_schedule => "'{1h}'");
publish_many($node, 'order.created', 3);
wait_for_sql($node, q(SELECT count(*) = 3 FROM webhook_outbox.delivery),
	'retries wait');
switch_delivery($node, 'off');
$node->safe_psql('postgres',
	'UPDATE webhook_outbox.delivery SET next_attempt_at = now()');
$node->command_ok([ qw(pg_dump -Fd -j 4 -f), $dump, 'postgres' ],
	'it is dumped by several jobs');
$node->safe_psql('postgres', 'DROP EXTENSION webhook_outbox');
$node->append_conf('postgresql.conf', 'webhook_outbox.enabled = on');
$node->reload;

$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ qw(pg_restore --section=pre-data -d copy), $dump ],
	'the extension is created in another database');
wait_for_sql($node, q(SELECT state = 'idle' FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher' AND database = current_database()),
	'and its dispatcher is at work', 'copy');
for my $table (
	qw(event_0 attempt_0 delivery endpoint endpoint_secret endpoint_header))
{
	$node->command_ok([ qw(pg_restore -a -d copy -t), $table, $dump ],
		"$table is loaded");
}
wait_for_sql($node, $is_held, 'it is known to be a copy', 'copy');
$node->command_ok([ qw(pg_restore -a -d copy -t claim), $dump ],
	'the claim comes later');
my $pid = worker_pid($node, 'dispatcher', 0, 'copy');
$node->safe_psql('copy', "SELECT pg_terminate_backend($pid)");
worker_pid($node, 'dispatcher', $pid, 'copy');
wait_for_sql($node, $is_held, 'for a new dispatcher it is a copy too', 'copy');
is($receiver->n_requests, 3, 'nothing was sent');

is(sql_value($node, 'SELECT webhook_outbox.resume_delivery()', 'copy'),
	'0', 'told to deliver');
$receiver->wait_for_requests('/status/503', 6, 'it makes the retries');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.claim', 'copy'),
	'1', 'by one claim');

finish($node, $receiver);
