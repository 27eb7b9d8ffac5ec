# Requests go through the proxy that the setting or the endpoint names and no
# other way; what the sender can know of a host is judged all the same, and so
# is the proxy.
# Plain SQL cannot show it: it takes a proxy that tells what it was asked.
use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Certificates;
use Hostile;
use WebhookOutbox;

my $dir = PostgreSQL::Test::Utils::tempdir();
my @pipes;

sub start_proxy
{
	my ($log) = @_;
	my ($in, $out) = ('', '');
	my $run = IPC::Run::start(
		[ $^X, "$WebhookOutbox::HERE/proxy.pl", '--log', $log ],
		'<', \$in, '>', \$out);

	$run->pump until $out =~ /listening on (\d+)\n/;
	push @pipes, [ $run, \$in ];
	return "http://127.0.0.1:$1";
}

# What a proxy was asked, in order: the first lines.
sub asked
{
	my ($log) = @_;

	return map { s/ HTTP.*//sr } split /\n/, slurp_file($log);
}

# A receiver whose name only the proxy knows.
my $pem = ca_pem();
my $kind = join ':', 'tls',
  make_certificate('receiver', [ DNS => 'receiver.test' ]);
my $hostile = start_hostile($kind);
my $tls_port = $hostile->port($kind);
my $receiver = start_receiver();
my $port = $receiver->port;

# exceptions that the environment makes do not count either
local @ENV{qw(no_proxy NO_PROXY)} = ('*', '*');
my $proxy = start_proxy("$dir/first");
my $other = start_proxy("$dir/second");
my $closed =
  'http://127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port();
my $node = start_node(conf => "webhook_outbox.proxy = '$proxy'\n"
	  . "webhook_outbox.allowed_networks = '127.0.0.0/8'\n");

# name => URL, proxy, how its attempt ends, what the proxy was asked
my %expect = (
	'tunnel' => [ "https://receiver.test:$tls_port/ok", undef, '^delivered$',
		"CONNECT receiver.test:$tls_port" ],
	'own proxy' => [ "https://receiver.test:$tls_port/ok", $other,
		'^delivered$' ],
	'direct' => [ "http://127.0.0.1:$port/direct", '', '^delivered$' ],
	'direct, unknown' => [ "https://receiver.test:$tls_port/ok", '',
		'^dns_error' ],
	'forwarded' => [ "http://127.0.0.1:$port/forwarded", undef,
		'^delivered$', "POST http://127.0.0.1:$port/forwarded" ],
	'forbidden' => [ "https://forbidden.test:$tls_port/", undef,
		'^connect_error, proxy answered HTTP 403$',
		"CONNECT forbidden.test:$tls_port" ],
	# to read either to its end would stop all others meanwhile
	'endless' => [ "https://endless.test:$tls_port/", undef,
		'^protocol_error, answer of the proxy is longer than 16 kB$',
		"CONNECT endless.test:$tls_port" ],
	'talkative' => [ "https://talkative.test:$tls_port/", undef,
		'^protocol_error, answer of the proxy is longer than 16 kB$',
		"CONNECT talkative.test:$tls_port" ],
	'by http' => [ "http://receiver.test:$port/plain", undef,
		'^blocked, not permitted: plain http$' ],
	'private' => [ 'https://10.0.0.1/', undef,
		'^blocked, not permitted: private address$' ],
	'metadata' => [ 'https://2852039166/', undef,
		'^blocked, not permitted: link-local address$' ],
	'dead proxy' => [ 'https://receiver.test/', $closed, '^connect_error' ],
	'unknown proxy' => [ 'https://receiver.test/', 'http://no-proxy.invalid',
		'^dns_error, host name of the proxy could not be resolved$' ],
	'private proxy' => [ 'https://receiver.test/', 'http://10.0.0.1:3128',
		'^blocked, proxy not permitted: private address$' ]);
# some could not be made like that; they are from before the settings were
$node->safe_psql('postgres',
	'ALTER TABLE webhook_outbox.endpoint DISABLE TRIGGER endpoint_before_write');
for my $name (sort keys %expect)
{
	my ($url, $through) = @{ $expect{$name} };
	my $value = defined $through ? "'$through'" : 'NULL';

	$node->safe_psql('postgres',
		    "SELECT webhook_outbox.create_endpoint('$name', '$url', "
		  . "proxy => $value, retry_schedule => '{1h}', timeout => '20 s', "
		  . "event_types => '{order.*}', ca_certificates => '$pem', "
		  . q[headers => '{"Authorization": "Bearer token"}')]);
}
$node->safe_psql('postgres',
	'ALTER TABLE webhook_outbox.endpoint ENABLE TRIGGER endpoint_before_write');

sub ends_of
{
	my ($id, $n) = @_;

	wait_for_sql(
		$node, "SELECT count(*) = $n FROM webhook_outbox.attempt
		WHERE event_id = '$id'", 'every endpoint got its attempt');
	return map { split /\|/ } split /\n/, sql_value(
		$node, "SELECT name, concat_ws(', ', outcome, nullif(error, ''))
		FROM webhook_outbox.attempt JOIN webhook_outbox.endpoint
		USING (endpoint_id) WHERE event_id = '$id'");
}

my %end = ends_of(publish($node, 'order.created'), scalar keys %expect);
like($end{$_}, qr/$expect{$_}[2]/, "$_ ends as it should")
  for sort keys %expect;
is( join("\n", sort(asked("$dir/first"))),
	join("\n", sort map { $expect{$_}[3] // () } keys %expect),
	'the proxy is asked for what goes through it, and no more');
is( join("\n", asked("$dir/second")),
	"CONNECT receiver.test:$tls_port",
	"an endpoint's own proxy is asked for that endpoint alone");
unlike(
	join('', grep { /^CONNECT/ } split /^/, slurp_file("$dir/first")),
	qr/authorization|webhook-/i,
	'a proxy that tunnels gets no header of the request');

# The proxy is dialled, so it is judged.
$node->append_conf('postgresql.conf',
	"webhook_outbox.allowed_networks = ''\n");
$node->reload;
$node->safe_psql('postgres',
	q(DELETE FROM webhook_outbox.endpoint WHERE name <> 'tunnel'));
my $n_asked;
wait_until(
	sub {
		$n_asked = () = asked("$dir/first");
		%end = ends_of(publish($node, 'order.created'), 1);
		return $end{tunnel} eq
		  'blocked, proxy not permitted: loopback address';
	},
	'a proxy whose network is not listed any more is not used');
is(scalar(() = asked("$dir/first")), $n_asked, 'nor is a kept tunnel');

finish($node, $receiver);
