# Whoever owns the database can give its sessions settings; the workers are not
# changed by them, nor is what they do when something is in their way.
# Plain SQL cannot show it: workers have to start under the settings.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my $n = 0;
my %setting = (
	standard_conforming_strings => 'off',
	exit_on_error => 'on',
	transform_null_equals => 'on',
	quote_all_identifiers => 'on',
	DateStyle => "'SQL, DMY'",
	IntervalStyle => 'sql_standard',
	TimeZone => "'Asia/Kathmandu'",
	bytea_output => 'escape',
	extra_float_digits => -15,
	default_transaction_isolation => 'serializable',
	idle_in_transaction_session_timeout => 1,
	lock_timeout => 1,
	search_path => 'nowhere',
	enable_indexscan => 'off',
	max_stack_depth => 100,
	client_min_messages => 'error',
	'plpgsql.variable_conflict' => 'use_column',
	'plpgsql.extra_errors' => "'all'");

# As a session that has none of them.
sub plain_sql
{
	my ($sql) = @_;

	return $node->safe_psql('template1', $sql);
}

sub dispatcher
{
	return plain_sql(q(SELECT coalesce(min(pid), 0) FROM pg_stat_activity
		WHERE backend_type = 'webhook_outbox dispatcher' AND datname = 'postgres'));
}

create_endpoint($node, $receiver, 'well', '/ok');
create_endpoint($node, $receiver, 'down', '/fail/1', retry_schedule => "'{100ms}'");
plain_sql("ALTER DATABASE postgres SET $_ = $setting{$_}") for sort keys %setting;

# Minor versions of 2024 brought it.
my $views = 'restrict_nonsystem_relation_kind';
my $knows_views = plain_sql("SELECT current_setting('$views', true) IS NOT NULL") eq 't';
plain_sql("ALTER DATABASE postgres SET $views = 'view'") if $knows_views;

# 17 brought it. Sessions of users would be ended as well.
if (plain_sql("SELECT current_setting('transaction_timeout', true) IS NOT NULL") eq 't')
{
	plain_sql('ALTER DATABASE postgres SET transaction_timeout = 1');
	$ENV{PGOPTIONS} = '-c transaction_timeout=0';
}

my $log_start = -s $node->logfile;
my $before = dispatcher();
plain_sql("SELECT pg_terminate_backend($before)");
wait_until(sub { dispatcher() !~ /^(?:0|$before)$/ }, 'a new dispatcher starts');
my $pid = dispatcher();

# What users do under them is theirs to bear, but for what calls us.
$node->safe_psql('postgres', q(INSERT INTO webhook_outbox.event (type, payload, source)
	SELECT 'order.created', '{}', E'a\\\\b' FROM generate_series(1, 20)));
$n += 20;
$receiver->wait_for('/ok', $n, 'it delivers');
$receiver->wait_for('/fail/1', $n, 'and tries again');
wait_until(
	sub {
		return $node->safe_psql('postgres', ($knows_views ? "SET $views = '';" : '') .
			q(SELECT count(last_run_at) > 5 AND bool_and(last_error IS NULL) FROM webhook_outbox.maintenance_status)) eq 't';
	},
	'maintenance runs as well');

# exit_on_error makes a process of its own out of each error; not here.
my $locker = $node->background_psql('template1');
$locker->query_safe('\c postgres');
$locker->query_safe('SET idle_in_transaction_session_timeout = 0; SET lock_timeout = 0; '
	  . 'BEGIN; LOCK TABLE webhook_outbox.attempt, webhook_outbox.delivery');
$node->safe_psql('postgres', q(INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{}')));
$n++;
wait_until(
	sub { n_logged($node, 'has stopped sending: [^\n]*', $log_start) == 1 },
	'a lock that is in its way stops it');
$locker->query_safe('ROLLBACK');
$locker->quit;
$receiver->wait_for('/ok', $n, 'and it goes on after that');
$receiver->wait_for('/fail/1', $n, 'with retries');
is(dispatcher(), $pid, 'it is the same process');
is($receiver->stats('/ok')->{duplicates}, 0, 'nothing was sent twice');
is(n_logged($node, 'WARNING: |transaction timeout', $log_start), 0, 'and there is nothing to warn of');

# Nor does the launcher wait for transactions of others, which such a server's
# own do unless they write.
plain_sql(q(ALTER ROLE CURRENT_USER SET default_transaction_read_only = off));
$node->append_conf('postgresql.conf', <<'CONF');
default_transaction_isolation = serializable
default_transaction_read_only = on
default_transaction_deferrable = on
CONF
$node->reload;
my $writer = $node->background_psql('template1');
$writer->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE; SELECT 1');
my $launcher = worker_pid($node, 'launcher');
plain_sql("SELECT pg_terminate_backend($launcher), pg_terminate_backend($pid)");
isnt(worker_pid($node, 'launcher', $launcher), $launcher, 'a new launcher starts while somebody writes');
wait_until(sub { dispatcher() !~ /^(?:0|$pid)$/ }, 'and starts a dispatcher');
$writer->query_safe('ROLLBACK');
$writer->quit;

finish($node, $receiver);
