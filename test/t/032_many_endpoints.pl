# Hundreds of endpoints, some failing, each get every event once.
# Changes of many that are not committed yet cost nothing.
# Plain SQL cannot show it: it takes many receivers.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my $base = $receiver->url('');
my $n = 200;
$node->safe_psql(
	'postgres', qq(
	SELECT webhook_outbox.create_endpoint('e' || n,
	  '$base/e' || n || CASE n % 3 WHEN 0 THEN '/fail/1' ELSE '/ok' END,
	  retry_schedule => '{50ms}')
	FROM generate_series(1, $n) n));
publish_many($node, 'order.created', 20);
wait_until(
	sub {
		my $stats = $receiver->stats;
		$n == grep { $stats->{$_}{accepted} == 20 } keys %$stats;
	},
	'each endpoint gets each event');
all_delivered($node, 'all is recorded');
my $stats = $receiver->stats;
is((grep { $stats->{$_}{duplicates} } keys %$stats), 0, 'each once');
is( sql_value(
		$node, q(SELECT count(*) FROM webhook_outbox.delivery_status
		WHERE state = 'delivered')),
	$n * 20, 'delivery_status knows each');

# ---- somebody changes all and takes his time: nobody else pays for that

# How often the dispatcher has looked for changes, and how many rows it met.
sub looks
{
	return split /[|]/, sql_value($node, q(SELECT sum(idx_scan), sum(idx_tup_read) FROM pg_stat_user_indexes
		WHERE schemaname = 'webhook_outbox' AND indexrelname = 'endpoint_change_xid'));
}

# Some looks later; counts come with a delay.
sub look_on
{
	my ($n_before) = looks();

	wait_until(sub { publish($node, 'order.paid'); return (looks())[0] > $n_before + 20 },
		'the dispatcher looks for changes');
	return (looks())[1];
}

# What is asked for is noted at commit, all else at once.
sub change
{
	my ($session, $which) = @_;

	return $session->query_safe("BEGIN; " . join ' ', map { "UPDATE webhook_outbox.endpoint SET $_ WHERE name $which;" }
		  "description = 'changed'", "event_types = '{other}'");
}

my $early = $node->background_psql('postgres');
my $late = $node->background_psql('postgres');
look_on();
change($early, "= 'e1'");
change($late, "NOT IN ('e1', 'e2')");
look_on();    # what it had not counted until then
my $n_met = look_on();
cmp_ok(look_on() - $n_met, '<', $n, 'it does not meet what is not committed');
# Who gets an event that is published now?
sub takers
{
	my $event = publish($node, 'order.paid');

	all_delivered($node, 'an event is delivered');
	return sql_value($node, qq(SELECT string_agg(DISTINCT endpoint_name, ',')
		FROM webhook_outbox.delivery_status WHERE event_id = '$event'));
}

$late->query_safe('COMMIT');
is(takers(), 'e1,e2', 'once committed it counts, though an older transaction is open');
$early->query_safe('COMMIT');
is(takers(), 'e2', 'and what that one has changed, once it has ended');
$_->quit for $early, $late;

finish($node, $receiver);
