# analyze.pl - what clang's analyzers say of src: clang-tidy by the checks that
# .clang-tidy lists, and scan-build, which follows each path through a function.
#
# A suite of its own, not part of lint, because scan-build takes two minutes of
# CPU. It includes clang-tidy's clang-analyzer-*, so those are left out there.

use strict;
use warnings FATAL => 'all';

use File::Path qw(make_path);
use Test::More;

my $folder = "$ENV{TESTDIR}/tmp_check/analyze";
chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
chomp(my $n_cpus = `nproc`);

# Runs a command; passes when that is its exit code, and shows the findings.
sub runs_clean
{
	my ($claim, $command) = @_;
	my $output = `($command) 2>&1`;
	my @findings = grep { /\b(?:warning|error):/ } split /\n/, $output;

	return if ok($? == 0, $claim);
	# each file that includes a header tells of what is in that one
	my %seen;
	@findings = grep { !$seen{$_}++ } @findings;
	diag($_) for @findings ? @findings : $output;
	return;
}

runs_clean('clang-tidy finds nothing',
	"printf '%s\\0' src/*.c | xargs -0 -P $n_cpus -n 4 sh -c "
	  . "'clang-tidy --quiet --checks=-clang-analyzer-* \"\$@\" -- -Isrc "
	  . "-isystem $include -DPGDLLEXPORT= -DWO_VERSION=\\\"analyze\\\" "
	  . "-DUSE_ASSERT_CHECKING -DWO_FAULT_POINTS' clang-tidy");

# a copy, so that every file is compiled anew
make_path($folder);
system("cp -r Makefile webhook_outbox.control src sql $folder && "
	  . "find $folder -name '*.o' -delete") == 0
  or die "cannot copy the sources to $folder\n";
runs_clean('scan-build finds nothing',
	"cd $folder && scan-build -o $folder/report --status-bugs sh -c "
	  . "'make -s -j$n_cpus with_llvm=no PG_CONFIG=$ENV{PG_CONFIG} "
	  . "COPT=\"-DUSE_ASSERT_CHECKING -DWO_FAULT_POINTS\" CC=\"\$CC\"'");

done_testing();
