# With default_transaction_read_only delivery goes on: the workers write what they
# have to. It can be set in the configuration, for the database or for a role.
# Plain SQL cannot show it: workers have to start and reload under the setting.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(extension => 0, conf => 'default_transaction_read_only = on');
my $n = 0;

# Runs what is to write all the same.
sub write_sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "SET default_transaction_read_only = off; $sql");
}

# Three ways to have the setting: with the worker that runs, with a new one, and
# for what is tried again.
sub goes_on
{
	my ($where) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', 'CREATE TABLE refused ()');
	my $pid = worker_pid($node, 'dispatcher');
	my $publish = q(INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{}'));

	like($err, qr/read-only transaction/, "$where: sessions may not write");
	write_sql($publish);
	$receiver->wait_for('/ok', ++$n, "$where: an event is delivered");
	$receiver->wait_for('/fail/1', $n, "$where: a retry too");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	isnt(worker_pid($node, 'dispatcher', $pid), $pid, "$where: another dispatcher starts");
	write_sql($publish);
	$receiver->wait_for('/ok', ++$n, "$where: it delivers");
	$receiver->wait_for('/fail/1', $n, "$where: and tries again");
	all_delivered($node, "$where: all is on record");
	return;
}

write_sql('CREATE EXTENSION webhook_outbox');
for my $path ('/ok', '/fail/1')
{
	my ($name, $url) = ($path =~ /(\w+)/, $receiver->url($path));
	my $secret = write_sql("SELECT secret FROM webhook_outbox.create_endpoint('$name', '$url',
		retry_schedule => '{100ms,100ms}')");

	$receiver->secrets($path, $secret);
}
goes_on('postgresql.conf');
$node->append_conf('postgresql.conf', 'default_transaction_read_only = off');
$node->reload;
wait_for_sql($node, "SELECT current_setting('default_transaction_read_only') = 'off'", 'sessions may write again');
my %where = (
	'ALTER DATABASE' => 'DATABASE postgres',
	'ALTER ROLE' => 'ROLE CURRENT_USER',
	'ALTER ROLE ALL' => 'ROLE ALL');
for my $where (sort keys %where)
{
	write_sql("ALTER $where{$where} SET default_transaction_read_only = on");
	goes_on($where);
	write_sql("ALTER $where{$where} RESET default_transaction_read_only");
}
$node->safe_psql('postgres', 'ALTER SYSTEM SET default_transaction_read_only = on');
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('default_transaction_read_only') = 'on'");
goes_on('ALTER SYSTEM');
wait_for_sql($node, 'SELECT bool_and(last_error IS NULL) AND count(last_run_at) > 0 FROM webhook_outbox.maintenance_status',
	'maintenance runs as well');
is(sql_value($node, q(SELECT state FROM webhook_outbox.worker_status WHERE process = 'dispatcher')),
	'idle', 'and worker_status has nothing to say');

finish($node, $receiver);
