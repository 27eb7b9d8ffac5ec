# Commands that need a database to themselves work while its dispatcher runs,
# for those who own the database; delivery goes on afterwards.
# Plain SQL cannot show it: a process has to leave and to come back.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(extension => 0);

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', 'CREATE EXTENSION webhook_outbox');
create_endpoint($node, $receiver, 'well', '/well', dbname => 'shop');
create_endpoint($node, $receiver, 'slow', '/delay/100', dbname => 'shop');
my $n = 0;

# Some deliveries are under way; returns the dispatcher's process id.
sub keep_busy
{
	my ($dbname) = @_;

	publish($node, 'order.created', '{}', $dbname) for 1 .. 5;
	$n += 5;
	$receiver->wait_for_requests('/delay/100', $n, 'requests are under way');
	return worker_pid($node, 'dispatcher', 0, $dbname);
}

sub goes_on
{
	my ($dbname, $pid, $claim) = @_;

	isnt(worker_pid($node, 'dispatcher', $pid, $dbname), $pid, $claim);
	publish($node, 'order.created', '{}', $dbname);
	$n++;
	$receiver->wait_for('/well', $n, 'and delivers');
	return all_delivered($node, 'and records', $dbname);
}

my $pid = keep_busy('shop');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
goes_on('shop', $pid, 'copied, a database gets its dispatcher back');

$pid = keep_busy('shop');
$node->safe_psql('postgres', 'ALTER DATABASE shop RENAME TO store');
goes_on('store', $pid, 'so does one that is renamed');

$pid = keep_busy('store');
$node->safe_psql('postgres',
	"SET allow_in_place_tablespaces = on; CREATE TABLESPACE elsewhere LOCATION ''");
$node->safe_psql('postgres', 'ALTER DATABASE store SET TABLESPACE elsewhere');
goes_on('store', $pid, 'and one that is moved to another tablespace');

# a command that fails
$pid = keep_busy('store');
my ($rc, $out, $err) =
  $node->psql('postgres', "BEGIN;\nDROP DATABASE store;\nROLLBACK;");
like($err, qr/cannot run inside a transaction block/, 'a DROP that fails');
goes_on('store', $pid, 'changes nothing');

# one by somebody who may not
$pid = keep_busy('store');
$node->safe_psql('postgres', 'CREATE ROLE nosy CREATEDB');
for my $command ('DROP DATABASE store', 'CREATE DATABASE mine TEMPLATE store',
	'ALTER DATABASE store RENAME TO mine')
{
	($rc, $out, $err) =
	  $node->psql('postgres', "SET ROLE nosy;\n$command;");
	like($err, qr/must be owner|permission denied/, "$command is refused to others");
}
is(worker_pid($node, 'dispatcher', 0, 'store'),
	$pid, 'and does not trouble the dispatcher');

# What a DROP that was cut short leaves can only be dropped: nobody can connect.
keep_busy('store');
my $log_start = -s $node->logfile;
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE pg_tablespace');
($rc, $out, $err) =
  $node->psql('postgres', "SET lock_timeout = '1s';\nDROP DATABASE store;");
like($err, qr/lock timeout/, 'a DROP that is cut short');
$holder->query_safe('ROLLBACK');
$holder->quit;
SKIP:
{
	skip 'minor versions of 2023 brought it', 2
	  if sql_value($node, q(SELECT datconnlimit FROM pg_database WHERE datname = 'store')) != -2;
	wait_for_sql(
		$node, q(SELECT count(*) = 0 FROM webhook_outbox.worker_status
		WHERE database = 'store'), 'leaves nothing that a dispatcher is missing from', 'copy');
	is(n_logged($node, 'cannot connect to invalid database', $log_start),
		0, 'and none tries to connect');
}

is($node->psql('postgres', "DROP DATABASE $_"), 0, "$_ can be dropped")
  for qw(copy store);
wait_for_sql(
	$node, q(SELECT count(*) = 0 FROM pg_stat_activity
	WHERE backend_type = 'webhook_outbox dispatcher'), 'no dispatcher is left');
is( sql_value($node, 'SELECT string_agg(datname, \' \' ORDER BY datname) FROM pg_database'),
	'postgres template0 template1', 'nor a database');

# One that is only starting has its session, and is known to nobody yet.
my $fault = $node->data_dir . '/webhook_outbox.fault';
$node->safe_psql('postgres', 'CREATE DATABASE brief');
append_to_file($fault, 'before_join:stop:1:once');
$node->safe_psql('brief', 'CREATE EXTENSION webhook_outbox');
wait_until(sub { !-e $fault }, 'a dispatcher starts');
$pid = worker_pid($node, 'dispatcher', 0, 'brief');
$log_start = -s $node->logfile;
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/dropping/, "\\echo dropping\nDROP DATABASE brief;\n");
wait_for_sql(
	$node, q(SELECT count(*) = 1 FROM pg_locks WHERE classid = 'pg_database'::regclass
	AND mode = 'AccessExclusiveLock' AND granted), 'while its database is being dropped');
kill CONT => $pid;
wait_until(
	sub {
		return sql_value($node, q(SELECT count(*) = 0 FROM pg_database WHERE datname = 'brief')) eq 't'
		  || n_logged($node, 'is being accessed by other users', $log_start) > 0;
	},
	'that comes to an end');
is(sql_value($node, q(SELECT count(*) FROM pg_database WHERE datname = 'brief')),
	'0', 'it is dropped');
$session->quit;

is($receiver->stats('/well')->{duplicates}, 0, 'nothing was sent twice');
is($receiver->stats('/delay/100')->{duplicates}, 0, 'nor cut off');

finish($node, $receiver);
