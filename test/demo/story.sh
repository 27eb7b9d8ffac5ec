#!/bin/bash
# story.sh - what make demo shows: a shop that tells three others about its
# orders. Called by run.sh as an ordinary user, with PG_CONFIG, WO_BIN (its
# programs) and WO_WORK (a folder for everything).
#
# On a terminal it goes at the pace of a reader and stays until Enter is
# pressed; otherwise it goes straight through. All waiting is for conditions.

set -u -o pipefail
cd "$(dirname "$0")" || exit 1

home=$WO_WORK/demo
data=$home/data
log=$home/requests.jsonl
port=56300
server_is_up='' receiver_pid='' feed_pid='' page=''
export PGHOST=$home PGPORT=$port PGDATABASE=shop PGOPTIONS='-c client_min_messages=warning'
export LC_ALL=C.UTF-8
psql=("$WO_BIN/psql" -X -q -v ON_ERROR_STOP=1)

tick=0.05 # seconds between looks at a condition
pace=0.6  # seconds a reader gets for a sentence

is_terminal=''
[ -t 0 ] && [ -t 1 ] && is_terminal=1
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' cyan=$'\e[36m' plain=$'\e[0m'
else
	bold='' dim='' red='' cyan='' plain=''
fi

# ---- telling

chapter() {
	printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

tell() {
	printf '%s\n' "$*"
	[ -z "$is_terminal" ] || sleep "$pace"
}

# Show SQL and run it.
run_sql() {
	printf '%s  %s%s\n' "$cyan" "${1//$'\n'/$'\n'  }" "$plain"
	"${psql[@]}" -c "$1" | sed -u '/^$/d; s/^/  /'
}

# Show SQL and run it, as one script in one session.
run_script() {
	printf '%s  %s%s\n' "$cyan" "${1//$'\n'/$'\n'  }" "$plain"
	"${psql[@]}" >/dev/null <<<"$1"
}

value() {
	"${psql[@]}" -At -c "$1"
}

# Wait until a query says true; give up after half a minute.
wait_until() {
	local n
	for ((n = 0; n < 600; n++)); do
		[ "$(value "$1")" = t ] && return 0
		sleep "$tick"
	done
	printf '%sstill not so after 30 s:%s %s\n' "$red" "$plain" "$1"
	tail -n 20 "$home/server.log"
	exit 1
}

# What has arrived so far has been shown.
feed_catches_up() {
	until [ "$(cat "$home/feed.position" 2>/dev/null)" = "$(stat -c %s "$log")" ]; do
		sleep "$tick"
	done
}

# ---- the servers

# shellcheck disable=SC2317 # called by trap
clean_up() {
	[ -z "$feed_pid" ] || kill "$feed_pid" 2>/dev/null
	[ -z "$receiver_pid" ] || kill "$receiver_pid" 2>/dev/null
	[ -z "$server_is_up" ] ||
		"$WO_BIN/pg_ctl" -D "$data" -m fast -w stop >/dev/null 2>&1 ||
		"$WO_BIN/pg_ctl" -D "$data" -m immediate stop >/dev/null 2>&1
	printf '%sThe demo is over; its servers and files are gone%s.%s\n' "$dim" \
		"${page:+, but for $page}" "$plain"
}

start_servers() {
	local preload=webhook_outbox
	[ -e "$("$PG_CONFIG" --pkglibdir)/pg_cron.so" ] && preload=pg_cron,webhook_outbox
	mkdir -p "$home"
	"$WO_BIN/initdb" -D "$data" -A trust -U postgres --no-sync >"$home/initdb.log" 2>&1 || {
		cat "$home/initdb.log"
		exit 1
	}
	cat >>"$data/postgresql.conf" <<-END
		shared_preload_libraries = '$preload'
		listen_addresses = ''
		unix_socket_directories = '$home'
		unix_socket_permissions = 0700
		port = $port
		max_worker_processes = 16
		webhook_outbox.allowed_networks = '127.0.0.1'
		fsync = off
	END
	[ "$preload" = webhook_outbox ] ||
		printf "cron.database_name = 'shop'\ncron.use_background_workers = on\n" >>"$data/postgresql.conf"
	export PGUSER=postgres
	server_is_up=1
	"$WO_BIN/pg_ctl" -D "$data" -l "$home/server.log" -w start >/dev/null || {
		tail -n 20 "$home/server.log"
		exit 1
	}
	"${psql[@]}" -d postgres -c 'CREATE DATABASE shop' || exit 1

	perl ../t/receiver.pl --log "$log" >"$home/receiver.out" &
	receiver_pid=$!
	until [ -s "$home/receiver.out" ]; do sleep "$tick"; done
	url=http://127.0.0.1:$(tr -dc 0-9 <"$home/receiver.out")
}

receiver_says() {
	perl -MHTTP::Tiny -e '
		my $r = HTTP::Tiny->new(proxy => undef, http_proxy => undef)
			->post($ARGV[0], { content => $ARGV[1] });
		die "receiver: $r->{status} $r->{content}\n" if !$r->{success}' "$url/$1" "$2"
}

# An endpoint with a receiver that checks its signatures.
create_endpoint() {
	local name=$1 path=$2 schedule=$3 secret
	printf "%s  SELECT * FROM webhook_outbox.create_endpoint('%s', '%s',\n    event_types => '{order.*}', retry_schedule => '%s');%s\n" \
		"$cyan" "$name" "$url$path" "$schedule" "$plain"
	secret=$(value "SELECT secret FROM webhook_outbox.create_endpoint('$name', '$url$path',
		event_types => '{order.*}', retry_schedule => '$schedule', retry_jitter => 0)") || exit 1
	printf '  %s%s%s\n' "$dim" "${secret:0:18}..." "$plain"
	receiver_says _secrets "{\"path\": \"$path\", \"secrets\": [\"$secret\"]}"
}

# ---- the story

trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

chapter 'webhook_outbox: webhooks that commit with your data'
start_servers
tell "A throw-away PostgreSQL $(value 'SHOW server_version' | cut -d' ' -f1) and an HTTP receiver are running."

chapter '1. A shop, and three others that want to know'
run_sql 'CREATE EXTENSION webhook_outbox;'
has_cron=$(value "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'
	AND current_setting('shared_preload_libraries') LIKE '%pg_cron%'")
[ "$has_cron" = 0 ] || run_sql 'CREATE EXTENSION pg_cron;'
run_sql 'CREATE TABLE orders (order_id bigint PRIMARY KEY, customer text, total numeric);'
tell 'billing answers well, warehouse fails twice for each event, crm is down:'
receiver_says _script '{"path": "/crm", "rule": {"status": 503, "body": "we are closed"}}'
create_endpoint billing /billing '{1s,2s}'
create_endpoint warehouse /warehouse/fail/2 '{700ms,700ms,700ms}'
create_endpoint crm /crm '{500ms,1s}'

chapter '2. Business transactions; below each, what arrives over HTTP'
perl feed.pl ${bold:+--color} "$log" "$home/feed.position" &
feed_pid=$!
run_script "BEGIN;
INSERT INTO orders VALUES (42, 'Ada', 99.50);
INSERT INTO webhook_outbox.event (type, payload)
  VALUES ('order.created', '{\"order_id\": 42, \"total\": 99.50}');
COMMIT;"
wait_until 'SELECT count(DISTINCT endpoint_id) = 3 FROM webhook_outbox.attempt'
feed_catches_up
tell 'This one rolls back, so nobody ever hears of order 43:'
run_script "BEGIN;
INSERT INTO orders VALUES (43, 'Bob', 10);
INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{\"order_id\": 43}');
ROLLBACK;"
tell 'Paid twice by a nervous caller: operation_id makes it one event.'
for _ in 1 2; do
	run_script "SELECT webhook_outbox.publish('order.paid', '{\"order_id\": 42}', operation_id => 'pay-42');"
done
[ "$has_cron" = 0 ] || {
	tell 'And one that pg_cron runs at each full minute:'
	run_script "SELECT cron.schedule('reminder', '* * * * *',
  \$\$INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.reminder', '{\"order_id\": 42}')\$\$);"
}

wait_until "SELECT count(*) >= 2 FROM webhook_outbox.dead_letter"
wait_until "SELECT count(*) >= 2 FROM webhook_outbox.delivery_status WHERE endpoint_name = 'warehouse' AND state = 'delivered'"
feed_catches_up

tell "Requests about order 43, which was rolled back: $(grep -c '"order_id": 43' "$log")."

chapter '3. crm stayed down: dead letters, which SQL can read and send again'
run_sql 'SELECT endpoint_name, event_type, reason, attempts, last_status, last_response
FROM webhook_outbox.dead_letter;'
event=$(value "SELECT event_id FROM webhook_outbox.dead_letter WHERE event_type = 'order.created' LIMIT 1")
tell 'Why was that not delivered?'
run_sql "SELECT webhook_outbox.explain_event('$event');"
tell 'Somebody repairs crm, and sends them again:'
receiver_says _script '{"path": "/crm", "rule": {"status": 200}}'
run_sql "SELECT webhook_outbox.redeliver_dead_letters(endpoint => 'crm');"
wait_until "SELECT count(*) = 0 FROM webhook_outbox.delivery_status
	WHERE endpoint_name = 'crm' AND event_type <> 'order.reminder' AND state <> 'delivered'"
feed_catches_up

chapter '4. Where everything stands'
run_sql 'SELECT event_type, state, endpoints, delivered, attempts FROM webhook_outbox.event_status ORDER BY event_id;'
run_sql 'SELECT name, state, pending, retrying, dead_letters, last_failure_status FROM webhook_outbox.endpoint_status ORDER BY name;'
run_sql "SELECT name, number, outcome, http_status, round(total_ms::numeric, 1) AS total_ms,
       date_trunc('milliseconds', next_attempt_at - started_at) AS retry_after
FROM webhook_outbox.attempt JOIN webhook_outbox.endpoint USING (endpoint_id)
WHERE event_id = '$event' ORDER BY name, number;"
# it shows what was counted a moment ago
wait_until "SELECT state = 'idle' FROM webhook_outbox.worker_status WHERE process = 'dispatcher'"
run_sql 'SELECT process, database, pid, is_running, state, delivered, failed FROM webhook_outbox.worker_status;'

chapter '5. All of it on one page, for a browser'
value 'SELECT count(*) FROM webhook_outbox.maintain()' >/dev/null
page=$(mktemp "${TMPDIR:-/tmp}/webhook_outbox-console.XXXXXX.html") || exit 1
chmod 644 "$page"
query="SELECT webhook_outbox.console(span => '1 hour')"
printf '%s  psql -XAtc "%s" shop > console.html%s\n' "$cyan" "$query" "$plain"
value "$query" >"$page"
tell "It is $page, and stays there."

if [ -n "$is_terminal" ]; then
	chapter 'Look around in another terminal:'
	tell "  psql -h $home -p $port -U postgres shop"
	tell "What arrives goes on being shown here. Press Enter to clean up, or p for psql right here."
	while read -r -n 1 -s key && [ "$key" = p ]; do
		"$WO_BIN/psql" -X
		tell 'Press Enter to clean up, or p for psql.'
	done
fi
exit 0
