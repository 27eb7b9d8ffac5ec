# fuzz.pl - the short form of make fuzz: each target takes its seeds, among them
# every input that ever failed, and then two seconds of new ones,
# the same ones each time, as far as the machine gets.
use strict;
use warnings FATAL => 'all';
use lib 'test/fuzz';

use Fuzz;
use Test::More;

my $folder = "$ENV{TESTDIR}/tmp_check/fuzz";
my $problem = fuzz_can_build($folder);

plan skip_all => $problem if $problem;
fuzz_build($folder);
for my $target (fuzz_targets())
{
	my $run = fuzz_run($folder, $target, 2, seed => 1);

	note(sprintf '%s: %d seeds, %d executions', $target,
		@$run{qw(seeds executions)});
	ok($run->{result} eq 'ok' && $run->{executions} > $run->{seeds},
		"$target takes its seeds, and inputs made of them");
	diag("$run->{result}\n" . fuzz_report($run)) if $run->{result} ne 'ok';
}
done_testing();
