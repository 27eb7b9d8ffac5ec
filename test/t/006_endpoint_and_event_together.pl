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
	# its own transaction's events, whichever came first, and all later ones
	my @want = sort 'first', 'second', map { 'third' } $n .. 10;
	my @more = map { ('first', 'second') } $n + 1 .. 10;
	my @got = sort map { $_->{body} =~ /"event_type": ?"(\w+)/ }
	  $receiver->requests("/new$n");
	push @wrong, "new$n: @got" if "@got" ne join ' ', sort @want, @more;
}
is("@wrong", '', 'each endpoint got the events that came with it and later');
is(scalar(grep { $_->{body} =~ /"before"/ } $receiver->requests('/new1')),
	0, 'and none from before');

finish($node, $receiver);
