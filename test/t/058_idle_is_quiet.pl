# While no transaction ends in the cluster, no query of the extension runs, and
# its processes use next to no CPU.
# Plain SQL cannot show it: it would end a transaction to look.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WebhookOutbox;

# That nothing happens can only be seen by letting time pass. With this many
# polls in it, a query that a poll runs would show.
my $quiet_s = 3;
my $max_ticks = 5;    # of 1/100 s, each process

my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.poll_interval = 100ms\n"
	  . "webhook_outbox.senders = 2\nautovacuum = off");
create_endpoint($node, $receiver, 'well', '/well');
create_endpoint($node, $receiver, 'down', '/status/503',
	retry_schedule => "'{1h}'");
create_endpoint($node, $receiver, 'paused', '/paused', enabled => 'false');

# Scans of the extension's tables. It reads no table of ours and has no xid.
sub scans
{
	return sql_value(
		$node, q(
		SELECT sum(coalesce(seq_scan, 0) + coalesce(idx_scan, 0) + n_tup_ins
		           + n_tup_upd + n_tup_del)
		FROM pg_stat_user_tables WHERE schemaname = 'webhook_outbox'));
}

# Ticks of CPU that a process has used, in user and system mode.
sub ticks
{
	my ($pid) = @_;
	my @fields = split / /, slurp_file("/proc/$pid/stat") =~ s/^.*\) //sr;

	return $fields[11] + $fields[12];
}

# Waits until there were no scans for that long; returns the CPU used meanwhile.
sub watch_quiet
{
	my ($claim, @pids) = @_;
	my ($seen, $since, @before) = ('', 0);

	wait_until(
		sub {
			my $scans = scans();

			return time - $since >= $quiet_s if $scans eq $seen;
			($seen, $since) = ($scans, time);
			@before = map { ticks($_) } @pids;
			return 0;
		},
		$claim);
	return map { ticks($pids[$_]) - $before[$_] } 0 .. $#pids;
}

sub pids
{
	return split /\n/, sql_value($node,
		'SELECT pid FROM webhook_outbox.worker_status WHERE is_running ORDER BY pid');
}

publish($node, 'order.created');
$receiver->wait_for('/well', 1, 'an event is delivered');
wait_for_sql(
	$node, q(SELECT count(*) = 2 FROM webhook_outbox.delivery),
	'one waits for a retry, one for a paused endpoint');
wait_for_sql(
	$node,
	'SELECT count(*) = 4 FROM webhook_outbox.worker_status WHERE is_running',
	'launcher, dispatcher and both senders run');
my @pids = pids();
my @used = watch_quiet('then no query runs', @pids);
note("ticks used: @used");
cmp_ok((sort { $b <=> $a } @used)[0],
	'<=', $max_ticks, 'and hardly any CPU is used');

# the same scans tell when something happens
my $before = scans();
publish($node, 'order.created');
wait_until(sub { scans() > $before }, 'an event ends the silence');
$receiver->wait_for('/well', 2, 'and is delivered');
watch_quiet('then it is quiet again');

switch_delivery($node, 'off', 'switched off');
publish($node, 'order.created');
@used = watch_quiet('no query runs while an event waits for the switch', @pids);
note("ticks used: @used");
cmp_ok((sort { $b <=> $a } @used)[0],
	'<=', $max_ticks, 'and hardly any CPU is used');
is_deeply([ pids() ], \@pids, 'the processes are the same');

finish($node, $receiver);
