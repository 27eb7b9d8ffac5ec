# Every query of the Grafana dashboard runs, as a role that may only look: in
# a new installation and in one with data, for all endpoints and for one.
# Plain SQL cannot show it: the queries are in JSON, and have macros.
use strict;
use warnings FATAL => 'all';
use File::Basename qw(dirname);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

my $file = dirname(dirname($WebhookOutbox::HERE))
  . '/docs/monitoring/grafana-dashboard.json';
my $dashboard = decode_json(slurp_file($file));
my @panels = grep { $_->{type} ne 'row' } @{ $dashboard->{panels} };

# ---- what can be seen without Grafana

my (%ids, %titles, @complaints);
for my $panel (@{ $dashboard->{panels} })
{
	my $at = $panel->{gridPos};

	push @complaints, "id $panel->{id} is there twice" if $ids{ $panel->{id} }++;
	push @complaints, "$panel->{title} is wider than the page"
	  if $at->{x} + $at->{w} > 24;
	next if $panel->{type} eq 'row';
	push @complaints, "$panel->{title} has no query"
	  if !grep { $_->{rawSql} } @{ $panel->{targets} };
	push @complaints, "$panel->{title} is bound to a data source"
	  if grep { $_->{datasource}{uid} ne '${datasource}' } $panel,
	  @{ $panel->{targets} };
	for my $other (grep { $_->{id} != $panel->{id} } @{ $dashboard->{panels} })
	{
		my $o = $other->{gridPos};
		push @complaints, "$panel->{title} lies over $other->{title}"
		  if $at->{x} < $o->{x} + $o->{w}
		  && $o->{x} < $at->{x} + $at->{w}
		  && $at->{y} < $o->{y} + $o->{h}
		  && $o->{y} < $at->{y} + $at->{h};
	}
}
is("@complaints", '', 'the panels are laid out, and any data source will do');

# ---- the queries

# As Grafana's PostgreSQL data source replaces macros and variables.
sub expand
{
	my ($sql, %value) = @_;
	my ($from, $to) = @value{qw(from to)};

	$sql =~ s/\$__timeFilter\(([^()]+)\)/$1 BETWEEN '$from' AND '$to'/g;
	$sql =~ s/\$__timeFrom\(\)/'$from'/g;
	$sql =~ s/\$__timeTo\(\)/'$to'/g;
	$sql =~ s/\$__interval\b/$value{interval}/g;
	$sql =~ s/\$\{(endpoint|tier):sqlstring\}/"'" . $value{$1} =~ s{'}{''}gr . "'"/ge;
	return $sql;
}

my @queries = (
	(map {
		my $panel = $_;
		map { [ $panel->{title}, $_->{rawSql}, $_->{format} ] }
		  @{ $panel->{targets} }
	} @panels),
	(map { [ "variable $_->{name}", $_->{query}, 'variable' ] }
		  grep { $_->{type} eq 'query' } @{ $dashboard->{templating}{list} }),
	(map { [ "annotation $_->{name}", $_->{target}{rawSql}, 'annotation' ] }
		  @{ $dashboard->{annotations}{list} }));
cmp_ok(scalar @queries, '>', 25, 'there are queries');

my $receiver = start_receiver();
my $node = start_node();
$node->safe_psql('postgres', q(
	CREATE ROLE grafana LOGIN;
	SELECT webhook_outbox.grant_monitor('grafana');));

# What a query returns: its columns with types, and how many rows.
sub run_query
{
	my ($sql) = @_;
	my ($code, $out, $err) = $node->psql('postgres',
		"SET SESSION AUTHORIZATION grafana;\n$sql\n\\gdesc\n$sql;",
		on_error_stop => 1);

	return { error => $err } if $code;
	my @lines = split /\n/, $out;
	my @columns;
	push @columns, shift @lines
	  while @lines && $lines[0] =~ /^[^|]+\|(?:text|name|bigint|integer|smallint|real|double precision|numeric|boolean|interval|text\[\]|timestamp with time zone)$/;
	return { columns => \@columns, rows => scalar @lines };
}

my %span = (
	'6 hours' => [ "now() - interval '6 hours'", '30s' ],
	'7 days' => [ "now() - interval '7 days'", '10m' ],
	'90 days' => [ "now() - interval '90 days'", '2h' ]);

# All queries with these values; what each returned, by title.
sub run_all
{
	my ($claim, $span, %value) = @_;
	my ($start, $interval) = @{ $span{$span} };
	my %got;
	my @errors;

	for (qw(from to))
	{
		my $at = $_ eq 'from' ? $start : 'now()';
		$value{$_} = sql_value($node,
			"SET timezone = 'UTC'; SELECT to_char($at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
	}
	for my $query (@queries)
	{
		my ($title, $sql, $format) = @$query;
		my $expanded = expand($sql, %value, interval => $interval);
		my $result = run_query($expanded);

		push @errors, "$title: a macro is left: $&" if $expanded =~ /\$\{?\w+/;
		push @errors, "$title: $result->{error}" if $result->{error};
		push @errors, "$title has no column time"
		  if $format =~ /^(?:time_series|annotation)$/
		  && ($result->{columns}[0] // '') ne 'time|timestamp with time zone';
		push @errors, "$title returns nothing"
		  if $format eq 'time_series' && $title !~ /Queue|Age/ && !$result->{rows};
		$got{$title} = $result->{rows};
	}
	is(join("\n", @errors), '', $claim);
	return \%got;
}

my %all = (endpoint => '(all)', tier => '(all)');
my $got = run_all('every query runs in a new installation', '6 hours', %all);
is($got->{'Burn rate by tier'}, 9, 'and the tiers are there');

my $odd = q(o'clock "quoted" \\ %s);
my $quoted = $odd =~ s/'/''/gr;
create_endpoint($node, $receiver, 'billing', '/ok', owner => "'finance'");
create_endpoint($node, $receiver, $quoted, '/bad', event_types => "'{bad.*}'",
	retry_schedule => "'{100ms}'", tier => 1);
$receiver->script('/bad', { status => 503, body => 'hidden' });
publish($node, 'order.created', $_) for 1 .. 5;
publish($node, 'bad.one', 1);
wait_for_sql($node, 'SELECT count(*) = 1 FROM webhook_outbox.dead_letter',
	'deliveries are made, and one is given up');
all_delivered($node, 'nothing is left');
$node->safe_psql('postgres', 'SELECT count(*) FROM webhook_outbox.maintain()');

for my $span (sort keys %span)
{
	$got = run_all("every query runs over $span", $span, %all);
}
is($got->{'Dead letters by cause'}, 1, 'panels have data');
is($got->{Endpoints}, 2, 'of all endpoints');
is($got->{'variable endpoint'}, 3, 'which can be chosen');
$got = run_all('every query runs for one endpoint, whatever its name',
	'6 hours', endpoint => $odd, tier => '1');
is($got->{Endpoints}, 1, 'and shows only that');
is($got->{'Errors by kind, 24 h'}, 1, 'with its errors');
$got = run_all('every query runs for another', '6 hours',
	endpoint => 'billing', tier => '(all)');
is($got->{'Dead letters by cause'}, 0, 'that has other dead letters');

finish($node, $receiver);
