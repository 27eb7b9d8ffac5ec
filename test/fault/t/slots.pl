# Each of the workers in turn finds no worker slot, and dispatchers and senders start
# while all connections are taken: the log and worker_status name the setting (or
# nothing is missing), publishing goes on, and once there are slots all is delivered
# by itself.
#
# The launcher's slot is taken by a server with one slot in all, the others' by
# parallel workers that sleep.
use strict;
use warnings FATAL => 'all';
use Fault;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
# slots: logical replication, launcher, dispatcher, sender, maintenance
my $node = start_node(extension => 0,
	conf => "max_worker_processes = 5\nmax_parallel_workers = 5\n");
my $in_parallel = $node->safe_psql('postgres',
	q(SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')));
my $n_published = 0;

# Takes one slot until the session ends. Returns the session.
sub take_slot
{
	my $n = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'";
	my $n_before = $node->safe_psql('postgres', $n);
	my $session = $node->background_psql('postgres');

	$session->query_safe("SET $in_parallel = on");
	$session->query_until(qr/^/, "SELECT pg_sleep('infinity');\n");
	$node->poll_query_until('postgres', "SELECT ($n) > $n_before") or die 'no slot was taken';
	return $session;
}

sub free_slot
{
	$node->safe_psql('postgres', q(
		SELECT pg_terminate_backend(leader_pid) FROM pg_stat_activity
		WHERE backend_type = 'parallel worker' LIMIT 1));
	return;
}

sub publish_some
{
	publish($node, 'order.created') for 1 .. 5;
	$n_published += 5;
	return;
}

# The log names the setting, once; so does worker_status.
sub is_told
{
	my ($who, $words) = @_;

	wait_until(sub { n_logged($node, qr/$words: no worker slot is free\n.*HINT: .*max_worker_processes/) },
		"$who: the log says which setting to raise");
	return wait_for_sql($node, q(SELECT bool_or(last_error LIKE '%max_worker_processes')
		FROM webhook_outbox.worker_status WHERE process = 'dispatcher'),
		"$who: worker_status says so too");
}

# ---- dispatcher and sender

wait_for_sql($node, q(SELECT count(*) = 0 AND (SELECT count(*) = 1 FROM pg_stat_activity
	WHERE backend_type = 'webhook_outbox launcher')
	FROM pg_stat_activity WHERE backend_type = 'webhook_outbox dispatcher'),
	'no dispatcher looks for the extension any more');
my @sessions = map { take_slot() } 1 .. 3;
$node->safe_psql('postgres', 'CREATE EXTENSION webhook_outbox');
create_endpoint($node, $receiver, 'well', '/well');
is_told('dispatcher', 'cannot start a dispatcher');
publish_some();
free_slot();
wait_for_sql($node, q(SELECT bool_or(is_running) FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher'), 'dispatcher: it starts when a slot is free');
is_told('sender', 'cannot start a sender');
publish_some();
is($receiver->stats('/well')->{requests}, 0, 'sender: nothing is sent without one');
free_slot();
$receiver->wait_for('/well', $n_published, 'sender: it starts when a slot is free, and all is delivered');

# ---- maintenance: it has what is left

if (!$ENV{FAULT_SHORT})
{
	my $words = qr/cannot run its maintenance: no worker slot is free\n.*HINT: .*max_worker_processes/;

	# one is taken still; a run that came before it has to be over
	wait_until(sub { publish_some() if !n_logged($node, $words); n_logged($node, $words) },
		'maintenance: the log says which setting to raise');
	publish_some();
	$receiver->wait_for('/well', $n_published, 'maintenance: deliveries go on without it');
	free_slot();
	wait_for_sql($node, q(SELECT max(last_run_at) > now() - interval '10 s'
		FROM webhook_outbox.maintenance_status), 'maintenance: it runs when a slot is free');
}
else
{
	free_slot();
}

# ---- all connections are taken while a dispatcher starts

my @crowd;
my $dispatcher = worker_pid($node, 'dispatcher');
my $max = $node->safe_psql('postgres', 'SHOW max_connections') -
  $node->safe_psql('postgres', 'SHOW superuser_reserved_connections');
$node->safe_psql('postgres', 'CREATE ROLE crowd LOGIN');
push @crowd, $node->background_psql('postgres', extra_params => [ '-U', 'crowd' ]) for 1 .. $max;
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT 1', extra_params => [ '-U', 'crowd' ]);
like($err, qr/remaining connection slots|too many clients/, 'connections: there is none left');
publish_some();
$node->safe_psql('postgres', "SELECT pg_terminate_backend($dispatcher)");
worker_pid($node, 'dispatcher', $dispatcher);
publish_some();
$receiver->wait_for('/well', $n_published, 'connections: a dispatcher starts and delivers all the same');
$_->quit for @crowd;

# ---- the launcher

$node->adjust_conf('postgresql.conf', 'max_worker_processes', '1');
$node->restart;
ok(n_logged($node, qr/too many background workers\n.*DETAIL: .*\n.*HINT: .*max_worker_processes/),
	'launcher: the log says which setting to raise');
is(sql_value($node, q(SELECT string_agg(process || ' ' || is_running, ', ' ORDER BY process)
	FROM webhook_outbox.worker_status WHERE process <> 'sender' AND expected)),
	'dispatcher false, launcher false', 'launcher: worker_status shows that it is missing');
publish_some();
$node->adjust_conf('postgresql.conf', 'max_worker_processes', '8');
$node->restart;
$receiver->wait_for('/well', $n_published, 'launcher: with enough slots all is delivered');
all_delivered($node, 'and recorded');
is($receiver->stats('/well')->{duplicates}, 0, 'once');
finish($node, $receiver);
