# Names that do not resolve, or not in time, fail with a class and a text of
# their own; a thousand of them take up a bounded number of threads, and hold
# up nobody whose name resolves.
# Plain SQL cannot show it: it takes a DNS server that misbehaves.
use strict;
use warnings FATAL => 'all';
use Test::More;
use Hostile;
use WebhookOutbox;

BEGIN { enter_network(); }

my $receiver = start_receiver();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $hostile = start_hostile('plain', "plain\@127.0.0.1:$port",
	"full\@[::1]:$port", "plain\@127.0.0.3:$port");
my $node = start_node(conf => 'log_min_messages = debug1');

sub url_of
{
	my ($name, $path) = @_;

	return $hostile->url('plain', $path // '/ok', $name);
}

sub descriptors
{
	my $folder = '/proc/' . sender_pid($node) . '/fd';

	opendir my $dir, $folder or die "$folder: $!";
	return scalar(() = readdir $dir);
}

# ---- one name of each kind

my $unresolved = 'host name could not be resolved';
my $late = qr/host name was not resolved after \d\.\d s/;
my %expect = (
	'x.ok.test' => [ 'delivered', 200, '' ],
	'x.slow-1.test' => [ 'delivered', 200, '' ],
	'x.many.test' => [ 'delivered', 200, '' ],
	'x.dual.test' => [ 'delivered', 200, '' ],
	'x.nx.test' => [ 'dns_error', '', $unresolved ],
	'x.servfail.test' => [ 'dns_error', '', $unresolved ],
	'x.empty.test' => [ 'dns_error', '', $unresolved ],
	'x.garbage.test' => [ 'dns_error', '', "$unresolved|$late" ],
	'x.slow-6.test' => [ 'dns_error', '', "$unresolved|$late" ],
	'x.slow-60.test' => [ 'dns_error', '', "$unresolved|$late" ],
	'x.dead.test' => [ 'dns_error', '', "$unresolved|$late" ]);

for my $name (sort keys %expect)
{
	# behind the IPv6 address of dual.test packets vanish
	my $url = $name eq 'x.dual.test' ? "http://$name:$port/ok" : url_of($name);
	add_hostile($node, $name, $url);
}
publish($node, 'odd');
wait_for_attempts($node);
expect_attempts($node, %expect);

# ---- a name that resolves again after a while

add_hostile($node, 'flap', url_of('x.flap.test'), event_types => "'{flap}'",
	retry_schedule => "'{100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms}'");
publish($node, 'flap');
wait_for_sql(
	$node, q(
	SELECT count(*) FILTER (WHERE outcome = 'dns_error') > 0
	  AND count(*) FILTER (WHERE outcome = 'delivered') = 1
	FROM webhook_outbox.attempt JOIN webhook_outbox.endpoint USING (endpoint_id)
	WHERE name = 'flap'), 'an event is delivered once its name resolves');

# ---- a thousand dead names

my $N_DEAD = 1000;
my $MAX_LOOKUPS = 128;    # as http_lookup.c has it
my $PER_LOOKUP = 4;    # descriptors: the resolver's and libcurl's own

add_hostile($node, 'well', 'http://well.ok.test:' . $receiver->port . '/well',
	event_types => "'{well}'");
publish($node, 'well');
$receiver->wait_for('/well', 1, 'the endpoint that is well is known');
my $n_before = descriptors();
$node->safe_psql(
	'postgres', qq(
	SELECT webhook_outbox.create_endpoint('dead' || n,
	  format('http://n%s.dead.test/', n), event_types => '{dead}',
	  timeout => '5 s', retry_schedule => '{1h}')
	FROM generate_series(1, $N_DEAD) n));
publish($node, 'dead');

my ($threads, $descriptors, $n_well) = (0, 0, 1);
my $dead = q(FROM webhook_outbox.attempt
	JOIN webhook_outbox.endpoint USING (endpoint_id) WHERE name ~ '^dead');
wait_until(
	sub {
		publish($node, 'well');
		$n_well++;
		my ($t, $d) = (sender_status($node, 'Threads'), descriptors());
		$threads = $t if $t > $threads;
		$descriptors = $d if $d > $descriptors;
		return sql_value($node, "SELECT count(*) $dead") >= $N_DEAD;
	},
	'each of a thousand dead names got its attempt');
note("$threads threads, $descriptors descriptors at most, $n_before before");
cmp_ok($threads, '<=', $MAX_LOOKUPS + 1, 'threads are bounded');
cmp_ok($threads, '>', 16, 'though look-ups were made at once');
cmp_ok($descriptors - $n_before, '<=', $MAX_LOOKUPS * $PER_LOOKUP,
	'descriptors are bounded');
is( sql_value(
		$node, qq(
		SELECT string_agg(DISTINCT outcome::text, ' ') $dead)),
	'dns_error', 'each ended as a DNS error');
is( sql_value(
		$node, qq(
		SELECT count(*) $dead AND total_ms > 10000)),
	'0', 'in bounded time');
$receiver->wait_for('/well', $n_well, 'the one that is well got its events');
is( sql_value(
		$node, q(
		SELECT count(*) FROM webhook_outbox.attempt
		JOIN webhook_outbox.endpoint USING (endpoint_id)
		WHERE name = 'well' AND outcome <> 'delivered')),
	'0', 'all at the first attempt');

# ---- an address is no name: it does not wait behind those

wait_until(sub { sender_status($node, 'Threads') == 1 }, 'no thread is left');
$node->safe_psql(
	'postgres', qq(
	SELECT webhook_outbox.create_endpoint('unknown' || n,
	  format('http://m%s.dead.test/', n), event_types => '{unknown}',
	  timeout => '5 s', retry_schedule => '{1h}')
	FROM generate_series(1, $MAX_LOOKUPS) n));
add_hostile($node, 'address', "http://127.0.0.3:$port/ok", event_types => "'{address}'");
publish($node, 'unknown');
wait_until(sub { sender_status($node, 'Threads') > 16 },
	'names that were never looked up take up the threads');
publish($node, 'address');
wait_for_sql(
	$node, q(
	SELECT count(*) = 1 FROM webhook_outbox.attempt
	  JOIN webhook_outbox.endpoint USING (endpoint_id)
	WHERE name = 'address' AND outcome = 'delivered'), 'an event goes to an address');
wait_for_sql(
	$node, qq(
	SELECT count(*) = $MAX_LOOKUPS FROM webhook_outbox.attempt
	  JOIN webhook_outbox.endpoint USING (endpoint_id)
	WHERE name ~ '^unknown'), 'the names have had their time');
is( sql_value(
		$node, q(
		SELECT bool_and(name ~ '^unknown' OR ends_at < first_at) FROM (
		  SELECT name, started_at + total_ms * interval '1 ms' AS ends_at,
		    min(started_at + total_ms * interval '1 ms') FILTER (WHERE name ~ '^unknown')
		      OVER () AS first_at
		  FROM webhook_outbox.attempt JOIN webhook_outbox.endpoint USING (endpoint_id)
		  WHERE name ~ '^unknown' OR name = 'address') a)),
	't', 'before any of them was given up');
wait_until(sub { sender_status($node, 'Threads') == 1 },
	'no thread is left in the end');

finish($node, $receiver);
