# check.pl - compares what producers did, what a receiver got and what the
# database says, after a scenario of make fault.
#
#   check.pl [--may-vanish] FOLDER
#
# Reads from FOLDER: producer_N (producer.pl), requests.jsonl (receiver.pl),
# kills, endpoints, attempts_N (read right after kill N: those started since the
# time that stands in kills; earlier ones stay as they were at the kill before),
# and, of the end, events_N, dead_letters_N (all of them count) and attempts_end.
# Prints figures, a line "kept: ..." or "BROKEN: ..." for each promise, and how
# many those are. Exit code 1 when one is broken:
#
#   lost        an event that is in the database was neither delivered to an
#               endpoint that matches nor became a dead letter there
#   phantom     an event that is not in the database was sent
#   vanished    a commit that waited for the disk is not in the database (with
#               --may-vanish a figure: the server was lost with its disk)
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

my $may_vanish = @ARGV && $ARGV[0] eq '--may-vanish' && shift;
my $home = shift // die "usage: check.pl [--may-vanish] FOLDER\n";
my $shown_at_most = 5;
my (%event, %type_of, %endpoint, %by_path, @kills);
my (%plan, %outcome);     # by "producer/transaction"
my (%accepted);           # endpoint/key => [ times ]
my (%id_of, %key_of);     # webhook-id <=> key
my (%requested, %dead);
my (%ranges);             # endpoint/key => [ from kill, to kill, started ], ...
my ($n_requests, $n_judged, $n_broken) = (0, 0, 0);

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

# The names of files in the folder that begin so.
sub files
{
	return map { s/.*\///r } glob "$home/$_[0]_*";
}

sub read_events
{
	each_line($_, sub {
		my ($id, $type, $key) = split /\t/, shift;

		$event{$key} = $id;
		$type_of{$key} = $type;
		$key_of{$id} = $key;
	}) for files('events');
	return;
}

sub read_dead_letters
{
	each_line($_, sub {
		my ($id, $endpoint_id) = split /\t/, shift;
		$dead{ "$endpoint_id/" . ($key_of{$id} // '?') } = 1;
	}) for files('dead_letters');
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
	for my $file (files('producer'))
	{
		each_line($file, sub {
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
		my ($n, $kind, $before, $after, $in_flight, $since) = split /\t/, shift;
		push @kills, { n => $n, kind => $kind, before => $before, after => $after,
			in_flight => $in_flight, since => $since, duplicates => 0, unrecorded => 0 };
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

# From which kill to which one each pair was on record: what was not is what may be
# sent again. A record may be lost, and come back with another attempt.
sub read_attempts_of_kills
{
	my (%open, $before);

	for my $i (0 .. $#kills)
	{
		my $since = $kills[$i]{since};
		my $now = read_attempts("attempts_$kills[$i]{n}");

		for my $pair (grep { $before->{$_} >= $since && !$now->{$_} } keys %{ $before // {} })
		{
			$ranges{$pair}[-1][1] = $i - 1 if delete $open{$pair};
		}
		for my $pair (keys %$now)
		{
			my $range = $open{$pair};

			next if $range && ($range->[2] == $now->{$pair} || $range->[2] < $since);
			$range->[1] = $i - 1 if $range;
			push @{ $ranges{$pair} }, $open{$pair} = [ $i, $#kills, $now->{$pair} ];
		}
		$before = $now;
	}
	return;
}

# ---- judging

# A broken promise, with some examples.
sub judge
{
	my ($what, @examples) = @_;
	my $n = @examples;

	$n_judged++;
	print $n ? "BROKEN: $what ($n)\n" : "kept: $what\n";
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
	$may_vanish ? figure('commits that waited for the disk that vanished', scalar @vanished)
	  : judge('vanished: no commit that waited for the disk is missing', @vanished);
	judge('torn: no transaction is there in part', @torn);
	judge('undead: nothing that was rolled back is there', @undead);
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
	judge('lost: everything committed was delivered or is a dead letter', @lost);
	judge('phantom: nothing was sent that is not in the database',
		map { "$_ at $requested{$_}" } grep { !$event{$_} } sort keys %requested);
	judge('false: nothing is recorded as delivered that was not accepted', @false);
	judge('renamed: no event was sent under another id', @changed);
	judge('unrecorded: every delivery is on record at the end',
		grep { !$end->{$_} && $event{ s/.*\///r } } sort keys %accepted);
	return;
}

# Was what was received then not on record at this kill?
sub is_unrecorded
{
	my ($i, $pair, $at) = @_;

	return !grep { $_->[0] <= $i && $_->[1] >= $i && $_->[2] <= $at }
	  @{ $ranges{$pair} // [] };
}

# The first kill that ended at that time or later.
sub kill_after
{
	my ($at) = @_;
	my ($low, $high) = (0, scalar @kills);

	while ($low < $high)
	{
		my $middle = int(($low + $high) / 2);
		if ($kills[$middle]{after} < $at) { $low = $middle + 1; }
		else { $high = $middle; }
	}
	return $low;
}

# Each time that a pair was accepted, and then again: a kill explains it. Counts at
# each kill what was not on record.
sub check_pair
{
	my ($pair, @times) = @_;
	my @wrong;

	for my $i (0 .. $#times)
	{
		my ($at, $again) = @times[ $i, $i + 1 ];
		my $excuse;

		for (my $k = kill_after($at); $k < @kills; $k++)
		{
			last if defined $again && $kills[$k]{before} > $again;
			last if !is_unrecorded($k, $pair, $at);
			$kills[$k]{unrecorded}++;
			# several explain it: blame one that breaks more than a polite end
			$excuse = $kills[$k]
			  if !$excuse || $excuse->{kind} =~ /^SIGTERM/ || $kills[$k]{kind} !~ /^SIGTERM/;
		}
		next if !defined $again;
		if ($excuse) { $excuse->{duplicates}++; }
		else { push @wrong, sprintf '%s at %.6f and %.6f', $pair, $at, $again; }
	}
	return @wrong;
}

sub check_duplicates
{
	my (@wrong, %sum);
	my $n = 0;

	for my $pair (sort keys %accepted)
	{
		my @times = sort { $a <=> $b } @{ $accepted{$pair} };

		$n += @times - 1;
		push @wrong, check_pair($pair, @times);
	}
	for my $kill (@kills)
	{
		my $sum = $sum{ $kill->{kind} } //= [ 0, 0, 0, 0 ];

		$sum->[0]++;
		$sum->[1] += $kill->{in_flight} =~ /^\d+$/ ? $kill->{in_flight} : 0;
		$sum->[2] += $kill->{unrecorded};
		$sum->[3] += $kill->{duplicates};
	}
	printf "%-36s %5s %10s %12s %12s\n", 'kind', 'times', 'in flight', 'unrecorded', 'duplicates';
	printf "%-36s %5d %10d %12d %12d\n", $_, @{ $sum{$_} } for sort keys %sum;
	figure('duplicates', $n);
	judge('duplicates: nothing was sent again that was on record at each kill', @wrong);
	return;
}

read_events();
read_endpoints();
read_dead_letters();
read_requests();
read_producers();
read_kills();
read_attempts_of_kills();

print "\n";
check_transactions();
check_deliveries(read_attempts('attempts_end'));
check_duplicates();
print "$n_judged promises judged\n";
exit($n_broken ? 1 : 0);
