# On a server where hundreds of transactions run at once the cursor's snapshots are
# stored out of line. A dispatcher that has loaded them goes on when VACUUM has
# removed what it loaded them from.
# Plain SQL cannot show it: it is about what one process keeps meanwhile.
use strict;
use warnings FATAL => 'all';
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node(conf => "autovacuum = off\n");

create_endpoint($node, $receiver, 'slow', '/hold', event_types => q('{slow}'));
create_endpoint($node, $receiver, 'well', '/ok', event_types => q('{well}'));
$node->append_conf('postgresql.conf', q(webhook_outbox.databases = 'none'));
$node->reload;
wait_for_sql($node, q(SELECT count(*) = 0 FROM pg_stat_activity
	WHERE backend_type = 'webhook_outbox dispatcher'), 'no dispatcher runs');

# As if of some thousand transactions each second one had been running then.
$node->safe_psql('postgres', q(
	CREATE TABLE used (n integer);
	DO $$
	BEGIN
		FOR i IN 1 .. 6000 LOOP
			BEGIN
				INSERT INTO used VALUES (i);
			EXCEPTION WHEN division_by_zero THEN
			END;
		END LOOP;
	END
	$$;
	WITH snapshot AS (
		SELECT format('%s:%s:%s', min(x), max(x) + 1, string_agg(x::text, ',' ORDER BY x))::pg_snapshot AS s
		FROM (SELECT DISTINCT xmin::text::bigint AS x FROM used) u WHERE hashint8(x) & 1 = 0)
	UPDATE webhook_outbox.cursor SET old_snapshot = s, new_snapshot = s FROM snapshot));
is( sql_value($node, q(SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class
	WHERE oid = 'webhook_outbox.cursor'::regclass)), 't', 'its cursor is stored out of line');
publish($node, 'slow');
$node->append_conf('postgresql.conf', q(webhook_outbox.databases = ''));
$node->reload;
$receiver->wait_for_requests('/hold', 1, 'a request holds the cursor there');

my $written = q(SELECT updated_at > '%s' FROM webhook_outbox.cursor);
for my $n (1 .. 2)
{
	my $at = sql_value($node, 'SELECT updated_at FROM webhook_outbox.cursor');

	publish($node, 'well');
	$receiver->wait_for('/ok', $n, 'another event is sent');
	wait_for_sql($node, "SELECT count(*) = $n FROM webhook_outbox.attempt", 'and recorded');
	wait_for_sql($node, sprintf($written, $at), 'and the cursor is written');
	$node->safe_psql('postgres', 'VACUUM webhook_outbox.cursor');
}
$receiver->release('/hold');
all_delivered($node, 'all is delivered');

finish($node, $receiver);
