# Headers of the endpoint and of the event are sent, each as it was given.
# Plain SQL cannot show it: the receiver sees them.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'well', '/well',
	headers => q('{"Authorization": "Bearer s3cret", "X-Both": "endpoint",
	"X-Empty": "", "X-Colon": "a::", "X-Tab": "\t"}'));
$node->safe_psql(
	'postgres', q(
	SELECT webhook_outbox.publish('order.created', '{}',
	  headers => '{"X-Trace": "a, b; c=\"d\"", "x-both": "event",
	    "x_both": "event", "X.Both": "event", "x!both": "event"}')));
publish($node, 'order.created');
$receiver->wait_for('/well', 2, 'the events arrive');
my @requests =
  sort { $a->{id} cmp $b->{id} } $receiver->requests('/well');
my %first = %{ $requests[0]{headers} };
my %second = %{ $requests[1]{headers} };

is($first{authorization}, 'Bearer s3cret', 'a header of the endpoint');
is($first{'x-trace'}, 'a, b; c="d"', 'a header of the event');
is($first{'x-both'}, 'endpoint', "the endpoint's wins over the event's");
is_deeply([ grep { /both/ } sort keys %first ], ['x-both'],
	'and over one that differs in punctuation, which many receivers take for it');
ok(!exists $second{'x-trace'}, 'no header of another event is sent');
is($first{'x-empty'}, '', 'a header may be empty');
is($first{'x-tab'}, '', 'or blank');
is($first{'x-colon'}, 'a::', 'or end in a colon');
is($first{host}, '127.0.0.1:' . $receiver->port, 'the host is right');
ok(!exists $first{$_}, "no $_ is sent")
  for qw(cookie accept-encoding expect referer);

finish($node, $receiver);
