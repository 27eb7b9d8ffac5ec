# valgrind.pl - a server under valgrind delivers, retries, gives up, meets bad
# receivers, closes minutes, reloads and loses its workers: none of them needs
# more memory the more it has delivered. What valgrind finds in this and in other
# tests is judged by majors.pl.
#
# test/check.sh valgrind runs it, on a server that tells valgrind of each palloc;
# elsewhere it is skipped. Not part of the default suites: it takes minutes.

use strict;
use warnings FATAL => 'all';

use lib 'test/suite';

use Certificates;
use Hostile;
use Memcheck;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

plan skip_all => 'test/check.sh valgrind starts servers under valgrind'
  if !$ENV{WO_MEMCHECK};

# Events at a time, and how often in a short life and in a long one: what is
# held for those under way at once is the same in both.
my $n_events = 200;
my ($short, $long) = (1, 10);
# what a worker may hold more at the end of the long one
my $growth_limit = 100 * $n_events * ($long - $short);

# ---- receivers

my $receiver = start_receiver();
my ($stranger) =
  make_certificate('stranger', [ DNS => 'stranger.test' ], CA => 1, issuer => undef);
my $tls = join ':', 'tls', make_certificate('here', [ IP => '127.0.0.1' ]);
my $hostile = start_hostile('plain', $tls, 'rst');

# ---- a server with endpoints

# who else is trusted: to read the many that the system trusts takes seconds
my $node = start_node(conf => <<"CONF");
autovacuum = off
webhook_outbox.enabled = off
webhook_outbox.ca_file = '$stranger'
CONF

create_endpoint($node, $receiver, 'well', '/ok', event_types => "'{load}'");
create_endpoint($node, $receiver, 'flaky', '/fail/1',
	event_types => "'{load}'", retry_schedule => "'{20ms}'");
add_hostile(
	$node, 'secure', $hostile->url($tls, '/ok'),
	event_types => "'{load.secure}'",
	# a handshake for each request: of too many at once none would end in time
	max_in_flight => 2,
	retry_schedule => "array_fill('200 ms'::interval, '{20}')",
	ca_certificates => '$pem$' . ca_pem() . '$pem$');
my %odd = (
	status => $receiver->url('/status/503'),
	big => $receiver->url('/big/100000'),
	redirect => $receiver->url('/redirect'),
	malformed => $receiver->url('/malformed'),
	halfclose => $receiver->url('/halfclose'),
	bytes => $receiver->url('/bytes/00ff8041'),
	slow => $receiver->url('/hang'),
	untrusted => $hostile->url($tls, '/ok'),
	reset => $hostile->url('rst'),
	name => 'http://nobody.invalid/');
add_hostile($node, $_, $odd{$_}, event_types => "'{odd}'",
	retry_schedule => "'{10ms}'", timeout => "'2 s'")
  for sort keys %odd;

$node->append_conf('postgresql.conf', 'webhook_outbox.enabled = on');
$node->reload;

# one session for all: a new one takes a second of CPU
my $session = $node->background_psql('postgres');
$session->set_query_timer_restart;
# a notice ends the test, and maintain() has one when the worker is at it
$session->query_safe('SET client_min_messages = warning');

sub wait_for_true
{
	my ($query, $claim) = @_;

	return wait_until(
		sub {
			return 1 if $session->query_safe($query) eq 't';
			# a look costs as much CPU as some deliveries
			tick(20);
			return 0;
		},
		$claim);
}

# Publish so many events, and wait until nothing is owed to anybody.
sub deliver
{
	my ($type, $n) = @_;

	$session->query_safe("INSERT INTO webhook_outbox.event (type, payload) "
		  . "SELECT '$type', json_build_object('n', n) "
		  . "FROM generate_series(1, $n) n");
	return wait_for_true(
		q(SELECT count(*) = 0 FROM webhook_outbox.delivery_status
		WHERE state IN ('pending', 'retrying')),
		"$n events $type are settled");
}

# ---- what valgrind says

# What a process held at its end, once that has come.
sub memory_of
{
	my ($process, $pid) = @_;

	wait_until(sub { !kill 0, $pid }, "process $pid has ended");
	my ($held, $lost) = memcheck_held(slurp_file("$ENV{WO_MEMCHECK}.$pid"));
	note("$process: $held bytes at its end, $lost of them lost");
	return { held => $held, lost => $lost };
}

# Terminate sender and dispatcher, and wait for others; what those two held.
sub new_lives
{
	my %pid = map { split /\|/ } split /\n/,
	  $session->query_safe(q(SELECT process, pid
		FROM webhook_outbox.worker_status WHERE process <> 'launcher'));
	my %memory;

	for my $process (qw(sender dispatcher))
	{
		kill 'TERM', $pid{$process};
		$memory{$process} = memory_of($process, $pid{$process});
	}
	wait_for_true(
		qq(SELECT count(*) = 2 FROM webhook_outbox.worker_status
		WHERE pid NOT IN ($pid{sender}, $pid{dispatcher})
		  AND process IN ('sender', 'dispatcher')), 'others take over');
	return \%memory;
}

# ---- the run

my $n_senders =
  q(SELECT count(*) = %d FROM webhook_outbox.worker_status WHERE process = 'sender');

deliver('odd', 2);
# all but two of them: what is big or bytes has come all the same
wait_for_true(
	q(SELECT count(*) = 16 FROM webhook_outbox.dead_letter),
	'what bad receivers made of it is given up');
$session->query_safe($_)
  for 'ALTER SYSTEM SET webhook_outbox.senders = 2',
  q(ALTER SYSTEM SET webhook_outbox.response_excerpt = '1kB'),
  'SELECT pg_reload_conf()';
wait_for_true(sprintf($n_senders, 2),
	'a second sender comes with a reload');
deliver('load', 20);
$session->query_safe($_)
  for 'ALTER SYSTEM RESET webhook_outbox.senders',
  'SELECT pg_reload_conf()',
  q(SELECT webhook_outbox.rotate_secret('secure')),
  q(SELECT webhook_outbox.redeliver_dead_letters('status'));
wait_for_true(sprintf($n_senders, 1), 'and goes with another');
deliver('odd', 1);

my %life;
new_lives();
for my $n ($short, $long)
{
	for (1 .. $n)
	{
		deliver('load.secure', 10);
		deliver('load', $n_events);
	}
	$life{$n} = new_lives();
}
is( $session->query_safe(
		q(SELECT count(*) FROM webhook_outbox.dead_letter
		WHERE endpoint_name IN ('well', 'flaky', 'secure'))),
	'0', 'good receivers got all of it');
wait_for_true('SELECT count(*) > 0 FROM webhook_outbox.endpoint_rollup',
	'minutes were closed');
$session->query_safe('SELECT webhook_outbox.maintain()');
$session->quit;
$node->stop;

for my $process (qw(sender dispatcher))
{
	my ($before, $after) = map { $life{$_}{$process} } $short, $long;

	cmp_ok($after->{lost}, '<=', $before->{lost},
		"a $process loses no more memory in a long life than in a short one");
	cmp_ok($after->{held} - $before->{held}, '<', $growth_limit,
		"nor does it hold much more");
}
done_testing();
