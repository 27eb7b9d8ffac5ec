# fuzz.pl - the short form of make fuzz: each target takes its seeds, among them
# every input that ever failed, and then new ones: so many, and the same ones
# each time, so that what passes here passes elsewhere. To find what nobody knows
# of yet is what make fuzz is for.
use strict;
use warnings FATAL => 'all';
use lib 'test/fuzz';

use Fuzz;
use Test::More;

my $folder = "$ENV{TESTDIR}/tmp_check/fuzz";
my $problem = fuzz_can_build($folder);

# a request costs more than a function that reads a line
my %executions = (http => 2_000);

plan skip_all => $problem if $problem;
fuzz_build($folder);
for my $target (fuzz_targets())
{
	my $run = fuzz_run($folder, $target, 0,
		executions => $executions{$target} // 20_000);

	note(sprintf '%s: %d seeds, %d executions', $target,
		@$run{qw(seeds executions)});
	ok($run->{result} eq 'ok' && $run->{executions} > $run->{seeds},
		"$target takes its seeds, and inputs made of them");
	diag("$run->{result}\n" . fuzz_report($run)) if $run->{result} ne 'ok';
}
done_testing();
