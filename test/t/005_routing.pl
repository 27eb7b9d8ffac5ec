# Types, prefixes and tenants decide who is told.
# Plain SQL cannot show it: the dispatcher decides, and receivers see it.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my %types = (
	exact => '{order.created}',
	prefix => '{order.*}',
	two => '{invoice.paid,order.created}',
	all => '{*}',
	own => '{webhook_outbox.*}');
create_endpoint($node, $receiver, $_, "/$_", event_types => "'$types{$_}'")
  for sort keys %types;
create_endpoint($node, $receiver, 'acme', '/acme', tenant => "'acme'");

$node->safe_psql(
	'postgres', q(
	INSERT INTO webhook_outbox.event (type, tenant, payload) VALUES
	  ('order.created', NULL, '1'), ('order.created.late', NULL, '2'),
	  ('orders.created', NULL, '3'), ('order', 'acme', '4'),
	  ('invoice.paid', 'other', '5')));
$receiver->wait_for('/all', 5, 'the events arrive');
all_delivered($node, 'nothing more is owed');

my %got = map {
	my $path = $_;
	$path => join ' ',
	  sort map { $_->{body} =~ /"data": ?(\d)/ } $receiver->requests("/$path")
} sort keys %types, 'acme';
is_deeply(
	\%got,
	{   exact => '1',
		prefix => '1 2',
		two => '1 5',
		all => '1 2 3 4 5',
		own => '',
		acme => '4' },
	'each endpoint got what it asked for');

sql_value($node, "SELECT webhook_outbox.send_test('exact')");
$receiver->wait_for('/exact', 2,
	'send_test reaches its endpoint, whatever that subscribes to');
all_delivered($node, 'the test event is recorded like any other');
is($receiver->stats('/all')->{requests}, 5, 'and no other endpoint got it');
is($receiver->stats('/own')->{requests}, 0,
	'not even one that asked for such types');

finish($node, $receiver);
