# A name server that does not answer delays a look-up and does not fail it: the
# next one is asked while the request has time left.
# Plain SQL cannot show it: it takes a name server that is silent.
use strict;
use warnings FATAL => 'all';
use Test::More;
use OwnNetwork qw(192.0.2.1);
use WebhookOutbox;

OwnNetwork::set_names('partner.test' => '127.0.0.1');
OwnNetwork::set_nameservers('127.0.0.2', '127.0.0.1');

my $receiver = start_receiver();
my $node = start_node();
my $url = 'http://partner.test:' . $receiver->port . '/ok';

$node->safe_psql('postgres',
	"SELECT webhook_outbox.create_endpoint('partner', '$url')");
publish($node, 'order.created');
wait_for_sql($node, 'SELECT count(*) > 0 FROM webhook_outbox.attempt',
	'there is an attempt');
is( sql_value(
		$node, q(SELECT concat_ws(' ', outcome, http_status, error)
		FROM webhook_outbox.attempt ORDER BY started_at LIMIT 1)),
	'delivered 200',
	'the first attempt delivers although the first name server is silent');
finish($node, $receiver);
