# Whatever a receiver sends instead of an answer, the attempt ends in time, with
# a class and a text that say what was wrong, in little memory, and an endpoint
# that is well does not notice.
# Plain SQL cannot show it: it takes receivers that break the rules.
use strict;
use warnings FATAL => 'all';
use Test::More;
use Hostile;
use WebhookOutbox;

my $cut = 'connection was closed before the answer was complete';
my $late = qr/answer was not complete after \d\.\d s/;
my $not_http = 'answer is not HTTP';
my $long = 'head of the answer has more than 1000 lines';
my $coded = 'answer has a transfer coding that was not asked for';
my $invalid = qr/answer is not valid HTTP: .*/;
my $unread = qr/answer could not be read: .*/;
my %expect = (
	'/ok' => [ 'delivered', 200, '' ],
	# the head has said it, and of the body no more is read than is needed
	'/body/10-gb' => [ 'delivered', 200, '' ],
	'/body/endless' => [ 'delivered', 200, '' ],
	'/body/endless-500' => [ 'http_error', 500, 'HTTP 500' ],
	'/body/drip' => [ 'timeout', 200, $late ],
	'/body/cut' => [ 'protocol_error', 200, $cut ],
	'/body/reset' => [ 'protocol_error', 200, $unread ],
	'/body/every-byte' => [ 'http_error', 500, 'HTTP 500' ],
	'/body/negative' => [ 'protocol_error', 200, $invalid ],
	'/gzip/content' => [ 'delivered', 200, '' ],
	'/gzip/transfer' => [ 'protocol_error', 200, $coded ],
	'/gzip/chunked' => [ 'protocol_error', 200, $coded ],
	'/chunk/endless' => [ 'delivered', 200, '' ],
	'/chunk/huge' => [ 'protocol_error', 200, $unread ],
	'/chunk/malformed' => [ 'protocol_error', 200, $unread ],
	'/chunk/extension' => [ 'protocol_error', 200,
		'answer takes more than 512 kB with all that frames it' ],
	'/chunk/trailers' => [ 'protocol_error', 200, $long ],
	'/chunk/trailer-retry-after' => [ 'http_error', 503, 'HTTP 503' ],
	'/chunk/trailer-status-line' => [ 'delivered', 200, '' ],
	'/chunk/trailer-coding' => [ 'delivered', 200, '' ],
	'/head/100000-lines' => [ 'protocol_error', 200, $long ],
	'/head/100-kb' => [ 'protocol_error', 200, 'head of the answer is longer than 64 kB' ],
	'/head/1-mb-line' =>
	  [ 'protocol_error', 200, 'header of the answer is too long' ],
	'/head/drip' => [ 'timeout', 200, $late ],
	'/head/status-line-drip' =>
	  [ 'timeout', '', qr/(no answer|answer was not complete) after 5\.\d s/ ],
	'/head/cut' => [ 'protocol_error', 200, $cut ],
	'/head/nul' => [ 'protocol_error', 200, $invalid ],
	'/head/no-colon' => [ 'protocol_error', 200, $invalid ],
	'/head/only-lf' => [ 'delivered', 200, '' ],
	'/no-status-line' => [ 'protocol_error', '', $not_http ],
	'/http-0.9' => [ 'protocol_error', '', $not_http ],
	'/http-7' => [ 'protocol_error', '', $not_http ],
	'/status/000' => [ 'protocol_error', '', $not_http ],
	'/status/99' => [ 'protocol_error', '', $not_http ],
	'/status/099' => [ 'protocol_error', '', $not_http ],
	'/status/999' => [ 'http_error', 999, 'HTTP 999' ],
	# libcurl makes a number of these: itself, or 200
	'/status-2/4002' => [ 'protocol_error', '', $not_http ],
	'/status-2/65736' => [ 'protocol_error', '', $not_http ],
	'/1xx/flood' => [ 'protocol_error', 100, $long ],
	'/1xx/drip' => [ 'timeout', 102, $late ],
	'/1xx/some' => [ 'delivered', 200, '' ],
	'/1xx/cut' => [ 'protocol_error', 200, $cut ],
	'/1xx/retry-after' => [ 'http_error', 503, 'HTTP 503' ],
	# that of the interim answer, where libcurl makes nothing of the other line
	'/1xx/nul' => [ 'protocol_error', '(103)?', qr/$not_http|$invalid/ ],
	'/1xx/switch' => [ 'http_error', 101, 'HTTP 101' ],
	'/close' =>
	  [ 'protocol_error', '', 'connection was closed without an answer' ],
	'/reset' => [ 'protocol_error', '', $unread ],
	'/hang' => [ 'timeout', '', qr/no answer after 5\.\d s/ ],
	'/two-answers' => [ 'delivered', 200, '' ],
	'silent' => [ 'timeout', '', qr/no answer after 5\.\d s/ ],
	# it may come before the connection counts as open
	'rst' => [ 'protocol_error|connect_error', '', qr/.+: .+/ ],
	'full' => [ 'timeout', '', qr/connection was not complete after 5\.\d s/ ]);

my $receiver = start_receiver();
my $hostile = start_hostile('plain', 'silent', 'rst', 'full');
my $node = start_node();

create_endpoint($node, $receiver, 'well', '/well', event_types => "'{well}'");
publish($node, 'well');
$receiver->wait_for('/well', 1, 'the endpoint that is well is known');

# those that waste time first, so that a busy machine reaches them in time
my $n_well = 1;
for my $is_slow (1, 0)
{
	for my $name (sort keys %expect)
	{
		next if $is_slow != ($expect{$name}[0] eq 'timeout');
		add_hostile(
			$node, $name,
			$name =~ m{^/}
			? $hostile->url('plain', $name)
			: $hostile->url($name),
			event_types => "'{odd}'",
			$is_slow ? (timeout => "'5 s'") : ());
	}
	publish($node, 'odd');
	publish($node, 'well') for 1 .. 10;
	$n_well += 10;
	$receiver->wait_for('/well', $n_well, 'it gets its events meanwhile');
	wait_for_attempts($node);
	sql_value($node, 'UPDATE webhook_outbox.endpoint '
		. "SET event_types = '{none}' WHERE name <> 'well'");
}
expect_attempts($node, %expect);
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.attempt
		WHERE next_attempt_at > started_at + '2 hours')),
	'0', 'neither an interim answer nor a trailer puts off a retry');

finish($node, $receiver);
