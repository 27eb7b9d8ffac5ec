# What waits for a retry is tried at once when somebody says so: each delivery
# once, no more of them at a time than the endpoint takes, and what fails again
# goes on where it was in its schedule.
# Plain SQL cannot show it: the dispatcher obeys, and a receiver has to mend.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

use constant EVENTS => 1500;    # more than the dispatcher reads at once

my $receiver = start_receiver();
my $node = start_node();
my %option = (retry_schedule => "'{2h,3h,4h}'", retry_jitter => 0);
$receiver->script('/partner', { status => 503 });
create_endpoint($node, $receiver, 'partner', '/partner',
	%option, max_in_flight => 5);
create_endpoint($node, $receiver, 'other', '/status/500', %option,
	event_types => "'{order.other}'");
my $waiting = q(SELECT count(*) FROM webhook_outbox.delivery d
	JOIN webhook_outbox.endpoint p USING (endpoint_id)
	WHERE d.state = 'retrying' AND d.next_attempt_at > now() + '1 h'
	  AND p.name = );
my $retry = q(SELECT webhook_outbox.retry_now('partner'));

publish_many($node, 'order.created', EVENTS);
publish($node, 'order.other');
wait_for_sql(
	$node, "SELECT ($waiting 'partner') = @{[ EVENTS + 1 ]}
	  AND ($waiting 'other') = 1", 'all have failed and wait for hours');

is(sql_value($node, "BEGIN; $retry; ROLLBACK"),
	EVENTS + 1, 'it returns how many are tried now');
is(sql_value($node, "$waiting 'partner'"),
	EVENTS + 1, 'but does nothing when it is rolled back');

# it fails again: nothing is spent of the schedule but that attempt
$receiver->script('/partner', { status => 503, delay => 1 });
my $one = sql_value(
	$node, q(SELECT event_id FROM webhook_outbox.delivery d
	JOIN webhook_outbox.endpoint p USING (endpoint_id)
	WHERE p.name = 'partner' ORDER BY event_id LIMIT 1));
sql_value($node, $retry);
wait_for_sql(
	$node, sprintf(q(SELECT count(*) = %d FROM webhook_outbox.delivery
	WHERE attempts = 2 AND schedule_step = 2 AND origin = 'event'
	  AND next_attempt_at > now() + '2 h 50 min'), EVENTS + 1),
	'what fails again waits for the next delay of its schedule');

# the receiver is mended
$receiver->script('/partner', { status => 200, delay => 1 });
sql_value($node, $retry);
$receiver->wait_for('/partner', EVENTS + 1, 'all arrive hours earlier');
wait_for_sql($node, "SELECT ($waiting 'partner') = 0", 'none waits any more');
my $stats = $receiver->stats('/partner');
is($stats->{duplicates}, 0, 'none arrives twice');
cmp_ok($stats->{max_in_flight}, '<=', 5,
	'never more than max_in_flight at a time');
is( sql_value(
		$node, qq(SELECT state, attempts FROM webhook_outbox.delivery_status
		WHERE event_id = '$one' AND endpoint_name = 'partner')),
	'delivered|3', 'each by its third attempt');
is(sql_value($node, "$waiting 'other'"), 1, 'others wait as they did');
is(sql_value($node, $retry), 0, 'and nothing is left to try');
is(sql_value($node, 'SELECT count(*) FROM webhook_outbox.command'),
	0, 'nor to obey');

# what arrives before the command is obeyed is not sent once more
$receiver->script('/partner', { status => 503 });
my $late = publish($node, 'order.late');
wait_for_sql($node, "SELECT ($waiting 'partner') = 1", 'one more waits');
$receiver->script('/partner', { status => 200 });
my $open = $node->background_psql('postgres');
$open->query_safe("BEGIN; $retry");
sql_value($node, $retry);
$receiver->wait_for('/partner', EVENTS + 2, 'somebody else was quicker');
$node->safe_psql('postgres',
	q(DELETE FROM webhook_outbox.endpoint WHERE name = 'other'));
all_delivered($node, 'it is recorded');
$open->query_safe('COMMIT');
$open->quit;
wait_for_sql(
	$node, 'SELECT count(*) = 0 FROM webhook_outbox.command',
	'the second is obeyed too');
my $witness = publish($node, 'order.created');
$receiver->wait_for('/partner', EVENTS + 3, 'a later event is delivered');
is((grep { $_->{id} eq $late } $receiver->requests('/partner')),
	2, 'what had arrived was not sent again');

finish($node, $receiver);
