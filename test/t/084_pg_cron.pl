# With pg_cron, maintenance is a job of it: in pg_cron's own database and in
# another one, where passwords are asked for, run as the owner of the extension.
# Plain SQL cannot show it: another extension's processes do the work.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $sharedir = `$ENV{PG_CONFIG} --sharedir`;
chomp $sharedir;
plan skip_all => 'pg_cron is not installed for this PostgreSQL'
  if !-e "$sharedir/extension/pg_cron.control";

my $node = start_node(extension => 0, conf => <<'CONF');
shared_preload_libraries = 'pg_cron,webhook_outbox'
cron.use_background_workers = on
webhook_outbox.maintenance = off
CONF

$ENV{PGPASSWORD} = 'secret';
$node->safe_psql('postgres', q(
	SET password_encryption = 'scram-sha-256';
	DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', current_user, 'secret'); END $$));
unlink $node->data_dir . '/pg_hba.conf';
$node->append_conf('pg_hba.conf', "local all all scram-sha-256\n");
$node->reload;

$node->safe_psql('postgres', $_)
  for ('CREATE DATABASE shop', 'CREATE EXTENSION pg_cron', 'CREATE EXTENSION webhook_outbox');
$node->safe_psql('shop', 'CREATE EXTENSION webhook_outbox');

# Somebody who may call the function and nothing else.
$node->safe_psql('postgres', q(
	CREATE ROLE operator;
	GRANT USAGE ON SCHEMA webhook_outbox TO operator;
	GRANT EXECUTE ON FUNCTION webhook_outbox.schedule_maintenance,
	  webhook_outbox.unschedule_maintenance TO operator));
my $as_operator = 'SET ROLE operator; SELECT webhook_outbox.';
my $jobs = q(SELECT string_agg(concat_ws(' ', jobname, schedule, command,
	database, username = current_user), E'\n' ORDER BY jobname) FROM cron.job);

my ($rc, $out, $err) = $node->psql('postgres', $as_operator . q(schedule_maintenance('at noon')));
like($err, qr/ERROR:  "at noon" is no schedule of pg_cron\nHINT:  Write five fields/,
	'what is no schedule is refused');
$node->safe_psql('postgres', "${as_operator}schedule_maintenance('*/5 * * * *')");
$node->safe_psql('postgres', "${as_operator}schedule_maintenance()");

($rc, $out, $err) = $node->psql('shop', 'SELECT webhook_outbox.schedule_maintenance()');
like($err, qr/ERROR:  pg_cron is in database "postgres", not in "shop"\nHINT:  Run there, as a superuser: (SELECT .*)\n/,
	'from another database, the error says what to run where');
my ($sql) = $err =~ /superuser: (SELECT .*)\n/;
is($sql, sql_value($node, 'SELECT webhook_outbox.maintenance_job_sql()', 'shop'),
	'which maintenance_job_sql() returns');
$node->safe_psql('postgres', $sql);
my $command = 'SELECT webhook_outbox.maintain()';
is( sql_value($node, $jobs),
	"webhook_outbox maintenance of postgres * * * * * $command postgres t\n"
	  . "webhook_outbox maintenance of shop * * * * * $command shop t",
	'each database has one job, every minute, as the owner');

# pg_cron starts jobs when a minute begins.
for my $dbname (qw(postgres shop))
{
	wait_for_sql(
		$node, q(SELECT count(*) > 0 AND bool_and(state = 'ok' AND run_by = 'pg_cron'
		  AND problem IS NULL) FROM webhook_outbox.maintenance_status),
		"pg_cron maintains $dbname", $dbname);
	is(sql_value($node, 'SELECT last_run_by FROM webhook_outbox.maintenance_worker()', $dbname),
		'pg_cron', 'as the dispatcher knows');
}
wait_for_sql(
	$node, q(SELECT count(*) = 2 FROM (SELECT DISTINCT database FROM cron.job_run_details
	WHERE status = 'succeeded') d), 'pg_cron has recorded both');

is($node->safe_psql('postgres', "${as_operator}unschedule_maintenance()"),
	't', 'a job can be ended');
is($node->safe_psql('postgres', "${as_operator}unschedule_maintenance()"),
	'f', 'once');
($rc, $out, $err) = $node->psql('shop', 'SELECT webhook_outbox.unschedule_maintenance()');
($sql) = $err =~ /superuser: (SELECT .*)\n/;
$node->safe_psql('postgres', $sql);
is(sql_value($node, $jobs), '', 'in the other database too');

finish($node);
