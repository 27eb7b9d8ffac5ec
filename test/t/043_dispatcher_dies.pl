# A dispatcher that is terminated comes back and goes on where it was.
# Plain SQL cannot show it: a process has to end with requests in flight.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'well', '/delay/3');
create_endpoint($node, $receiver, 'flaky', '/fail/1',
	retry_schedule => "'{100ms,100ms,100ms}'");

my $n = 0;
my $pid = 0;
for my $round (1 .. 3)
{
	publish_many($node, 'order.created', 500);
	$n += 500;
	$receiver->wait_for('/delay/3', $n - 400, "round $round is under way");
	$pid = worker_pid($node, 'dispatcher', $pid);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	isnt(worker_pid($node, 'dispatcher', $pid), $pid, 'it comes back');
}
$receiver->wait_for('/delay/3', $n, 'everything arrives');
$receiver->wait_for('/fail/1', $n, 'retries go on');
all_delivered($node, 'and is recorded');
is($receiver->stats('/delay/3')->{ids}, $n, 'nothing else was sent');

# A cancel is no reason to end: there is nothing that it could be about.
my $log_start = -s $node->logfile;
$pid = worker_pid($node, 'dispatcher');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$node->wait_for_log(qr/canceling statement due to user request/, $log_start);
publish($node, 'order.created');
$receiver->wait_for('/delay/3', ++$n, 'after a cancel delivery goes on');
is(worker_pid($node, 'dispatcher'), $pid, 'in the same process');

# the launcher likewise
$pid = worker_pid($node, 'launcher');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
isnt(worker_pid($node, 'launcher', $pid), $pid, 'so does the launcher');
publish($node, 'order.created');
$receiver->wait_for('/delay/3', $n + 1, 'delivery goes on');
is( sql_value(
		$node, q(SELECT count(*) FROM pg_stat_activity
		WHERE backend_type LIKE 'webhook_outbox dispatcher%')),
	'1', 'by one dispatcher');

# To be terminated is no failure: however often, it comes back at once. Were each
# pause twice as long as the one before, this would take minutes.
my %seen;
wait_until(
	sub {
		my $next = sql_value($node, q(SELECT pg_terminate_backend(pid), pid FROM pg_stat_activity
			WHERE backend_type LIKE 'webhook_outbox dispatcher%'));
		$seen{$next} = 1 if $next ne '';
		return keys %seen >= 12;
	},
	'a dispatcher that is terminated again and again comes back at once');

# One that fails backs off: it would fill the log.
$log_start = -s $node->logfile;
my $fault = $node->data_dir . '/webhook_outbox.fault';
my $word = 0;
my @failures;
$pid = worker_pid($node, 'dispatcher');
wait_until(
	sub {
		if (!-e $fault)
		{
			append_to_file("$fault.new", 'dispatcher_start:error:1:' . ++$word);
			rename "$fault.new", $fault or die "$fault: $!";
			$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)") if $word == 1;
		}
		@failures = substr(slurp_file($node->logfile), $log_start) =~
		  /:(\d\d:\d\d\.\d+) UTC \[\d+\] ERROR: .*fault point "dispatcher_start"/g;
		return @failures >= 5;
	},
	'a dispatcher that fails is started again');
my ($before, $after) = map { my ($min, $s) = split /:/; $min * 60 + $s } @failures[ 3, 4 ];
cmp_ok(($after - $before + 3600) % 3600, '>=', 3, 'later each time');
unlink $fault;
publish($node, 'order.created');
$receiver->wait_for('/delay/3', $n + 2, 'when nothing fails any more it delivers');

finish($node, $receiver);
