# Each address that a name resolves to is judged when it is about to be
# dialled: what is permitted is reached, what is not is not even tried, and a
# name that changes its answer gains nothing.
# Plain SQL cannot show it: it takes a network and names of the test's own.
use strict;
use warnings FATAL => 'all';
use IO::Socket::IP;
use Test::More;
use OwnNetwork qw(1.2.3.4 10.1.2.3 fd00::1 169.254.169.254 1.2.5.1/24);
use WebhookOutbox;

my ($public, $private, $private_v6) = qw(1.2.3.4 10.1.2.3 fd00::1);
my $receiver = start_receiver(address => $public);
my $port = $receiver->port;
my $node = start_node(conf => "webhook_outbox.allowed_networks = ''\n"
	  . "webhook_outbox.allow_http = on\n");
my %canary;
for my $at ([ $private, $port ], [ $private_v6, $port ],
	[ '127.0.0.1', $port ], [ '::1', $port ], [ '169.254.169.254', $port ],
	[ $public, $node->port ])
{
	my ($address, $number) = @$at;

	$canary{"$address port $number"} = IO::Socket::IP->new(
		LocalHost => $address,
		LocalPort => $number,
		Listen => 100,
		Blocking => 0) or die "$address: $!";
}

my %name = (
	'public.test' => $public,
	'private.test' => $private,
	'private6.test' => $private_v6,
	'loopback.test' => '127.0.0.1',
	'loopback6.test' => '::1',
	'metadata.test' => '169.254.169.254',
	'mapped.test' => "::ffff:$private",
	'nat64.test' => '64:ff9b::a01:203',
	'all-private.test' => "$private $private_v6 127.0.0.1",
	'one-public.test' => "$private $public 127.0.0.1",
	'public-last.test' => "$private_v6 ::1 $public",
	'turns.test' => "$public | $private");
my %reason = (
	(map { $_ => 'private address' }
		  qw(private.test private6.test mapped.test nat64.test)),
	(map { $_ => 'loopback address' } qw(loopback.test loopback6.test)),
	'metadata.test' => 'link-local address',
	'all-private.test' => '(?:private|loopback) address');

sub make_endpoint
{
	my ($name, $url, $types) = @_;

	return $node->safe_psql('postgres',
		    "SELECT webhook_outbox.create_endpoint('$name', '$url', "
		  . "event_types => '{$types}', retry_schedule => '{1h}', "
		  . "timeout => '10 s')");
}

# How the attempt of an event at an endpoint ended.
sub end_of
{
	my ($id, $name) = @_;
	my $query = "FROM webhook_outbox.attempt JOIN webhook_outbox.endpoint "
	  . "USING (endpoint_id) WHERE event_id = '$id' AND name = '$name'";

	wait_for_sql($node, "SELECT count(*) = 1 $query", "$name is attempted");
	return sql_value($node,
		"SELECT concat_ws(', ', outcome, nullif(error, '')) $query");
}

OwnNetwork::set_names(%name);
make_endpoint($_, "http://$_:$port/ok", 'order.*') for sort keys %name;
my $id = publish($node, 'order.created');
for my $name (sort keys %name)
{
	like(
		end_of($id, $name),
		$reason{$name} ? qr/^blocked, not permitted: $reason{$name}$/
		: qr/^delivered$/,
		$reason{$name} ? "$name is refused" : "$name is reached");
}

# libcurl remembers an answer for a minute, a new sender does not
my $sender = sql_value($node,
	q(SELECT pid FROM webhook_outbox.worker_status WHERE process = 'sender'));
kill 'TERM', $sender;
wait_for_sql(
	$node, "SELECT pid <> $sender FROM webhook_outbox.worker_status
	WHERE process = 'sender' AND is_running", 'a new sender looks names up anew');
$id = publish($node, 'order.created');
is( end_of($id, 'turns.test'),
	'blocked, not permitted: private address',
	'a name that was public and is private now is refused');
is(end_of($id, 'public.test'), 'delivered', 'one that stayed is reached');

make_endpoint('own', "https://public.test:${\ $node->port }/",
	'own');
is( end_of(publish($node, 'own'), 'own'),
	'blocked, not permitted: port of this PostgreSQL server',
	"the server's own port is refused on each of its addresses");
is( sql_value(
		$node, "SELECT webhook_outbox.judge_address('1.2.5.77', ${\ $node->port })"),
	'port of this PostgreSQL server',
	'and on one that no interface has, but is routed to this machine');
is( sql_value(
		$node, "SELECT webhook_outbox.judge_address('1.2.6.77', ${\ $node->port })"),
	'',
	"that port of another machine is open");

# Without allow_http a name may be spoken to by http where its network is
# listed, and that is seen when it is dialled.
$node->append_conf('postgresql.conf', 'webhook_outbox.allow_http = off');
$node->reload;
my ($out, $err);
wait_until(
	sub {
		(undef, $out, $err) = $node->psql('postgres',
			"SELECT webhook_outbox.check_url('http://public.test/')");
		return $err =~ /not permitted: plain http/;
	},
	'a name by http is refused when its endpoint is made');
$node->append_conf('postgresql.conf',
	"webhook_outbox.allowed_networks = '10.9.9.9'");
$node->reload;
wait_for_sql($node,
	"SELECT webhook_outbox.judge_address('10.9.9.9') IS NULL",
	'unless a network is listed');
make_endpoint('by http', "http://public.test:$port/http",
	'http');
wait_until(
	sub {
		$id = publish($node, 'http');
		return end_of($id, 'by http') eq 'blocked, not permitted: plain http';
	},
	'then what is not in it is refused when it is dialled');

ok(!$canary{$_}->accept, "nobody has connected to $_") for sort keys %canary;

finish($node, $receiver);
