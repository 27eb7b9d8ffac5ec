# An address that is not permitted is never dialled, however it is spelled,
# and a connection from before a reload that forbids it is not used again.
# Plain SQL cannot show it: only a listener knows who has connected.
use strict;
use warnings FATAL => 'all';
use IO::Socket::IP;
use Test::More;
use WebhookOutbox;

# A listener that nobody may connect to.
sub start_canary
{
	my ($address, $port) = @_;

	return IO::Socket::IP->new(
		LocalHost => $address,
		LocalPort => $port // 0,
		Listen => 100,
		ReuseAddr => 1,
		Blocking => 0);
}

my $receiver = start_receiver();
my $node = start_node();
my $canary = start_canary('127.0.0.1') or die "no canary: $!";
my $port = $canary->sockport;
my $canary_v6 = start_canary('::1', $port);
# the server itself listens on a Unix socket, so its port is free
my $own = start_canary('127.0.0.1', $node->port) or die "own port: $!";

sub set_networks
{
	my ($networks) = @_;

	$node->safe_psql('postgres',
		"ALTER SYSTEM SET webhook_outbox.allowed_networks = '$networks'");
	$node->reload;
	return wait_for_sql($node,
		"SELECT current_setting('webhook_outbox.allowed_networks') = '$networks'",
		"allowed_networks = '$networks'");
}

# The outcome of the last attempt of an event.
sub last_outcome
{
	my ($id) = @_;

	return sql_value($node,
		"SELECT outcome FROM webhook_outbox.attempt WHERE event_id = '$id' "
		  . 'ORDER BY number DESC LIMIT 1');
}

create_endpoint($node, $receiver, 'probe', '/probe',
	event_types => q('{probe}'), max_in_flight => 1,
	retry_schedule => q(array_fill('1 s'::interval, '{100}')));
publish($node, 'probe') for 1 .. 3;
$receiver->wait_for('/probe', 3, 'a network that is listed is reached');
my %conns = map { $_->{conn} => 1 } $receiver->requests('/probe');
is(scalar keys %conns, 1, 'over a connection that is kept');

set_networks('0.0.0.0/0, ::/0');
my %reason = (
	'127.0.0.1' => 'loopback address',
	'2130706433' => 'loopback address',
	'0x7f000001' => 'loopback address',
	'0x7f.0.0.0x1' => 'loopback address',
	'017700000001' => 'loopback address',
	'0177.0.0.01' => 'loopback address',
	'127.1' => 'loopback address',
	'127.0.1' => 'loopback address',
	'127.9.9.9' => 'loopback address',
	'0' => 'reserved address',
	'0.0.0.0' => 'reserved address',
	'localhost' => 'loopback address',
	'LOCALHOST' => 'loopback address',
	'any.localhost' => 'loopback address',
	'[::1]' => 'loopback address',
	'[::]' => 'reserved address',
	'[::ffff:127.0.0.1]' => 'loopback address',
	'[::ffff:7f00:1]' => 'loopback address',
	'[::127.0.0.1]' => 'loopback address',
	'[64:ff9b::127.0.0.1]' => 'loopback address',
	'[2002:7f00:1::1]' => 'loopback address',
	'10.255.255.1' => 'private address',
	'[fd12:3456::1]' => 'private address');
$node->safe_psql('postgres',
	    "SELECT webhook_outbox.create_endpoint('$_', 'https://$_:$port/', "
	  . "event_types => '{order.*}', retry_schedule => '{1h}', timeout => '5 s')")
  for sort keys %reason;

# An attempt that is refused tells that the sender knows of the change.
set_networks('');
my $probe = publish($node, 'probe');
wait_until(
	sub {
		my $outcome = last_outcome($probe);
		return 1 if $outcome eq 'blocked';
		$probe = publish($node, 'probe') if $outcome ne '';
		return 0;
	},
	'a network that is not listed any more is not');
my $n = $receiver->stats('/probe')->{requests};
my $id = publish($node, 'order.created');
wait_for_sql(
	$node, "SELECT count(*) = ${\ scalar keys %reason }
	FROM webhook_outbox.attempt WHERE event_id = '$id'",
	'each endpoint got its attempt');
my %got = map { split /\|/ } split /\n/, sql_value(
	$node, "SELECT name, outcome || ', ' || error FROM webhook_outbox.attempt
	JOIN webhook_outbox.endpoint USING (endpoint_id)
	WHERE event_id = '$id'");
is($got{$_}, "blocked, not permitted: $reason{$_}", "$_ is refused")
  for sort keys %reason;
is( sql_value(
		$node, "SELECT count(*) FROM webhook_outbox.delivery
		WHERE event_id = '$id' AND state = 'retrying'"),
	scalar keys %reason,
	'all are tried again by their schedule');
like(
	sql_value($node, "SELECT webhook_outbox.explain_event('$id')"),
	qr/blocked: not permitted: loopback address\.\n  .*webhook_outbox\.allowed_networks/,
	'explain_event says why, and names the setting');
is($receiver->stats('/probe')->{requests},
	$n, 'no request goes over the connection that was kept');

# The server's own port stays closed whatever is listed, the rest opens.
set_networks('127.0.0.0/8');
wait_for_sql(
	$node, "SELECT state = 'delivered' FROM webhook_outbox.delivery_status
	WHERE event_id = '$probe'",
	'what was refused is delivered once its network is listed');
my $own_url = 'https://127.0.0.1:' . $node->port . '/';
my ($rc, $out, $err) = $node->psql('postgres',
	"SELECT webhook_outbox.create_endpoint('own', '$own_url')");
like($err, qr/not permitted: port of this PostgreSQL server/,
	"an endpoint at the server's own port is refused");
$node->safe_psql('postgres',
	    'ALTER TABLE webhook_outbox.endpoint DISABLE TRIGGER endpoint_before_write; '
	  . "SELECT webhook_outbox.create_endpoint('own', '$own_url', event_types => '{own}'); "
	  . 'ALTER TABLE webhook_outbox.endpoint ENABLE TRIGGER endpoint_before_write');
$id = publish($node, 'own');
wait_until(sub { last_outcome($id) eq 'blocked' },
	'and one that got there all the same is never dialled');

# A connection that is in use while its network is closed is kept, too.
create_endpoint($node, $receiver, 'held', '/hold', event_types => q('{held}'),
	max_in_flight => 1, retry_schedule => q('{1h}'));
publish($node, 'held');
$receiver->wait_for_requests('/hold', 1, 'a request is under way');
set_networks('');
wait_until(sub { last_outcome(publish($node, 'probe')) eq 'blocked' || 0 },
	'the sender knows that its network is closed');
$receiver->release('/hold');
$receiver->wait_for('/hold', 1, 'it ends as it would have');
$id = publish($node, 'held');
wait_until(sub { last_outcome($id) ne '' }, 'the next one is tried');
is(last_outcome($id), 'blocked', 'and is refused');
is($receiver->stats('/hold')->{requests}, 1, 'nothing goes out for it');

for my $socket (grep { defined } $canary, $canary_v6, $own)
{
	ok(!$socket->accept, 'nobody has connected to '
		  . $socket->sockhost . ' port ' . ($socket == $own ? 'own' : 'other'));
}

finish($node, $receiver);
