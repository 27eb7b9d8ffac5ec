# Over HTTP/2 events arrive as they do over HTTP/1.1, many at once on one
# connection; whatever a receiver does with the protocol, the attempt ends in
# time and says why, nothing is lost, and the next attempt is delivered.
# Plain SQL cannot show it: it takes receivers that speak HTTP/2, and break it.
use strict;
use warnings FATAL => 'all';
use Digest::SHA qw(hmac_sha256_base64);
use IPC::Run;
use JSON::PP;
use MIME::Base64;
use PostgreSQL::Test::Utils;
use Test::More;
use Certificates;
use Hostile qw(sender_status);
use WebhookOutbox;

my ($version) = (qx(curl-config --vernum 2>/dev/null) // '') =~ /^(\w+)$/;
plan skip_all => 'HTTP/2 takes libcurl 8.14 or later'
  if hex($version // 0) < 0x080e00;
plan skip_all => 'python3-h2 is not installed'
  if system "python3 -c 'import h2' 2>/dev/null";

# ---- receivers

my $dir = PostgreSQL::Test::Utils::tempdir();
my @files = make_certificate('here', [ IP => '127.0.0.1' ]);
my $ca_pem = ca_pem();
my (%port, @runs);

# Starts listeners in a process of their own; NAME => KIND.
sub start_http2
{
	my ($log, %kind) = @_;
	my @names = sort keys %kind;
	my ($in, $out) = ('', '');
	my $run = IPC::Run::start(
		[ 'python3', "$WebhookOutbox::HERE/http2.py", @files,
			"$dir/$log", map { "$_:$kind{$_}" } @names ],
		'<', \$in, '>', \$out);

	$run->pump until $out =~ /listening on (.*)\n/;
	@port{@names} = split / /, $1;
	push @runs, [ $run, \$in ];
	return;
}

# What listeners of that name have logged of a kind.
sub logged
{
	my ($name, $what, $log) = @_;

	return map { decode_json($_) }
	  grep { /^\{"name": "$name", "what": "$what", .*\n\z/ }
	  split /^/, slurp_file("$dir/" . ($log // 'obedient'));
}

# How many different values a field of what was logged has.
sub n_different
{
	my ($field, @logged) = @_;

	return scalar keys %{ { map { $_->{$field} => 1 } @logged } };
}

# The outcome and text of each attempt that was not delivered.
sub failures
{
	my ($node, $name) = @_;

	return split /\n/, sql_value(
		$node, qq(
		SELECT outcome || ': ' || error FROM webhook_outbox.attempt
		JOIN webhook_outbox.endpoint USING (endpoint_id)
		WHERE name = '$name' AND outcome <> 'delivered'));
}

# A misdeed is: path, outcomes, text (regular expressions) of the first attempt;
# kind of listener; timeout. The second attempt is delivered, unless the kind
# is such that it cannot be.
my $refused =
  'request was refused, or its connection closed, several times in a row';
my $late = qr/no answer after \d\.\d s/;
my $half = qr/answer was not complete after \d\.\d s/;
my $unread = qr/answer could not be read(: .+)?/;
my $http2 = qr/HTTP\/2 (?:error|connection failed): .+/;
my $lost = qr/HTTP\/2 connection failed(: .+)?/;
my $cut =
  qr/$unread|$lost|connection was closed before the answer was complete/;
my $head = 'head of the answer is longer than 64 kB';
my %misdeed = (
	# one stream
	refused => [ '/reset/1/7', 'delivered', '' ],
	refused_always => [ '/reset/9/7', 'protocol_error', $refused ],
	no_error => [ '/reset/1/0', 'protocol_error', $http2 ],
	internal_error => [ '/reset/1/2', 'protocol_error', qr/$http2 INTERNAL_ERROR.*/ ],
	cancel => [ '/reset/1/8', 'protocol_error', qr/$http2 CANCEL.*/ ],
	calm => [ '/reset/1/11', 'protocol_error', qr/$http2 ENHANCE_YOUR_CALM.*/ ],
	unknown_code => [ '/reset/1/4711', 'protocol_error', $http2 ],
	old_wanted => [ '/reset/1/13', 'delivered', '' ],
	late_error => [ '/reset_late/1/2', 'protocol_error', qr/$http2 INTERNAL_ERROR.*/ ],
	late_refused => [ '/reset_late/1/7', 'protocol_error', $unread ],
	stall => [ '/stall/2/2', 'timeout', $late, 'normal', '3 s' ],
	silence => [ '/silence/1', 'timeout', $late, 'normal', '3 s' ],
	partial => [ '/partial/1', 'timeout', $half, 'normal', '3 s' ],
	status_999 => [ '/status/1/999', 'http_error', 'HTTP 999' ],
	status_99 => [ '/status/1/99', 'protocol_error', $http2 ],
	status_abc => [ '/status/1/abc', 'protocol_error', $http2 ],
	push => [ '/push/1', 'protocol_error', $http2 ],
	# size
	endless => [ '/endless/1', 'delivered', '' ],
	overrun => [ '/overrun/1', 'delivered|protocol_error', qr/|$http2/ ],
	many_pieces => [ '/many_pieces/1', 'delivered', '' ],
	big_head => [ '/big_head/1', 'protocol_error', qr/$head|$http2/ ],
	bomb => [ '/bomb/1', 'protocol_error', $head ],
	many_lines => [ '/many_lines/1', 'protocol_error',
		'head of the answer has more than 1000 lines' ],
	interim => [ '/interim/1', 'protocol_error',
		'head of the answer has more than 1000 lines' ],
	continuation => [ '/continuation/1', 'protocol_error', $http2 ],
	# the connection
	dead => [ '/dead/1', 'timeout', $late, 'normal', '3 s' ],
	cut => [ '/cut/1', 'protocol_error', $cut ],
	vanish => [ '/vanish/1', 'protocol_error', $cut ],
	nonsense => [ '/nonsense/1', 'timeout|protocol_error', qr/$late|$http2/,
		'normal', '3 s' ],
	garbage => [ '/ok', 'protocol_error',
		qr/$unread|$refused|$lost/, 'garbage' ],
	silent => [ '/ok', 'timeout', $late, 'silent', '3 s' ],
	hang => [ '/ok', 'timeout', qr/TLS handshake was not complete after 3\.\d s/,
		'hang', '3 s' ],
	streams_0 => [ '/ok', 'timeout|protocol_error', qr/$late|$refused/,
		'streams=0', '3 s' ],
	# a receiver that speaks HTTP/1.1
	extension => [ '/extension', 'protocol_error',
		'answer takes more than 512 kB with all that frames it', 'old' ]);
my %flood = (
	pings => [ '/pings/1', 'timeout|protocol_error', qr/$late|$http2/ ],
	unread_pings => [ '/unread_pings/1', 'timeout|protocol_error', qr/$late|$http2/ ],
	settings => [ '/settings/1', 'timeout|protocol_error', qr/$late|$http2/ ],
	empty_data => [ '/empty_data/1', 'timeout|protocol_error', qr/$half|$http2/ ]);
$_->[3] //= 'normal' for values %misdeed, values %flood;

# floods take a processor, so they get a process
start_http2('flooding', map { $_ => 'normal' } keys %flood);
start_http2(
	'obedient',
	(map { $_ => 'normal' }
		  qw(plain together crowd beside graceful goaway_answer goaway_close goaway_none)),
	streams_1 => 'streams=1',
	window => 'window=0',
	kept => 'old',
	map { $_ => $misdeed{$_}[3] } keys %misdeed);

my $node = start_node();

# Makes endpoints with events of their own, of the type of its name, from
# [ name, path, options ]. Returns their secrets.
sub add
{
	my $sql = '';

	for (@_)
	{
		my ($name, $path, %option) = @$_;
		%option = (event_types => "'{$name}'", timeout => "'30 s'",
			retry_schedule => "'{100ms}'", retry_jitter => 0, %option);
		$sql .= "SELECT secret FROM webhook_outbox.create_endpoint('$name', "
		  . "'https://127.0.0.1:$port{$name}$path', http_version => '2', "
		  . "ca_certificates => \$pem\$$ca_pem\$pem\$"
		  . join('', map { ", $_ => $option{$_}" } sort keys %option) . ');';
	}
	return split /\n/, sql_value($node, $sql);
}

sub is_delivered
{
	my ($type, $n) = @_;

	return wait_for_sql(
		$node, qq(
		SELECT count(*) = $n FROM webhook_outbox.delivery_status
		WHERE event_type = '$type' AND state = 'delivered'),
		"$type: all $n events were delivered");
}

# ---- floods, which go on meanwhile

add(map {
		[ $_, $flood{$_}[0], event_types => "'{flood}'", timeout => "'6 s'" ]
	} keys %flood);
my ($secret) = add([ 'plain', '/ok' ]);
publish($node, 'flood');
for my $name (sort keys %flood)
{
	wait_until(sub { logged($name, 'request', 'flooding') }, "$name: has begun");
}

# ---- one event

publish($node, 'plain', '{"order_id": 42}');
is_delivered('plain', 1);
my ($request) = logged('plain', 'request');
my %header = %{ $request->{headers} };
is((logged('plain', 'connection'))[0]{alpn}, 'h2', 'it was HTTP/2');
is("$header{':method'} $header{':scheme'} $header{':path'}",
	'POST https /ok', 'it was a POST to the path');
like($request->{body}, qr/"data":\{"order_id": 42\}\}$/, 'the body arrived');
my $signed =
  "$header{'webhook-id'}.$header{'webhook-timestamp'}.$request->{body}";
my $signature = hmac_sha256_base64($signed,
	decode_base64($secret =~ s/^whsec_//r));
$signature .= '=' while length($signature) % 4;
is($header{'webhook-signature'}, "v1,$signature", 'the signature is right');

my $payload = '"' . 'x' x 200_000 . '"';
publish($node, 'plain', $payload);
is_delivered('plain', 2);
ok((grep { $_->{body} =~ /"data":$payload\}$/ } logged('plain', 'request')),
	'200 kB arrived whole');
is(scalar logged('plain', 'connection'), 1, 'on the same connection');

# ---- many at once

add([ 'together', '/together/40' ], [ 'streams_1', '/ok' ]);
publish_many($node, 'together', 40);
is_delivered('together', 40);
is(scalar logged('together', 'connection'),
	1, 'the 40 were open at once on one connection');

# What comes for others does not count: 1.8 MB while one waits for its answer.
add([ 'crowd', '/crowd/31' ]);
publish($node, 'crowd');
wait_until(sub { logged('crowd', 'request') == 1 }, 'one waits for its answer');
publish_many($node, 'crowd', 30);
is_delivered('crowd', 31);
is(scalar logged('crowd', 'connection'), 1, 'on one connection');
is(join(' ', failures($node, 'crowd')), '', 'each in its first attempt');

publish_many($node, 'streams_1', 20);
is_delivered('streams_1', 20);
note(scalar logged('streams_1', 'connection'),
	' connections, where each takes one at a time');
is(n_different('id', logged('streams_1', 'answer')),
	scalar logged('streams_1', 'answer'),
	'a receiver that takes one at a time got each once');

# ---- one that is late, and others

# Over HTTP/1.1 a request that is late costs its connection; here it shares it
# with another one, for which the receiver takes until the first is given up.
$port{late} = $port{beside};
add([ 'late', '/silence/1', timeout => "'3 s'" ], [ 'beside', '/beside' ]);
publish($node, 'late');
wait_until(sub { logged('beside', 'request') == 1 }, 'one is late');
publish($node, 'beside');
is_delivered('beside', 1);
is_delivered('late', 1);
like(join(' ', failures($node, 'late')), qr/^timeout: $late$/, 'one was late');
my ($first, $other) =
  map { $_->{connection} } logged('beside', 'connection'), {};
$other //= 'another one';
is( join(', ', map { "$_->{path} on $_->{connection}" }
		  logged('beside', 'request')),
	"/silence/1 on $first, /beside on $first, /silence/1 on $other",
	'the other one was sent once, and then the connection was not used again');

# ---- going away

# With 8 open the receiver says how many it has processed, 4 or none.
add([ 'goaway_answer', '/goaway/8/4/answer' ],
	[ 'goaway_close', '/goaway/8/4/close' ],
	[ 'goaway_none', '/goaway/8/0/close' ],
	[ 'graceful', '/graceful/1' ]);
for my $name (qw(goaway_answer goaway_close goaway_none))
{
	publish_many($node, $name, 8);
	is_delivered($name, 8);
	my ($said) = logged($name, 'goaway');
	my %sent;
	$sent{ $_->{headers}{'webhook-id'} }++ for logged($name, 'request');
	is(join(' ', map { $sent{$_} } @{ $said->{refused} }),
		join(' ', (2) x @{ $said->{refused} }),
		"$name: what was not processed was sent once more");
	is(join(' ', grep { !/^protocol_error: ($cut|$refused)$/ }
			  failures($node, $name)),
		'', "$name: attempts that failed say why");
	next if $name ne 'goaway_answer';
	is(join(' ', map { $sent{$_} } @{ $said->{processed} }),
		'1 1 1 1', "$name: what was processed was not");
}

publish($node, 'graceful');
is_delivered('graceful', 1);
publish($node, 'graceful');
is_delivered('graceful', 2);
is(scalar logged('graceful', 'connection'),
	2, 'who is going gets no more requests on that connection');
is(join(' ', failures($node, 'graceful')), '', 'and no attempt failed');

# ---- a receiver that speaks HTTP/1.1 alone, though HTTP/2 is offered

# It answers one request on each connection, and closes it at the next.
add([ 'kept', '/keep/8' ]);
publish_many($node, 'kept', 8);
is_delivered('kept', 8);
publish($node, 'kept');
is_delivered('kept', 9);
my %n_sent;
$n_sent{ $_->{head} =~ s/.*^webhook-id: (\S+).*/$1/imrs }++
  for logged('kept', 'HTTP/1.1');
is(join(' ', sort values %n_sent),
	'1 1 1 1 1 1 1 1 2',
	'what met a connection that was closed was sent once more, not on all');
is(join(' ', failures($node, 'kept')), '', 'in the same attempt');

# ---- what is against the rules, or the receiver's peace

# Most of a body of that size has to wait for a permission that never comes.
add([ 'window', '/ok', timeout => "'2 s'", retry_schedule => "'{1h}'" ]);
publish($node, 'window', $payload);
add(map {
		my ($path, undef, undef, $kind, $timeout) = @{ $misdeed{$_} };
		[ $_, $path, event_types => "'{misdeed}'",
			$timeout ? (timeout => "'$timeout'") : (),
			$kind ne 'normal' ? (retry_schedule => "'{1h}'") : () ]
	} sort keys %misdeed);
publish($node, 'misdeed');
wait_for_sql(
	$node, q(
	SELECT count(*) = 0 FROM webhook_outbox.delivery_status
	WHERE state = 'pending' OR state = 'retrying' AND next_attempt_at < now() + '1 min'),
	'all attempts have ended');

my %attempt;
for (split /\n/, sql_value(
		$node, q(
		SELECT name, number, outcome, error FROM webhook_outbox.attempt
		JOIN webhook_outbox.endpoint USING (endpoint_id))))
{
	my ($name, $number, @rest) = split /\|/, $_, 4;
	$attempt{$name}[$number] = \@rest;
}
like("@{ $attempt{window}[1] }", qr/^timeout $late$/,
	'a receiver that takes no more of the body is given up');
for my $name (sort(keys %misdeed), sort keys %flood)
{
	my (undef, $outcome, $text, $kind) = @{ $misdeed{$name} // $flood{$name} };
	my ($first, $second) = @{ $attempt{$name} }[ 1, 2 ];

	subtest $name => sub {
		like($first->[0], qr/^(?:$outcome)$/, 'the outcome');
		like($first->[1], qr/^(?:$text)$/, 'the text');
		is($second->[0], 'delivered', 'the next attempt is delivered')
		  if $kind eq 'normal' && $first->[0] ne 'delivered';
	};
}
is(scalar logged('old_wanted', 'HTTP/1.1'),
	1, 'a receiver that wants HTTP/1.1 got it');
is( sql_value(
		$node, q(
		SELECT bool_and(p.started_at + p.total_ms * interval '1 ms' <
		  f.started_at + f.total_ms * interval '1 ms')
		FROM webhook_outbox.attempt p, webhook_outbox.endpoint e,
		  webhook_outbox.attempt f JOIN webhook_outbox.endpoint g USING (endpoint_id)
		WHERE e.endpoint_id = p.endpoint_id AND e.name = 'plain'
		AND g.name IN ('pings', 'settings') AND f.number = 1)),
	't', 'events to others were delivered while floods went on');
all_in_time($node);
cmp_ok(sender_status($node, 'VmHWM'),
	'<', 64 * 1024, 'the sender never had more than 64 MB');

finish($node);
