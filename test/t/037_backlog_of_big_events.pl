# Endpoints that hang, with a backlog of big events, take no more memory than is
# set aside for what is loaded, and leave some to one that answers.
# Plain SQL cannot show it: it takes receivers that hang.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my ($N_HANGING, $N_EVENTS, $KB) = (30, 40, 100);
my $receiver = start_receiver();
my $node = start_node(conf => "webhook_outbox.window_size = 4MB\n"
	  . 'webhook_outbox.max_in_flight = 100');
my $url = $receiver->url('');

$node->safe_psql('postgres', qq(
	SELECT webhook_outbox.create_endpoint('hang' || n, '$url/hold/' || n,
	  event_types => '{big}', timeout => '5 min') FROM generate_series(1, $N_HANGING) n;
	SELECT webhook_outbox.create_endpoint('well', '$url/well', event_types => '{big}');
	SELECT webhook_outbox.pause_endpoint(name) FROM webhook_outbox.endpoint));
my $before = largest_memory(worker_pid($node, 'dispatcher'));
$node->safe_psql('postgres', qq(
	INSERT INTO webhook_outbox.event (type, payload)
	SELECT 'big', to_json(n || repeat('x', 1024 * $KB)) FROM generate_series(1, $N_EVENTS) n));
wait_for_sql($node, 'SELECT parked = ' . ($N_HANGING + 1) * $N_EVENTS
	  . ' FROM webhook_outbox.queue_status', 'all is parked');
$node->safe_psql('postgres', 'SELECT webhook_outbox.resume_endpoint(name) FROM webhook_outbox.endpoint');
$receiver->wait_for('/well', $N_EVENTS, 'the one that answers gets its events');
wait_for_sql($node, q(SELECT in_flight > 10 FROM webhook_outbox.worker_status
	WHERE process = 'dispatcher'), 'while requests to others hang');
is(sql_value($node, q(SELECT count(*) FROM webhook_outbox.attempt
	JOIN webhook_outbox.endpoint USING (endpoint_id) WHERE name ~ '^hang')), '0', 'and none has ended');

# a window, twice as much for what is loaded, and as much for what is on its way
my $more = largest_memory(worker_pid($node, 'dispatcher')) - $before;
my $all = ($N_HANGING + 1) * $N_EVENTS * $KB / 1024;
note(sprintf 'the dispatcher took %.0f MB more; all events for all are %.0f MB', $more, $all);
cmp_ok($more, '<', 4 * 4 + 16, 'the dispatcher holds little of it');
finish($node, $receiver);

# The most memory that a process has had, in MB.
sub largest_memory
{
	my ($pid) = @_;

	open my $fh, '<', "/proc/$pid/status" or die "/proc/$pid/status: $!";
	my ($kb) = join('', <$fh>) =~ /^VmHWM:\s*(\d+)/m;
	close $fh;
	return $kb / 1024;
}
