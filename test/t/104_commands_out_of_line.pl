# Commands about events that the dispatcher has read are carried out at once, however
# many wait for events that it has no room to read yet; those cost it nothing meanwhile,
# and each is carried out as soon as its event was read, before that is sent.
# Plain SQL cannot show it: it takes a dispatcher whose window is full.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

use constant { EVENTS => 5_000, WINDOW => 100, CANCELLED => 20 };

my $receiver = start_receiver();
my $node = start_node(conf => 'webhook_outbox.window_events = ' . WINDOW);

create_endpoint($node, $receiver, 'slow', '/hold', max_in_flight => 1);
$node->safe_psql('postgres',
	"INSERT INTO webhook_outbox.event (type, payload) SELECT 't', to_json(n) "
	  . 'FROM generate_series(1, ' . EVENTS . ') n');
$receiver->wait_for_requests('/hold', 1, 'a request is under way, which fills the window');

# Those that are read are under way: only the others wait.
is(sql_value($node, "SELECT webhook_outbox.replay('slow', '-infinity')"),
	EVENTS, 'all events are to be sent again');
wait_for_sql($node, 'SELECT count(*) BETWEEN 501 AND ' . (EVENTS - 50) . ' FROM webhook_outbox.command',
	'of some the dispatcher sees that they are under way');
my $last = sql_value($node, 'SELECT id FROM webhook_outbox.event ORDER BY id DESC LIMIT 1');
is(sql_value($node, "SELECT webhook_outbox.cancel('$last')"), 1, 'the last one, far from read, is cancelled');

my $index = q(FROM pg_stat_all_indexes WHERE indexrelname = 'command_event');
my @read = split /\n/, sql_value($node,
	'SELECT id FROM webhook_outbox.event ORDER BY id OFFSET 10 LIMIT ' . CANCELLED);
my ($scans, $rows) = split /\|/, sql_value($node, "SELECT idx_scan, idx_tup_read $index");
for my $event (@read)
{
	$node->safe_psql('postgres', "SELECT webhook_outbox.cancel('$event')");
	wait_for_sql($node, "SELECT count(*) = 1 FROM webhook_outbox.delivery WHERE state = 'cancelled' AND event_id = '$event'",
		'one that is read is cancelled at once');
}
is($receiver->stats('/hold')->{requests}, 1, 'while nothing moves');
wait_for_sql($node, "SELECT idx_scan >= $scans + " . CANCELLED . " $index", 'its statistics come');
$rows = sql_value($node, "SELECT idx_tup_read - $rows $index");
note("entries of the index that were read for them: $rows");
cmp_ok($rows, '<', 20 * CANCELLED, 'the thousands that wait are not looked at');

$receiver->script('/hold', { status => 200 });
$receiver->release('/hold');
wait_for_sql($node, 'SELECT NOT EXISTS (SELECT FROM webhook_outbox.command)', 'then all commands are carried out');
all_delivered($node, 'and all events are delivered');
my %count;
$count{$_}++ for $receiver->accepted_ids('/hold');
is(scalar(grep { $_ > 1 } values %count), 0, 'none twice');
is(scalar(keys %count), EVENTS - CANCELLED - 1, 'each that was not cancelled');
is(scalar(grep { $count{$_} } $last, @read), 0, 'and no other');

# So many that they take many rounds, none of which waits for the next poll.
$node->append_conf('postgresql.conf', "webhook_outbox.poll_interval = '1min'");
$node->reload;
my @paused = map { "paused$_" } 1 .. 3;
create_endpoint($node, $receiver, $_, '/paused', enabled => 'false') for @paused;
is( sql_value($node, sprintf q(SELECT sum(webhook_outbox.replay(n, '-infinity')) FROM unnest('{%s}'::text[]) n),
		join ',', @paused),
	EVENTS * @paused, 'all events are to be sent to some that are paused');
wait_for_sql($node, 'SELECT NOT EXISTS (SELECT FROM webhook_outbox.command)', 'those commands are carried out');

finish($node, $receiver);
