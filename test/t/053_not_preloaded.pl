# Without shared_preload_libraries events are stored with a warning, functions
# that need workers say what to do, and later everything is delivered.
# Plain SQL cannot show it: the server has to be restarted in between.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(preload => 0, extension => 0);
my ($rc, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION webhook_outbox');
is($rc, 0, 'the extension is created');
like($err, qr/WARNING:.*HINT:.*shared_preload_libraries = 'webhook_outbox'/s,
	'with a warning that has the line to add');
create_endpoint($node, $receiver, 'well', '/well');

my $insert = q(INSERT INTO webhook_outbox.event (type, payload)
	VALUES ('order.created', '{}'););
($rc, $out, $err) = $node->psql('postgres', $insert x 2);
is($rc, 0, 'events are stored');
is(() = $err =~ /WARNING/g, 1, 'with one warning per session');
like($err, qr/HINT:.*shared_preload_libraries = 'webhook_outbox'/,
	'that has the line to add');

my $id = sql_value($node, 'SELECT id FROM webhook_outbox.event LIMIT 1');
for my $call (
	"redeliver('$id', 'well')", "cancel('$id')",
	"send_test('well')", "replay('well', now() - interval '1 day', now())")
{
	($rc, $out, $err) =
	  $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT webhook_outbox.$call");
	like($err, qr/ERROR:  55000: .*HINT:.*shared_preload_libraries/s,
		"$call says so");
}
($rc, $out, $err) =
  $node->psql('postgres', 'SELECT * FROM webhook_outbox.worker_status');
like($err, qr/shared_preload_libraries/, 'worker_status says so');

$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'webhook_outbox'");
$node->restart;
$receiver->wait_for('/well', 2, 'preloaded, it delivers what was stored');
all_delivered($node, 'and records it');

finish($node, $receiver);
