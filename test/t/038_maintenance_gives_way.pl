# Commands that need a database or the extension to themselves do not wait for
# maintenance that is under way, nor fail; a copy of a database does none.
# Plain SQL cannot show it: a worker has to be sent away.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $node = start_node(extension => 0);

# A database whose maintenance does not end.
for my $dbname (qw(dropped copied bare))
{
	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	$node->safe_psql($dbname, q(
		CREATE EXTENSION webhook_outbox;
		CREATE FUNCTION never_end() RETURNS bigint LANGUAGE plpgsql AS $$
		DECLARE
		  v_tick double precision := 0.01;
		BEGIN
		  LOOP
		    PERFORM pg_sleep(v_tick);
		  END LOOP;
		END $$;
		INSERT INTO webhook_outbox.maintenance_step (step, position, function)
		VALUES ('endless', 1000, 'public.never_end()')));
}

sub workers
{
	my ($dbname) = @_;

	return qq(SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'webhook_outbox maintenance' AND datname = '$dbname');
}

sub wait_for_worker
{
	my ($dbname) = @_;

	return wait_for_sql($node, workers($dbname) . " AND wait_event = 'PgSleep' HAVING count(*) > 0",
		"maintenance of $dbname is under way");
}

# A statement_timeout well below the time for which the step would go on.
sub works_meanwhile
{
	my ($dbname, $command) = @_;
	my ($rc, $out, $err) = $node->psql($dbname,
		"SET statement_timeout = '30s';\n$command;");

	return is($err, '', "$command works meanwhile");
}

$node->poll_query_until('postgres', q(SELECT count(*) = 3 FROM pg_stat_activity
	WHERE backend_type = 'webhook_outbox maintenance' AND wait_event = 'PgSleep'))
  or die 'maintenance does not start';
my $pid = worker_pid($node, 'dispatcher', 0, 'bare');
my ($rc, $out, $err) =
  $node->psql('bare', 'BEGIN; CREATE ROLE nosy; SET ROLE nosy; DROP EXTENSION webhook_outbox;');
like($err, qr/must be owner/, 'others may not drop the extension');
is(sql_value($node, workers('bare')), '1', 'and do not trouble its maintenance');
works_meanwhile('bare', 'DROP EXTENSION webhook_outbox');
is(sql_value($node, workers('bare')), '0', 'its maintenance has ended');

works_meanwhile('postgres', 'CREATE DATABASE copy TEMPLATE copied');
works_meanwhile('postgres', 'DROP DATABASE dropped');
works_meanwhile('postgres', 'ALTER DATABASE copied RENAME TO renamed');
is(sql_value($node, 'SELECT count(*) FROM pg_stat_activity
	WHERE backend_type = \'webhook_outbox maintenance\''),
	'0', 'no maintenance is left');

# A database that is made later has its turn later than the copy would.
wait_for_sql($node, $IS_HELD, 'the copy has a dispatcher', 'copy');
$node->safe_psql('postgres', 'CREATE DATABASE later');
$node->safe_psql('later', 'CREATE EXTENSION webhook_outbox');
wait_for_sql($node, 'SELECT last_run_at IS NOT NULL FROM webhook_outbox.maintenance_worker()',
	'a new database is maintained', 'later');
is(sql_value($node, 'SELECT last_run_at IS NULL AND pid IS NULL FROM webhook_outbox.maintenance_worker()', 'copy'),
	't', 'the copy is not');

my $log = slurp_file($node->logfile);
is( join("\n", grep { /ERROR:|WARNING:|PANIC:/ && !/must be owner/ } split /\n/, $log),
	'', 'and the log tells of no error');

finish($node);
