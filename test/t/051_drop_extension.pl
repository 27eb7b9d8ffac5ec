# DROP EXTENSION under load ends the workers with one line in the log, and they
# stay away; rolled back, it changes nothing.
# Plain SQL cannot show it: processes have to end, and not to come back.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
# debug1 tells of each start of a worker
my $node = start_node(conf => 'log_min_messages = debug1');
my $dispatchers = q(SELECT coalesce(string_agg(datname, ' ' ORDER BY datname), '')
	FROM pg_stat_activity WHERE backend_type = 'webhook_outbox dispatcher');

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', 'CREATE EXTENSION webhook_outbox');
create_endpoint($node, $receiver, 'well', '/delay/5', dbname => 'shop');
worker_pid($node, 'dispatcher', 0, 'shop');
my $oid = sql_value($node, q(SELECT oid FROM pg_database WHERE datname = 'shop'));
my $start =
  qr/starting background worker process "webhook_outbox dispatcher of database $oid"/;

$node->safe_psql('shop', 'BEGIN; DROP EXTENSION webhook_outbox; ROLLBACK');
publish($node, 'order.created', '{}', 'shop');
$receiver->wait_for('/delay/5', 1, 'rolled back, delivery goes on');

publish_many($node, 'order.created', 2000, 'shop');
$receiver->wait_for('/delay/5', 300, 'events are under way');
my $n_starts = n_logged($node, $start);
cmp_ok($n_starts, '>', 0, 'the log tells of starts');
$node->safe_psql('shop', 'DROP EXTENSION webhook_outbox');
wait_for_sql($node, "SELECT ($dispatchers) = 'postgres'",
	'the dispatcher ends, that of the other database stays');

# The launcher starts the other one again after a pause that is not shorter
# than the one this database would have had.
my $pid = worker_pid($node, 'dispatcher');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
worker_pid($node, 'dispatcher', $pid);
is(sql_value($node, $dispatchers), 'postgres', 'it does not come back');

my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /$start/g), $n_starts, 'nor was it started for nothing');
is( scalar(() = $log =~
		  /LOG: .*dispatcher ends: the extension was dropped from database "shop"/g),
	1, 'the log says why, once');
is( join("\n", grep { /ERROR:|FATAL:|WARNING:/ && /webhook_outbox/ }
		  split /\n/, $log),
	'', 'and nothing of errors');

$node->safe_psql('shop', 'CREATE EXTENSION webhook_outbox');
create_endpoint($node, $receiver, 'well', '/again', dbname => 'shop');
publish($node, 'order.created', '{}', 'shop');
$receiver->wait_for('/again', 1, 'created again, it delivers again');

# A dispatcher that is starting takes the locks of many tables one by one, and
# so does DROP EXTENSION: neither may hold what the other one waits for.
$node->safe_psql('shop',
	"DROP EXTENSION webhook_outbox;\n"
	  . "CREATE EXTENSION webhook_outbox; DROP EXTENSION webhook_outbox;\n" x 25
	  . "CREATE EXTENSION webhook_outbox");
unlike(slurp_file($node->logfile), qr/deadlock detected/,
	'it can be dropped while its dispatcher starts, without a deadlock');

finish($node, $receiver);
