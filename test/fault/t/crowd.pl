# Ten thousand endpoints, of which one in a hundred is dead: refuses connections,
# lets them hang, or answers 500, and is owed more than it may have in flight. The
# others get all of theirs, as soon as without the dead, and only the dead have
# rows in delivery.
#
# Phases with and without the dead (paused) follow one another in pairs; what is
# compared is the 99th percentile of created_at to received in both phases of a
# pair, and the median of the pairs counts. It is judged in the long form alone,
# and only where phases without the dead differ from one another by less than the
# bound: on a machine that does other things besides, the figures say nothing.
#
# Settings: FAULT_ENDPOINTS, FAULT_RATE (events a second), FAULT_PAIRS,
# FAULT_SECONDS (of a phase).
use strict;
use warnings FATAL => 'all';
use Fault;
use Hostile;
use Test::More;
use WebhookOutbox;

my $BOUND = 1.2;
my $n_endpoints = fault_size(10_000, 1_000, 'ENDPOINTS');
my $rate = fault_size(500, 100, 'RATE');
my $n_pairs = fault_size(5, 1, 'PAIRS');
my $seconds = fault_size(20, 3, 'SECONDS');
my $n_dead = $n_endpoints / 100;
my $is_dead = 'substr(name, 2)::integer % 100 = 0';
my $seed = fault_seed();
my $receiver = start_receiver();
my $hostile = start_hostile('full');
my $node = start_node(conf => 'webhook_outbox.max_in_flight = '
	  . fault_size(1024, 64) . "\nfsync = off\n");

# ---- the crowd: each endpoint has a tenant of its own

my @dead_url = map { "'http://127.0.0.1:$_'" }
  PostgreSQL::Test::Cluster::get_free_port(), $hostile->port('full');
push @dead_url, "'" . $receiver->url('/status/500') . "'";
my $base = $receiver->url('/well/');
$node->safe_psql('postgres', qq(
	SELECT webhook_outbox.create_endpoint('e' || n,
	  CASE WHEN n % 100 > 0 THEN '$base' || n
	  ELSE (ARRAY[@{[ join ', ', @dead_url ]}])[n / 100 % 3 + 1] END,
	  tenant => 't' || n, retry_schedule => array_fill('3 s'::interval, ARRAY[100]))
	FROM generate_series(1, $n_endpoints) n));
insert('warm', 'SELECT 1');
$receiver->wait_for('/well/1', 1, "$n_endpoints endpoints are taken over");

# Events for the tenants that a query names.
sub insert
{
	my ($type, $query) = @_;

	return $node->safe_psql('postgres', 'INSERT INTO webhook_outbox.event '
		  . "(type, tenant, payload) SELECT '$type', 't' || n, '{}' FROM ($query) x (n)");
}

sub enable_dead
{
	my ($is_enabled) = @_;

	return $node->safe_psql('postgres',
		"UPDATE webhook_outbox.endpoint SET enabled = $is_enabled WHERE $is_dead");
}

# ---- the phases

sub publish_steadily
{
	my ($type) = @_;
	my $last = $n_endpoints - $n_dead - 1;

	return $node->pgbench("-n -c 2 -T $seconds -R $rate --random-seed=$seed", 0,
		[qr/number of failed transactions: 0 /], [qr//], "events of $type are published",
		{ "crowd_$type" => <<"SQL" });
\\set n random(0, $last)
\\set n :n / 99 * 100 + :n % 99 + 1
INSERT INTO webhook_outbox.event (type, tenant, payload) VALUES ('$type', 't' || :n, '{}');
SQL
}

# Those who hang get more than they may have in flight, the others their share.
# What one transaction of thousands of events costs is no matter of the dead: the
# phase begins when its last event was read.
sub burden_dead
{
	my $share = int($seconds * $rate / 100) + 1;

	insert('dead', "SELECT n FROM generate_series(100, $n_endpoints, 100) n, generate_series(1, "
		  . "CASE n / 100 % 3 WHEN 1 THEN 100 ELSE ceil($share.0 / $n_dead)::integer END)");
	enable_dead('true');
	insert('behind', 'SELECT 1');
	return wait_for_sql($node, q(SELECT count(*) = (SELECT count(*) FROM webhook_outbox.event
		WHERE type = 'behind') FROM webhook_outbox.attempt JOIN webhook_outbox.event ON id = event_id
		WHERE type = 'behind'), 'what the dead are owed is read');
}

# Pauses the dead, and waits for what they have in flight.
sub relieve_dead
{
	enable_dead('false');
	return wait_for_sql($node, q(SELECT in_flight = 0 FROM webhook_outbox.worker_status
		WHERE process = 'dispatcher'), 'the dead have nothing in flight');
}

enable_dead('false');
for my $pair (1 .. $n_pairs)
{
	for my $which ($pair % 2 ? qw(without with) : qw(with without))
	{
		$which eq 'with' ? burden_dead() : relieve_dead();
		publish_steadily("$which.$pair");
	}
}

# ---- what became of it

wait_for_sql($node, qq(SELECT count(DISTINCT endpoint_id) = $n_dead FROM webhook_outbox.attempt
	JOIN webhook_outbox.endpoint USING (endpoint_id) WHERE $is_dead AND outcome <> 'delivered'),
	'each of the dead has failed');
wait_for_sql($node, q(
	SELECT count(*) = (SELECT count(*) FROM webhook_outbox.event WHERE type ~ '^with')
	FROM webhook_outbox.attempt JOIN webhook_outbox.event ON id = event_id
	WHERE type ~ '^with' AND outcome = 'delivered'),
	'all events of healthy endpoints are delivered and on record');
is( sql_value($node, qq(SELECT count(*) FROM webhook_outbox.delivery
	JOIN webhook_outbox.endpoint USING (endpoint_id) WHERE NOT $is_dead)),
	'0', 'no healthy endpoint has a row in delivery');
is( sql_value($node, qq(SELECT count(*) FROM webhook_outbox.event e
	JOIN webhook_outbox.endpoint p USING (tenant) WHERE e.type = 'dead'
	AND NOT EXISTS (SELECT FROM webhook_outbox.delivery d
	  WHERE d.event_id = e.id AND d.endpoint_id = p.endpoint_id)
	AND NOT EXISTS (SELECT FROM webhook_outbox.dead_letter d
	  WHERE d.event_id = e.id AND d.endpoint_id = p.endpoint_id))),
	'0', 'no event of the dead is lost');
my %n = map { split /\|/ } split /\n/, sql_value($node,
	'SELECT state, count(*) FROM webhook_outbox.delivery GROUP BY 1');
note('rows of the dead: ' . join ', ', map { "$n{$_} $_" } sort keys %n);
cmp_ok($n{parked} // 0, '>', 0, 'the dead were owed more than they could take');

my %arrived;
my $n_again = 0;
open my $log, '<', $receiver->{log} or die "$receiver->{log}: $!";
while (my $line = <$log>)
{
	my ($at, $path, $id) = $line =~ /"at":(\d+).*?"path":"([^"]+)","id":"([^"]+)"/
	  or next;
	next if $path !~ m{^/well/};
	$n_again++ if $arrived{$id};
	$arrived{$id} //= $at / 1e6;
}
close $log;
is($n_again, 0, 'none was sent twice to a healthy endpoint');

# Milliseconds from created_at to received, sorted, of a type.
sub latencies
{
	my ($type) = @_;
	my @ms;

	for (split /\n/, sql_value($node, 'SELECT id, extract(epoch FROM created_at) '
		  . "FROM webhook_outbox.event WHERE type = '$type'"))
	{
		my ($id, $at) = split /\|/;
		push @ms, 1000 * ($arrived{$id} - $at) if $arrived{$id};
	}
	return sort { $a <=> $b } @ms;
}

sub median
{
	return (sort { $a <=> $b } @_)[ $#_ / 2 ];
}

my (@ratios, @p99);
for my $pair (1 .. $n_pairs)
{
	my %p99;

	for my $which (qw(without with))
	{
		my @ms = latencies("$which.$pair");

		$p99{$which} = $ms[ 0.99 * $#ms ];
		note(sprintf 'pair %d, %s: p50 %.1f, p99 %.1f, max %.1f ms (of %d)', $pair, $which,
			$ms[ $#ms / 2 ], $p99{$which}, $ms[-1], scalar @ms);
	}
	push @p99, $p99{without};
	push @ratios, $p99{with} / $p99{without};
}
my $ratio = median(@ratios);
my $noise = (sort { $a <=> $b } @p99)[-1] / (sort { $a <=> $b } @p99)[0];
note(sprintf 'healthy p99 with / without the dead: %.2f (%s); without, highest / lowest: %.2f',
	$ratio, join(' ', map { sprintf '%.2f', $_ } @ratios), $noise);
SKIP:
{
	skip 'latencies are not judged: ' . ($ENV{FAULT_SHORT} ? 'short form' : 'noisy machine'), 1
	  if $ENV{FAULT_SHORT} || $noise > $BOUND;
	cmp_ok($ratio, '<=', $BOUND, 'the dead do not slow down the others');
}

finish($node, $receiver);
