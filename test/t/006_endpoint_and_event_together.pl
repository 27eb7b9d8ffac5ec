# An endpoint gets events of its own transaction and of later ones, not those
# from before it was made.
# Plain SQL cannot show it: only the receiver knows what arrived.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'witness', '/witness');
my $insert = 'INSERT INTO webhook_outbox.event (type, payload) VALUES';

publish($node, 'before');
$receiver->wait_for('/witness', 1, 'an event from before is delivered');
for my $n (1 .. 10)
{
	my $url = $receiver->url("/new$n");
	$node->safe_psql(
		'postgres', qq(
		BEGIN;
		$insert ('first', '$n');
		SELECT webhook_outbox.create_endpoint('new$n', '$url',
		  event_types => '{first,second,third}');
		$insert ('second', '$n');
		COMMIT;
		$insert ('third', '$n')));
}
$receiver->wait_for('/witness', 31, 'all events are delivered');
all_delivered($node, 'nothing more is owed');

my @wrong;
for my $n (1 .. 10)
{
	my @got = sort map { /"event_type": ?"(\w+)".*"data": ?$n\b/ }
	  map { $_->{body} } $receiver->requests("/new$n");
	push @wrong, "new$n: @got" if "@got[-2, -1]" ne 'second third';
	push @wrong, "new$n got what others published"
	  if grep { $_->{body} !~ /"data": ?\d+/ } $receiver->requests("/new$n");
}
is("@wrong", '', 'each endpoint got the events that came with it and later');
is(scalar(grep { $_->{body} =~ /"before"/ } $receiver->requests('/new1')),
	0, 'and none from before');

finish($node, $receiver);
