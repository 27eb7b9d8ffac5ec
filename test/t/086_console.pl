# What strangers wrote stays text on the console: no script of theirs runs, no
# request leaves the page, no console error shows; and the page fits, light and
# dark, on a phone and on a desk.
# Plain SQL cannot show it: what a page does, a browser must say.
use strict;
use warnings FATAL => 'all';
use File::Temp;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my ($browser) = grep { -x $_ }
  map { my $dir = $_; map { "$dir/$_" } qw(chromium chromium-browser) }
  split /:/, $ENV{PATH};
plan skip_all => 'no chromium here, and the package could not be installed'
  if !$browser;

# A browser that calls nobody by itself.
my @quiet = qw(--headless --no-sandbox --disable-gpu --disable-quic
  --disable-dev-shm-usage --no-first-run --disable-background-networking
  --disable-component-update --disable-sync --disable-extensions --no-pings
  --disable-default-apps --disable-breakpad --enable-logging=stderr
  --virtual-time-budget=2000);

# The DOM that a page ends up with, and what the browser said of it.
sub open_page
{
	my ($file, @more) = @_;
	my $profile = File::Temp->newdir;
	my ($dom, $said) = ('', '');

	IPC::Run::run(
		[   $browser, @quiet, @more, "--user-data-dir=$profile", '--dump-dom',
			"file://$file" ],
		'<', \undef, '>', \$dom, '2>', \$said,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	utf8::decode($dom);
	return ($dom, join "\n", grep { /CONSOLE/ } split /\n/, $said);
}

sub write_page
{
	my ($html) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/console_$$.html";

	open my $fh, '>', $file or die "$file: $!";
	print $fh $html;
	close $fh or die "$file: $!";
	return $file;
}

# The page in frames of some widths, and a script that says of each how wide
# its content is and how light its paper.
sub measure
{
	my ($html, @more) = @_;
	my $source = $html =~ s/&/&amp;/gr =~ s/"/&quot;/gr;
	my @widths = (360, 768, 1280);
	my $frames = join '', map {
		qq(<iframe width="$_" height="900" style="border:0" srcdoc="$source"></iframe>)
	} @widths;
	my ($dom, $said) = open_page(
		write_page(
			qq(<!DOCTYPE html><html><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"></head>)
			  . qq(<body>$frames<p id="result"></p><script>
onload = function () {
  document.getElementById('result').textContent = Array.from(document.querySelectorAll('iframe')).map(function (f) {
    var d = f.contentDocument, root = d.documentElement;
    return [f.width, root.scrollWidth - root.clientWidth, f.contentWindow.getComputedStyle(d.body).backgroundColor,
            d.querySelectorAll('svg[role=img]').length > 4, d.scripts.length].join(' ');
  }).join(';');
};</script></body></html>)),
		@more);
	my ($result) = $dom =~ /<p id="result">([^<]*)</;
	return [ split /;/, $result // 'nothing was measured' ];
}

my $receiver = start_receiver();
my $node = start_node();
my $spy = $receiver->url('/spy');

# each would leave its mark if it were more than text
my @hostile = (
	qq(</td></tr></table><script>document.title='pwn'+'ed'</script>),
	qq(<img src="$spy/img" onerror="document.title='pwn'+'ed'">),
	qq("><svg onload="document.title='pwn'+'ed'"><style>\@import url($spy/css);</style>),
	qq('--><iframe src="javascript:parent.document.title='pwned'"></iframe>),
	qq(<meta http-equiv="refresh" content="0;url=$spy/meta"><base href="$spy/">),
	qq(&lt;b&gt; &#60;script&#62; ]]> <!-- <![CDATA[ {{7*7}} \${7*7}),
	"caf\xc3\xa9 \xf0\x9f\x98\x80 \xe2\x80\xaegnp.exe");
my @names = map { substr $_, 0, 100 } @hostile;

for my $n (0 .. $#hostile)
{
	my $path = "/hostile$n";
	my $name = $names[$n] =~ s/'/''/gr;

	$receiver->script($path, { status => 500, body => $hostile[$n] });
	create_endpoint($node, $receiver, $name, $path,
		retry_schedule => "'{10ms}'", tenant => "'$name'");
	$node->safe_psql('postgres',
		"INSERT INTO webhook_outbox.event (type, payload, tenant, source)
		VALUES ('order.created', '{\"secret\": \"payload-$n\"}', '$name', '$name')");
}
create_endpoint($node, $receiver, 'slow', '/slow/hold');
publish($node, 'order.created');
$receiver->wait_for_requests('/slow/hold', 1, 'an event is in flight');
wait_for_sql(
	$node, sprintf('SELECT count(*) = %d FROM webhook_outbox.dead_letter',
		scalar @hostile),
	'hostile receivers answered until their events were dead letters');
# by whom an endpoint was paused: no role has a longer name
$node->safe_psql('postgres', q(
	SELECT webhook_outbox.pause_endpoint(name) FROM webhook_outbox.endpoint
	WHERE name <> 'slow';
	UPDATE webhook_outbox.operator_action
	SET by_whom = repeat('W', 63) || ' (as ' || repeat('M', 63) || ')'));
$node->safe_psql('postgres', q(SELECT webhook_outbox.maintain()));

my $html = sql_value($node, 'SELECT webhook_outbox.console()');
unlike($html, qr/payload-\d/, 'no payload is on the page');
my $one = sql_value($node, "SELECT webhook_outbox.console(endpoint => '$names[6]')");
like(
	$one,
	qr/Warning since .{1,80}: endpoint [^:]*: 1 delivery was given up in the last hour\.</,
	'the headline is what the worst alert says, and no more');
like(
	$one,
	qr/: 1 delivery was given up in the last hour \(alert above 0\)</,
	'the list of alerts has the threshold, too');
unlike($html, qr/[^\x01-\x7f]/, 'the page is ASCII');

my ($dom, $said) = open_page(write_page($html));
is($said, '', 'the browser has nothing to say about the page');
like(
	$dom,
	qr/<title>webhook_outbox, database postgres<\/title>/,
	'no script changed the title');
is( join(' ', sort keys %{ { map { lc() => 1 } $dom =~ /<([a-z0-9]+)/gi } }),
	'a article b bdi body code dd div dl dt figcaption figure footer g h1 h2 h3 '
	  . 'head header html main meta nav p path pre rect section small span style '
	  . 'svg table tbody td text th thead time title tr',
	'the page has its own elements and no other');
unlike(
	$dom =~ s/>[^<]*</></gr,
	qr/\s(?:on\w+|src|style|srcdoc|action)\s*=/i,
	'and no attribute that could load or run something');
is(join(' ', grep { !/^#[a-z-]+$/ } $dom =~ /<[^>]*\shref="([^"]*)"/g),
	'', 'links stay within the page');
for my $n (0 .. $#hostile)
{
	my $text = $names[$n] =~ s/&/&amp;/gr =~ s/</&lt;/gr =~ s/>/&gt;/gr;
	utf8::decode($text);
	# what turns the direction of what follows is shown, and does not
	$text =~ s/\x{202e}/\x{fffd}/;

	ok(index($dom, substr($text, 0, 40)) >= 0, "hostile text $n is on the page, as text");
}

my @fits = map { "$_->[0] 0 $_->[1] true 0" }
  ([ 360, 'rgb(255, 255, 255)' ], [ 768, 'rgb(255, 255, 255)' ],
	[ 1280, 'rgb(255, 255, 255)' ]);
is_deeply(measure($html), \@fits,
	'it fits on a phone, a tablet and a desk, with its plots');
s/255, 255, 255/20, 23, 27/ for @fits;
is_deeply(measure($html, '--blink-settings=preferredColorScheme=0'),
	\@fits, 'and in the dark');
is_deeply(
	measure(
		sql_value(
			$node,
			q(SELECT webhook_outbox.console(title => repeat('W', 500), endpoint => 'slow', span => '1 hour'))
		))->[0],
	'360 0 rgb(255, 255, 255) false 0',
	'a page of one endpoint fits too');

my $text = q(U&'\00e9\20ac\+01f600 \202e\0085\feff');
my $literal = sql_value($node, "SELECT webhook_outbox.sql_literal($text)");
is( sql_value(
		$node, qq(SELECT webhook_outbox.html_escape($text), $literal = $text,
		webhook_outbox.sql_literal($text) !~ '[^[:print:]]')),
	'&#233;&#8364;&#128512; &#65533;&#65533;&#65533;|t|t',
	'characters beyond ASCII are references, and SQL to copy has none unseen');
$node->safe_psql('postgres',
	q(CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0));
is( sql_value(
		$node, q(SELECT webhook_outbox.html_escape(convert_from('\xe9', 'LATIN1'))), 'latin'),
	'&#233;', 'in a database with another encoding too')
  if $node->safe_psql('latin', 'CREATE EXTENSION webhook_outbox; SELECT true');

$receiver->release('/slow/hold');
# a page that has an image of the spy's shows that the spy would be told
open_page(write_page(qq(<img src="$spy/control">)));
is(join(' ', grep { m{^/spy} } sort keys %{ $receiver->stats }),
	'/spy/control', 'no request left a page of ours');

finish($node, $receiver);
