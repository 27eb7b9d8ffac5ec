# Whatever a receiver does instead of a 2xx answer is an attempt that failed,
# with its class and a text, in bounded time.
# Plain SQL cannot show it: it takes receivers that misbehave.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my %expect = (
	'/ok' => 'delivered|200',
	'/status/204' => 'delivered|204',
	'/status/299' => 'delivered|299',
	'/status/400' => 'http_error|400',
	'/status/500' => 'http_error|500',
	'/status/999' => 'http_error|999',
	'/redirect' => 'http_error|302',
	'/drop' => 'protocol_error|',
	'/reset' => 'protocol_error|',
	'/halfclose' => 'protocol_error|200',
	'/malformed' => 'protocol_error|',
	'/hang' => 'timeout|',
	'/drip' => 'timeout|\d*',
	'/endless' => 'delivered|200',
	'/endless/headers' => 'protocol_error|\d*',
	'/endless/continue' => '(timeout|protocol_error)|\d*',
	'/big/500000' => 'delivered|200',
	'/big/3000000' => 'delivered|200');
my @option = (retry_schedule => "'{1h}'", timeout => "'2 s'");

create_endpoint($node, $receiver, $_, $_, @option) for sort keys %expect;
# and receivers that cannot be spoken to at all
my $port = $receiver->port;
my $closed = PostgreSQL::Test::Cluster::get_free_port();
my %url = (
	tls_error => "https://127.0.0.1:$port/",
	connect_error => "http://127.0.0.1:$closed/",
	dns_error => 'http://no-such-host.invalid/');
for my $class (sort keys %url)
{
	$node->safe_psql('postgres',
		"SELECT webhook_outbox.create_endpoint('$class', '$url{$class}', "
		  . "retry_schedule => '{1h}', timeout => '10 s')");
	$expect{$class} = "$class|";
}

publish($node, 'order.created');
wait_for_sql(
	$node, q(SELECT count(*) = (SELECT count(*) FROM webhook_outbox.endpoint)
	FROM webhook_outbox.attempt), 'every endpoint got its attempt');
my %got = map { my ($name, @is) = split /\|/, $_, -1; $name => join '|', @is }
  split /\n/, sql_value(
	$node, q(SELECT name, outcome, http_status FROM webhook_outbox.attempt
	JOIN webhook_outbox.endpoint USING (endpoint_id)));

for my $name (sort keys %expect)
{
	my ($outcome, $status) = split /\|(?!protocol)/, $expect{$name}, -1;
	like($got{$name}, qr/^$outcome\|$status$/, "$name is $outcome");
}
all_in_time($node);
is($receiver->stats('/redirected')->{requests}, 0, 'no redirect was followed');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.attempt
		WHERE outcome <> 'delivered' AND coalesce(error, '') = '')),
	'0', 'each failure says what went wrong');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.attempt
		WHERE error ~ '[[:cntrl:]]')),
	'0', 'in one line');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.attempt a
		JOIN webhook_outbox.delivery d USING (endpoint_id, event_id)
		WHERE a.outcome <> 'delivered' AND d.state = 'retrying')),
	sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.attempt
		WHERE outcome <> 'delivered')),
	'and each is tried again');

finish($node, $receiver);
