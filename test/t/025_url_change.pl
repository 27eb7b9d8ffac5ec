# What waits for an endpoint goes to its new URL, headers and key after an
# UPDATE, without a restart.
# Plain SQL cannot show it: only receivers know where a request went.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
create_endpoint($node, $receiver, 'moving', '/status/503',
	retry_schedule => "'{500ms,500ms,500ms,500ms,500ms,500ms}'");
my $waiting = publish($node, 'order.created');
$receiver->wait_for_requests('/status/503', 1, 'the old URL fails');

my $url = $receiver->url('/new');
my $secret = sql_value($node, 'SELECT webhook_outbox.generate_secret()');
$receiver->secrets('/new', $secret);
$node->safe_psql(
	'postgres', qq(
	BEGIN;
	UPDATE webhook_outbox.endpoint SET url = '$url';
	SELECT webhook_outbox.set_headers(name, '{"X-New": "yes"}')
	FROM webhook_outbox.endpoint;
	SELECT webhook_outbox.rotate_secret('moving', overlap => '0', secret => '$secret');
	COMMIT));
my $later = publish($node, 'order.created');
$receiver->wait_for('/new', 2, 'the new URL gets what waited and what is new');
is_deeply(
	[ sort $receiver->accepted_ids('/new') ],
	[ sort $waiting, $later ],
	'both events are there');
my @requests = $receiver->requests('/new');
is(scalar(grep { $_->{headers}{'x-new'} eq 'yes' } @requests),
	2, 'with the new header');
is(scalar(grep { $_->{signature} eq 'valid' } @requests),
	2, 'signed with the new key');
all_delivered($node, 'nothing more is owed');

finish($node, $receiver);
