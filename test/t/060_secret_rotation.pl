# During a rotation both keys sign; after it the new one alone.
# Plain SQL cannot show it: the receiver checks the signatures of real requests.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my ($old, $new, $last) =
  map { sql_value($node, 'SELECT webhook_outbox.generate_secret()') } 1 .. 3;
create_endpoint($node, $receiver, 'well', '/well', secret => "'$old'");
$receiver->secrets('/well', $old, $new, $last);

my $n = 0;

sub keys_of_next
{
	publish($node, 'order.created');
	$receiver->wait_for('/well', ++$n, "event $n arrives");
	return join ' ', @{ ($receiver->requests('/well'))[-1]{valid_keys} };
}

is(keys_of_next(), '0', 'the first key signs');
$node->safe_psql('postgres',
	"BEGIN; SELECT webhook_outbox.rotate_secret('well', secret => '$new'); ROLLBACK");
is(keys_of_next(), '0', 'a rotation that rolls back changes nothing');
is( sql_value(
		$node, "SELECT webhook_outbox.rotate_secret('well', secret => '$new')"),
	$new, 'rotate_secret returns the new key');
is(keys_of_next(), '0 1', 'both keys sign');
$node->restart;
is(keys_of_next(), '0 1', 'after a restart too');
$node->safe_psql('postgres',
	"SELECT webhook_outbox.rotate_secret('well', overlap => '0', secret => '$last')");
is(keys_of_next(), '2', 'without overlap the old keys end at once');
$node->safe_psql('postgres',
	"SELECT webhook_outbox.rotate_secret('well', overlap => '1 ms', secret => '$new')");
is(keys_of_next(), '1', 'an old key ends by itself');
$node->safe_psql('postgres',
	"SELECT webhook_outbox.rotate_secret('well', overlap => '3 s', secret => '$old')");
is(keys_of_next(), '0 1', 'nor does one sign longer');
wait_for_sql($node, q(SELECT count(*) = 1 FROM webhook_outbox.endpoint_secret
	WHERE coalesce(expires_at, 'infinity') > clock_timestamp()),
	'that the sender has, and whose time is over');
is(keys_of_next(), '0', 'without anybody telling it');

finish($node, $receiver);
