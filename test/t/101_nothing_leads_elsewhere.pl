# Neither a receiver's answer nor the server's environment sends a request, or
# anything in it, elsewhere: redirects, alternative services, cookies, proxies
# and passwords of the operating system's user.
# Plain SQL cannot show it: it takes a receiver that tries, and a listener.
use strict;
use warnings FATAL => 'all';
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $canary = IO::Socket::INET->new(
	LocalAddr => '127.0.0.1',
	Listen => 100,
	Blocking => 0) or die "no canary: $!";
my $elsewhere = '127.0.0.1:' . $canary->sockport;
my $home = PostgreSQL::Test::Utils::tempdir();

append_to_file("$home/.netrc",
	"machine 127.0.0.1 login joe password secret\n");
chmod 0600, "$home/.netrc";
# the server gets these from here
local @ENV{qw(http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY)} =
  ("http://$elsewhere") x 5;
local @ENV{qw(HOME NETRC CURL_HOME)} = ($home, "$home/.netrc", $home);

my $receiver = start_receiver();
my $node = start_node();
my %answer = (
	'/redirect' => { status => 302, Location => "http://$elsewhere/" },
	'/redirect/307' => { status => 307, Location => "http://$elsewhere/" },
	'/redirect/relative' => { status => 301, Location => "//$elsewhere/x" },
	'/refresh' => { status => 200, Refresh => "0; url=http://$elsewhere/" },
	'/unauthorized' =>
	  { status => 401, 'WWW-Authenticate' => 'Basic realm="x"' },
	'/proxy/auth' =>
	  { status => 407, 'Proxy-Authenticate' => 'Basic realm="x"' },
	'/use/proxy' => { status => 305, Location => "http://$elsewhere/" },
	'/alternative' => {
		status => 200,
		'Alt-Svc' => qq(h2="$elsewhere"; ma=3600, http/1.1="$elsewhere"),
		'Set-Cookie' => 'session=1; Path=/',
		'Strict-Transport-Security' => 'max-age=3600' });

for my $path (sort keys %answer)
{
	my %headers = %{ $answer{$path} };
	my $status = delete $headers{status};

	create_endpoint($node, $receiver, $path, $path,
		retry_schedule => q('{1ms,1ms}'));
	$receiver->script($path, { status => $status, headers => \%headers });
}
# more than one, so that what an answer asks for could take effect
publish($node, 'order.created') for 1 .. 3;
wait_for_sql(
	$node, "SELECT count(*) = ${\ (3 * keys %answer) }
	FROM webhook_outbox.attempt WHERE next_attempt_at IS NULL",
	'every delivery has ended');
for my $path (sort keys %answer)
{
	my @requests = $receiver->requests($path);
	my $status = $answer{$path}{status};

	is(scalar @requests, $status == 200 ? 3 : 9,
		"$path is asked once for each attempt");
	my %sent = map { %{ $_->{headers} } } @requests;
	is( join(' ',
			grep { $sent{$_} } qw(authorization cookie proxy-authorization)),
		'', 'and no request carries a cookie or a password');
}
is( sql_value(
		$node, q(SELECT string_agg(DISTINCT http_status::text, ' ')
		FROM webhook_outbox.attempt WHERE outcome <> 'delivered')),
	'301 302 305 307 401 407',
	'a redirect is a failed attempt, and so is a demand for a password');
ok(!$canary->accept, 'nobody has connected elsewhere');

finish($node, $receiver);
