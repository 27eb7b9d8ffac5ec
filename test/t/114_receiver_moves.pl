# A receiver that moves to another address gets its events there within
# minutes, though the old one goes on answering on connections that are kept.
# Plain SQL cannot show it: it takes names and a clock of the test's own.
use strict;
use warnings FATAL => 'all';
use Test::More;
use OwnNetwork qw(1.2.3.4 1.2.3.5);
use OwnClock;
use WebhookOutbox;

my $step_s = 20;    # never so long idle that a connection ends for that
my $old = start_receiver(address => '1.2.3.4');
my $new = start_receiver(address => '1.2.3.5', port => $old->port);
my $node = start_node(start => 0, conf => "webhook_outbox.allow_http = on\n"
	  . 'webhook_outbox.poll_interval = 200ms');

OwnNetwork::set_names('moves.test' => '1.2.3.4');
start_with_clock($node);
my $url = 'http://moves.test:' . $old->port . '/ok';
$node->safe_psql(
	'postgres', qq(
	CREATE EXTENSION webhook_outbox;
	SELECT webhook_outbox.create_endpoint('moves', '$url',
	  retry_schedule => '{1h}')));

my $n = 0;

# Publishes an event and waits until a receiver has it, and its connection is free
# again; returns how many the old one and the new one have.
sub send_one
{
	publish($node, 'order.created');
	$n++;
	wait_until(
		sub { $old->n_requests('/ok') + $new->n_requests('/ok') == $n
			  && sql_value($node, 'SELECT count(*) FROM webhook_outbox.attempt') == $n },
		"event $n arrives");
	return ($old->n_requests('/ok'), $new->n_requests('/ok'));
}

send_one();
OwnNetwork::set_names('moves.test' => '1.2.3.5');
my ($passed_s, $n_new) = (0, 0);
while ($n_new == 0 && $passed_s < 600)
{
	pass_time($step_s);
	$passed_s += $step_s;
	(undef, $n_new) = send_one();
}
is($n_new, 1, 'a busy endpoint is found at its new address');
cmp_ok($passed_s, '<=', 360, 'within six minutes');
cmp_ok($passed_s, '>=', 240, 'its connection having been kept for long');
my %conns = map { $_->{conn} => 1 } $old->requests('/ok');
is(scalar keys %conns, 1, 'until then all used one connection');
all_delivered($node, 'no request was lost by that');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.attempt
		WHERE outcome <> 'delivered')),
	'0', 'nor failed');
is( sql_value(
		$node, q(SELECT sum(restarts) FROM webhook_outbox.worker_status
		WHERE process = 'sender')),
	'0', 'the sender is the same');

finish($node);
