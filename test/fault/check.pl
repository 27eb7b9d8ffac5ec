# check.pl - compares what producers did, what a receiver got and what the
# database says, after make fault.
#
#   check.pl FOLDER
#
# Reads from FOLDER: producer_N (producer.pl), requests.jsonl (receiver.pl),
# kills, endpoints, attempts_N (read right after kill N), and, of the end, events,
# dead_letters and attempts_end. Exit code 1 when a promise is broken:
#
#   lost        an event that is in the database was neither delivered to an
#               endpoint that matches nor became a dead letter there
#   phantom     an event that is not in the database was sent
#   vanished    a commit that waited for the disk is not in the database
#   duplicate   an event that an endpoint had accepted was sent to it again;
#               allowed if at some kill in between the first delivery was not on
#               record: it was in flight, or not yet recorded, or its record
#               (written without waiting for the disk) was lost
#   false       recorded as delivered and not accepted by the receiver
#
# What counts is the database after the last recovery: a transaction of unknown
# outcome is committed if its rows are there.

use strict;
use warnings FATAL => 'all';

my $home = shift // die "usage: check.pl FOLDER\n";
my $shown_at_most = 5;
my (%event, %type_of, %endpoint, %by_path, @kills);
my (%plan, %outcome);     # by "producer/transaction"
my (%accepted);           # endpoint/key => [ times ]
my (%id_of, %key_of);     # webhook-id <=> key
my (%requested, %recorded, %dead);
my ($n_requests, $n_broken) = (0, 0);

sub each_line
{
	my ($name, $code) = @_;

	open my $fh, '<', "$home/$name" or die "$home/$name: $!\n";
	while (my $line = <$fh>)
	{
		chomp $line;
		$code->($line) if $line ne '';
	}
	close $fh;
	return;
}

# ---- reading

sub read_events
{
	each_line('events', sub {
		my ($id, $type, $key) = split /\t/, shift;

		$event{$key} = $id;
		$type_of{$key} = $type;
		$key_of{$id} = $key;
	});
	return;
}

sub read_endpoints
{
	each_line('endpoints', sub {
		my ($id, $name, $path, $types) = split /\t/, shift;

		$endpoint{$id} = { name => $name,
			types => join '|', map { s/\./\\./gr =~ s/\*/.*/r } split /,/, $types };
		$by_path{$path} = $id;
	});
	return;
}

sub read_requests
{
	each_line('requests.jsonl', sub {
		my ($line) = @_;
		my ($at) = $line =~ /"at":\s*"?([\d.]+)/;
		my ($path) = $line =~ /"path":\s*"([^"]+)"/;
		my ($id) = $line =~ /"id":\s*"([^"]+)"/;
		my ($status) = $line =~ /"status":\s*(\d+)/;
		my ($key) = $line =~ /\\"key\\":\s*\\"([^\\]+)\\"/;

		die "no event: $line\n" if !defined $key || !$by_path{$path};
		$n_requests++;
		$at /= 1e6;
		$requested{$key} = $at;
		$id_of{$key}{$id} = 1;
		push @{ $accepted{"$by_path{$path}/$key"} }, $at if $status =~ /^2/;
	});
	return;
}

sub read_producers
{
	for my $file (glob "$home/producer_*")
	{
		each_line($file =~ s/^\Q$home\E\///r, sub {
			my ($what, $number, @more) = split /\t/, shift, -1;

			if ($what eq 'plan')
			{
				my ($sync, $end, $kept, $undone) = @more;
				$plan{"$file/$number"} = { sync => $sync, end => $end,
					kept => [ split /,/, $kept ], undone => [ split /,/, $undone ] };
			}
			else
			{
				$outcome{"$file/$number"} = $more[0];
			}
		});
	}
	return;
}

sub read_kills
{
	each_line('kills', sub {
		my ($n, $kind, $before, $after, $in_flight) = split /\t/, shift;
		push @kills, { n => $n, kind => $kind, before => $before, after => $after,
			in_flight => $in_flight, duplicates => 0, unrecorded => 0 };
	});
	return;
}

# Attempts that delivered: endpoint/key => when the first of them was started.
sub read_attempts
{
	my ($name) = @_;
	my %started_at;

	each_line($name, sub {
		my ($id, $endpoint_id, $at) = split /\t/, shift;
		my $key = $key_of{$id} // return;
		my $pair = "$endpoint_id/$key";

		$started_at{$pair} = $at if !$started_at{$pair} || $at < $started_at{$pair};
	});
	return \%started_at;
}

# ---- judging

# A broken promise, with some examples.
sub judge
{
	my ($what, @examples) = @_;
	my $n = @examples;

	printf "%-66s %6d%s\n", $what, $n, $n ? '  BROKEN' : '';
	$n_broken++ if $n;
	print "    $_\n" for splice @examples, 0, $shown_at_most;
	return;
}

sub figure
{
	printf "%-66s %6s\n", @_;
	return;
}

# What transactions did, against what the database shows.
sub check_transactions
{
	my (%count, @vanished, @undead, @torn);

	for my $name (sort keys %plan)
	{
		my ($plan, $outcome) = ($plan{$name}, $outcome{$name} // 'unknown');
		my @there = grep { $event{$_} } @{ $plan->{kept} };
		my $n = @{ $plan->{kept} };

		$count{"$outcome $plan->{sync}"}++;
		$count{"vanished $plan->{sync}"} += $n - @there if $outcome eq 'commit';
		push @vanished, $name if $outcome eq 'commit' && $plan->{sync} eq 'on' && @there < $n;
		push @torn, $name if @there && @there < $n;
		push @undead, $name if (@there && $outcome eq 'rollback')
		  || grep { $event{$_} } @{ $plan->{undone} };
	}
	figure("transactions committed, synchronous_commit $_", $count{"commit $_"} // 0)
	  for 'on', 'off';
	figure('transactions rolled back', ($count{'rollback on'} // 0) + ($count{'rollback off'} // 0));
	figure('transactions of unknown outcome (connection broke)',
		($count{'unknown on'} // 0) + ($count{'unknown off'} // 0));
	figure('events committed with synchronous_commit off that vanished',
		$count{'vanished off'} // 0);
	figure('events in the database at the end', scalar keys %event);
	judge('vanished: commits that waited for the disk and are not there', @vanished);
	judge('torn: transactions of which a part is there', @torn);
	judge('rolled back yet in the database', @undead);
	return;
}

sub check_deliveries
{
	my ($end) = @_;
	my (@lost, @false, @changed);
	my $n_owed = 0;

	for my $key (sort keys %event)
	{
		for my $id (sort keys %endpoint)
		{
			next if $type_of{$key} !~ /^(?:$endpoint{$id}{types})$/;
			$n_owed++;
			push @lost, "$key at $endpoint{$id}{name} ($event{$key})"
			  if !$accepted{"$id/$key"} && !$dead{"$id/$key"};
		}
	}
	for my $key (sort keys %id_of)
	{
		push @changed, "$key: " . join(', ', sort keys %{ $id_of{$key} })
		  if keys %{ $id_of{$key} } > 1 || ($event{$key} && !$id_of{$key}{ $event{$key} });
	}
	for my $pair (sort keys %$end)
	{
		push @false, $pair if !$accepted{$pair};
	}
	figure('deliveries owed', $n_owed);
	figure('dead letters', scalar keys %dead);
	figure('requests received', $n_requests);
	judge('lost: neither delivered nor a dead letter', @lost);
	judge('phantom: sent, and not in the database',
		map { "$_ at $requested{$_}" } grep { !$event{$_} } sort keys %requested);
	judge('false: recorded as delivered, and not accepted', @false);
	judge('events sent under another id', @changed);
	judge('delivered, and not recorded at the end',
		grep { !$end->{$_} && $event{ s/.*\///r } } sort keys %accepted);
	return;
}

# Was the first delivery, received then, not on record at this kill?
sub is_unrecorded
{
	my ($kill, $pair, $at) = @_;
	my $started_at = $kill->{recorded}{$pair};

	return $at <= $kill->{after} && (!$started_at || $started_at > $at);
}

sub check_duplicates
{
	my @wrong;
	my $n = 0;

	for my $pair (sort keys %accepted)
	{
		my ($first, @again) = sort { $a <=> $b } @{ $accepted{$pair} };

		my ($next) = grep { $first <= $_->{after} } @kills;
		$next->{unrecorded}++ if $next && is_unrecorded($next, $pair, $first);
		for my $at (@again)
		{
			my @excuses = grep { $at >= $_->{before} && is_unrecorded($_, $pair, $first) } @kills;

			$n++;
			if (@excuses) { $excuses[-1]{duplicates}++; }
			else { push @wrong, sprintf '%s at %.6f and %.6f', $pair, $first, $at; }
		}
	}
	print "\n";
	printf "%-4s %-22s %10s %12s %12s\n", 'kill', '', 'in flight', 'unrecorded', 'duplicates';
	printf "%-4d %-22s %10s %12d %12d\n", @{$_}{qw(n kind in_flight unrecorded duplicates)}
	  for @kills;
	print "\n";
	figure('duplicates', $n);
	judge('duplicates of what was on record at each kill', @wrong);
	return;
}

read_events();
read_endpoints();
read_requests();
read_producers();
read_kills();
$_->{recorded} = read_attempts("attempts_$_->{n}") for @kills;
each_line('dead_letters', sub {
	my ($id, $endpoint_id) = split /\t/, shift;
	$dead{ "$endpoint_id/" . ($key_of{$id} // '?') } = 1;
});

print "\n";
check_transactions();
check_deliveries(read_attempts('attempts_end'));
check_duplicates();
print $n_broken ? "\n$n_broken promises broken\n" : "\nall promises kept\n";
exit($n_broken ? 1 : 0);
