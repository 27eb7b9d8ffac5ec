# Many bad receivers at once take up at most 1 MB of memory for each request,
# and the events of an endpoint that is well go out among them.
# Plain SQL cannot show it: it takes receivers that break the rules.
use strict;
use warnings FATAL => 'all';
use Test::More;
use Hostile;
use WebhookOutbox;

my $EACH = 15;    # requests at once to each of them, and events
my @paths = qw(/body/10-gb /chunk/endless /gzip/chunked /head/100-kb
  /head/100000-lines /head/1-mb-line /body/drip);
my $receiver = start_receiver();
my $hostile = start_hostile('plain', 'rst');
my $node = start_node();
my @option = (max_in_flight => $EACH, event_types => "'{odd}'",
	timeout => "'10 s'");

create_endpoint($node, $receiver, 'well', '/well', event_types => "'{well}'");
publish($node, 'well') for 1 .. 20;
$receiver->wait_for('/well', 20, 'the endpoint that is well is known');
my $sender = sender_pid($node);
my $before = sender_status($node, 'VmHWM');

add_hostile($node, $_, $hostile->url('plain', $_), @option) for @paths;
add_hostile($node, 'rst', $hostile->url('rst'), @option,
	event_types => "'{odd,storm}'");
publish_many($node, 'storm', 1000);
publish_many($node, 'odd', $EACH);
publish($node, 'well') for 1 .. 20;
$receiver->wait_for('/well', 40, 'it gets its events among bad ones');
my $n_bad = (@paths + 1) * $EACH + 1000;
wait_for_sql(
	$node, qq(
	SELECT count(*) >= $n_bad FROM webhook_outbox.attempt
	  JOIN webhook_outbox.endpoint USING (endpoint_id) WHERE name <> 'well'),
	'and every event for those has had its attempt');

my $n_requests = (@paths + 1) * $EACH;
my $grown = sender_status($node, 'VmHWM') - $before;
note("the sender grew by $grown kB for $n_requests requests at once");
note('milliseconds from commit to answer of the healthy one, 95 in 100, '
	  . 'before and meanwhile: '
	  . sql_value(
		$node, q(
	SELECT string_agg(p95::text, ', ' ORDER BY is_later) FROM (
	  SELECT n > 20 AS is_later, round(1000 * percentile_cont(0.95)
	    WITHIN GROUP (ORDER BY extract(epoch FROM
	      started_at - created_at) + total_ms / 1000)::numeric, 1) AS p95
	  FROM (
	    SELECT a.started_at, a.total_ms, v.created_at,
	      row_number() OVER (ORDER BY v.id) AS n
	    FROM webhook_outbox.attempt a
	      JOIN webhook_outbox.endpoint e USING (endpoint_id)
	      JOIN webhook_outbox.event v ON v.id = a.event_id
	    WHERE e.name = 'well') x GROUP BY 1) y)));
cmp_ok($grown, '<=', $n_requests * 1024,
	'no request took up more than 1 MB of memory');
is(sender_pid($node), $sender, 'the sender is the same process');
is( sql_value(
		$node, q(
		SELECT string_agg(DISTINCT outcome::text, ' ')
		FROM webhook_outbox.attempt
		  JOIN webhook_outbox.endpoint USING (endpoint_id)
		WHERE name = 'rst'
		  AND outcome NOT IN ('protocol_error', 'connect_error'))),
	'', 'each of a storm of resets is told as such');

finish($node, $receiver);
