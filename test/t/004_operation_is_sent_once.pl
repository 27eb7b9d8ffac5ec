# Publishing again with an operation_id sends nothing more, also where two
# sessions do it at once.
# Plain SQL cannot show it: only a receiver knows what was sent.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'all', '/all');

my $publish =
  "SELECT webhook_outbox.publish('order.paid', '{}', operation_id => 'pay-1')";
my $id = sql_value($node, $publish);
is(sql_value($node, $publish), $id, 'the second call returns the first id');
my $tenant_id = sql_value($node,
	"SELECT webhook_outbox.publish('order.paid', '{}', "
	  . "operation_id => 'pay-1', tenant => 'acme')");
isnt($tenant_id, $id, 'a tenant has operations of its own');

my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
my $held = $session->query_safe($publish =~ s/pay-1/pay-2/r);
my $other = $node->background_psql('postgres');
$other->query_until(qr/go/, "\\echo go\n" . ($publish =~ s/pay-1/pay-2/r) . ";\n");
wait_for_sql(
	$node, q(
	SELECT count(*) > 0 FROM pg_stat_activity
	WHERE query LIKE '%pay-2%' AND pid <> pg_backend_pid()
	  AND wait_event_type = 'Lock'),
	'a concurrent call waits for the first');
$session->query_safe('COMMIT');
$session->quit;
$other->quit;

publish($node, 'last');
$receiver->wait_for('/all', 4, 'the events arrive');
all_delivered($node, 'nothing more is owed');
is($receiver->stats('/all')->{requests}, 4, 'each operation was sent once');
is( sql_value($node,
		q(SELECT count(*) FROM webhook_outbox.event WHERE operation_id = 'pay-2')),
	'1', 'two concurrent calls end with one event');
is((grep { $_ eq $held } $receiver->accepted_ids('/all')),
	1, 'it is the event of the one that committed first');

# A new version of the operating system may sort otherwise. That takes all indexes
# of texts to be made anew, and meanwhile nothing must be sent twice.
SKIP:
{
	skip 'a server without ICU', 2
	  if sql_value($node, q(SELECT count(*) FROM pg_collation WHERE collprovider = 'i')) == 0;
	my $column = sql_value($node, q(SELECT attname FROM pg_attribute
		WHERE attrelid = 'pg_database'::regclass AND attname ~ '^dat(icu)?locale$'));
	my $publish_all = q(SELECT string_agg(webhook_outbox.publish('order.paid', '{}', operation_id => o)::text, ' ')
		FROM unnest('{a,A,b,B}'::text[]) o);

	$node->safe_psql('postgres', q(CREATE DATABASE sorted TEMPLATE template0 ENCODING 'UTF8'
		LOCALE_PROVIDER icu ICU_LOCALE 'und'));
	$node->safe_psql('sorted', 'CREATE EXTENSION webhook_outbox');
	my $ids = sql_value($node, $publish_all, 'sorted');
	$node->safe_psql('postgres',
		"UPDATE pg_database SET $column = 'und-u-kf-upper' WHERE datname = 'sorted'");
	is(sql_value($node, q(SELECT 'A' < 'a'), 'sorted'), 't', 'where texts are sorted otherwise');
	is(sql_value($node, $publish_all, 'sorted'), $ids, 'an operation is known all the same');
}

finish($node, $receiver);
