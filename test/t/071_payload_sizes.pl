# Payloads of all sizes up to max_payload arrive byte for byte, mixed.
# Plain SQL cannot show it: they cross queues and sockets.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(
	conf => "webhook_outbox.max_payload = 4MB\nwebhook_outbox.window_size = 8MB");
create_endpoint($node, $receiver, 'well', '/well', body_format => "'raw'");
my @sizes = (0, 1, 1000, 8000, 8192, 65536, 262144, 1048576, 4194302);
$node->safe_psql(
	'postgres', sprintf q(
	INSERT INTO webhook_outbox.event (type, payload)
	SELECT 'order.created', to_json(translate(left(repeat(md5((s + n)::text),
	  s / 32 + 1), s), 'abc', 'xyz'))
	FROM unnest('{%s}'::int[]) s, generate_series(1, 5) n), join ',', @sizes);
$receiver->wait_for('/well', 5 * @sizes, 'all events arrive');
all_delivered($node, 'all are recorded');
my %sent = map { split /\|/ } split /\n/,
  sql_value($node, 'SELECT id, md5(payload::text) FROM webhook_outbox.event');
my %got = map { $_->{id} => $_->{md5} } $receiver->requests('/well');
is_deeply(\%got, \%sent, 'each has the bytes that were published');

finish($node, $receiver);
