# An endpoint is deleted while events that are owed to it are unread, and the server
# dies at each step of dealing with that: every one of them becomes a dead letter,
# those whose retries wait as well, and other endpoints miss nothing.
#
# Settings: FAULT_EVENTS (how many are unread at each deletion).
use strict;
use warnings FATAL => 'all';
use Fault;
use Test::More;
use WebhookOutbox;

# the last of them in a page of their own, read and not yet recorded
my $n_events = fault_size(1_150, 150, 'EVENTS');
my $n_stored = 5;
my @points = fault_size(1, 0)
  ? qw(after_read before_record mid_record after_record after_bury before_forget
  after_forget)
  : qw(before_record before_forget after_forget);
my @actions = fault_size(1, 0) ? qw(immediate flushed exit) : qw(flushed);
my $world = fault_world(endpoints => [ [ 'well', '/well', '{*}', '{100ms,1s,1s,1s}' ] ]);
my $node = $world->node;

# Events whose types and keys name the round.
sub publish_events
{
	my ($round, $what, $n) = @_;

	$world->sql(qq(INSERT INTO webhook_outbox.event (type, payload)
		SELECT '$round.$what', format('{"key":"$round-$what-%s"}', n)::json
		FROM generate_series(1, $n) n));
	return;
}

sub dead_letters
{
	my ($id) = @_;

	return "SELECT count(*) FROM webhook_outbox.dead_letter "
	  . "WHERE endpoint_id = $id AND reason = 'endpoint_deleted'";
}

my @rounds = map { my $point = $_; map { [ $point, $_ ] } @actions } @points;
my $n_rounds = 0;
for (@rounds)
{
	my ($point, $action) = @$_;
	my $round = 'round_' . ++$n_rounds;
	my $path = "/status/500/$round";
	my $id = $world->add_endpoint($round, $path, "{$round.*}", '{1h}');

	publish_events($round, 'stored', $n_stored);
	$world->wait_for("$round: retries wait", sub {
		($world->try_sql('SELECT count(*) FROM webhook_outbox.delivery '
			. "WHERE endpoint_id = $id AND state = 'retrying'"))[0] == $n_stored });
	# else the point that is armed would be reached by this one's creation
	$world->wait_for("$round: what changed before is dealt with", sub {
		($world->try_sql('SELECT count(*) FROM webhook_outbox.endpoint_change'))[0] == 0 });
	switch_delivery($node, 'off');
	publish_events($round, 'unread', $n_events);
	$world->sql("DELETE FROM webhook_outbox.endpoint WHERE endpoint_id = $id");
	$node->append_conf('postgresql.conf', 'webhook_outbox.enabled = on');
	ok($world->strike_at($point, $action, sub { $node->reload }),
		"the server dies by $action at $point");
	wait_for_sql($node, dead_letters($id) =~ s/count\(\*\)/count(*) = $n_stored + $n_events/r,
		'everything owed to the deleted endpoint becomes a dead letter');
	wait_for_sql($node, 'SELECT count(*) = 0 FROM webhook_outbox.endpoint_change',
		'and the deletion is forgotten');
	is(sql_value($node, dead_letters($id)), $n_stored + $n_events, 'none twice');
	is($world->receiver->stats($path)->{requests}, $n_stored,
		'nothing more was sent to it');
}
$world->wait_settled(60);
$world->judge;
$world->finish;
