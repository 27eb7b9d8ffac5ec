# fuzz.pl - what run.sh runs: builds the targets, runs each, prints a table.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use lib dirname(__FILE__);
use Fuzz;

my $folder = $ENV{FUZZ_FOLDER} or die "this is for run.sh\n";
my $build = "$folder/fuzz";
my @files = grep { -f } @ARGV;
my @targets = grep { !-f } @ARGV;
my %known = map { $_ => 1 } fuzz_targets();

for (@targets)
{
	die "no target $_: there are " . join(', ', fuzz_targets()) . "\n"
	  if !$known{$_};
}
die "to run an input, name its target before it\n" if @files && @targets != 1;
@targets = fuzz_targets() if !@targets;

my $problem = fuzz_can_build($build);
die "$problem\n" if $problem;
print "== building ", scalar @targets, " targets\n";
fuzz_build($build, @targets);

if (@files)
{
	my $run = fuzz_replay($build, $targets[0], @files);
	print $run->{output};
	exit($run->{result} eq 'ok' ? 0 : 1);
}

my $seconds = int($ENV{FUZZ_SECONDS} / @targets) || 1;
my $n_failed = 0;

$| = 1;
printf "%-12s %6s %11s %8s %9s %5s  %s\n", 'target', 'seeds', 'executions',
  'exec/s', 'coverage', 'new', 'result';
for my $target (@targets)
{
	my $run = fuzz_run($build, $target, $seconds,
		keep => "$folder/keep/$target");

	printf "%-12s %6d %11d %8d %9d %+5d  %s\n", $target,
	  @$run{qw(seeds executions)},
	  $run->{executions} / ($run->{seconds} || 1), $run->{after},
	  $run->{after} - $run->{before}, $run->{result};
	next if $run->{result} eq 'ok';
	$n_failed++;
	make_path("$folder/failed");
	copy($_, "$folder/failed/$target." . basename($_)) for @{ $run->{crashes} };
	print fuzz_report($run);
}
print $n_failed ? "== $n_failed of " . @targets . " targets failed\n"
  : "== all targets hold\n";
exit($n_failed ? 1 : 0);
